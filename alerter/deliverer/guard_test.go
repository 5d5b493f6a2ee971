package deliverer

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// TestGuardBlocks dials for real: every target must fail before a connection is made.
func TestGuardBlocks(t *testing.T) {
	g, err := NewGuard(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := g.client(Config{})
	for _, target := range []string{
		"https://127.0.0.1/", "https://[::1]/", "https://localhost/", "https://0.0.0.0/", "https://10.0.0.1/", "https://172.16.5.4/",
		"https://192.168.1.1/", "https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/", "https://[fd00::1]/", "https://[fe80::1]/",
		"https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://2130706433/", "https://0x7f000001/",
		"https://0177.0.0.1/", "https://224.0.0.1/", "https://255.255.255.255/", "https://198.18.0.1/", "https://192.0.2.1/", "https://[3fff::1]/",
		"https://[::]/", "https://240.0.0.1/", "https://127.1/",
	} {
		res, err := client.Get(target)
		if err == nil {
			res.Body.Close()
			t.Errorf("%s was reached", target)
			continue
		}
		// Decimal, hexadecimal and octal forms are names that don't resolve, or addresses that are blocked.
		if cause := short(err); cause != "blocked address" && cause != "name not resolved" {
			t.Errorf("%s: %s (%v)", target, cause, err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	g, err := NewGuard([]string{"inbox.local", "10.1.0.0/16", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"https://example.com/hook":      "",
		"https://example.com:443/":      "",
		"https://1.1.1.1/":              "",
		"http://inbox.local:8080/x":     "",
		"http://INBOX.local./":          "",
		"http://10.1.2.3:9000/":         "",
		"http://127.0.0.1:7000/":        "",
		"http://example.com/":           "webhook URL must use https",
		"https://example.com:8443/":     "webhook URL must use port 443",
		"https://user:pass@example.com": "webhook URL must not hold a user or password",
		"ftp://inbox.local/":            "webhook URL must use https",
		"https:///path":                 "webhook URL has no host",
		"https:example.com":             "webhook URL has no host",
		"https://10.2.0.1/":             "blocked address",
		"https://[::1]/":                "blocked address",
		"://":                           "webhook URL can't be parsed",
	} {
		got := ""
		if err := g.CheckURL(raw); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
	for _, wrong := range []string{"10.0.0.0/99", "https://x", "a b"} {
		if _, err := NewGuard([]string{wrong}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("allow-list entry %q: %v", wrong, err)
		}
	}
}

// TestGuardAllowsOnePort dials a server that is allowed by address and port, and
// another one beside it that is not.
func TestGuardAllowsOnePort(t *testing.T) {
	reached := func() *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		t.Cleanup(s.Close)
		return s
	}
	inbox, other := reached(), reached()
	g, err := NewGuard([]string{strings.TrimPrefix(inbox.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	client := g.client(Config{})
	if err := g.CheckURL(inbox.URL + "/demo/inbox"); err != nil {
		t.Error(err)
	}
	res, err := client.Get(inbox.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if err := g.CheckURL(other.URL); err == nil {
		t.Error("the URL of another port passed")
	}
	if _, err := client.Get(other.URL); !errors.Is(err, ErrBlocked) {
		t.Errorf("another port: %v", err)
	}
}

// TestRebinding resolves a harmless name through a real DNS server that answers
// with an address of this machine.
func TestRebinding(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	defer server.Close()
	resolver := fakeDNS(t, [4]byte{127, 0, 0, 1})
	g, err := NewGuard(nil)
	if err != nil {
		t.Fatal(err)
	}
	const target = "https://rebind.example.com/"
	if err := g.CheckURL(target); err != nil {
		t.Fatalf("the URL itself is harmless: %v", err)
	}
	if _, err := g.client(Config{Resolver: resolver}).Get(target); !errors.Is(err, ErrBlocked) {
		t.Errorf("dialled: %v", err)
	}
}

// fakeDNS is a resolver whose server answers every A question with one address.
func fakeDNS(t *testing.T, answer [4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var msg dnsmessage.Message
			if msg.Unpack(buf[:n]) != nil {
				continue
			}
			msg.Response, msg.RecursionAvailable, msg.Additionals = true, true, nil
			if q := msg.Questions[0]; q.Type == dnsmessage.TypeA {
				msg.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: answer},
				}}
			}
			if out, err := msg.Pack(); err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}
