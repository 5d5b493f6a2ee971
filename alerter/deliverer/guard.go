package deliverer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrBlocked says that a URL or address is not one that tenants may reach.
var ErrBlocked = errors.New("blocked address")

// denied are the special-purpose networks of the IANA registries that a URL of a
// stranger must not reach from inside our network.
var denied = parseNetworks(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "::1/128", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	"5f00::/16", "fc00::/7", "fe80::/10", "ff00::/8",
)

func parseNetworks(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Guard keeps webhooks away from addresses inside our network. It judges the
// address that is dialled, at every dial: a name that resolves to a public
// address when it is checked and to a private one when it is used gains nothing.
type Guard struct {
	networks []netip.Prefix
	hosts    map[string]bool
	targets  map[string]bool // host:port: that port of that host and no other
}

// NewGuard reads an allow-list of hosts, addresses, networks, and of hosts or
// addresses with a port.
func NewGuard(allow []string) (*Guard, error) {
	g := &Guard{hosts: map[string]bool{}, targets: map[string]bool{}}
	for _, entry := range allow {
		entry = strings.ToLower(strings.TrimSpace(entry))
		switch prefix, err := netip.ParsePrefix(entry); {
		case entry == "":
		case err == nil:
			g.networks = append(g.networks, prefix.Masked())
		case strings.Contains(entry, "/"):
			return nil, fmt.Errorf("parse allowed webhook network %q: %w", entry, err)
		default:
			if addr, err := netip.ParseAddr(entry); err == nil {
				g.networks = append(g.networks, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
				continue
			}
			host, port, err := net.SplitHostPort(entry)
			if err == nil && host != "" && !strings.ContainsAny(host, "@ ") && isPort(port) {
				g.targets[target(host, port)] = true
				continue
			}
			if strings.ContainsAny(entry, ":@ ") {
				return nil, fmt.Errorf("parse allowed webhook host %q: neither a host nor an address", entry)
			}
			g.hosts[strings.TrimSuffix(entry, ".")] = true
		}
	}
	return g, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// target is the form in which host:port is compared.
func target(host, port string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	return net.JoinHostPort(host, port)
}

// CheckURL judges what can be judged of a URL without resolving it: the API
// calls it when an endpoint is created, the deliverer before every attempt.
func (g *Guard) CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		// The error of url.Parse repeats the URL, which may hold a secret.
		return errors.New("webhook URL can't be parsed")
	}
	host := u.Hostname()
	if u.Opaque != "" || host == "" {
		return errors.New("webhook URL has no host")
	}
	if u.User != nil {
		return errors.New("webhook URL must not hold a user or password")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	named := g.targets[target(host, port)]
	allowed := named || g.allowsHost(host)
	if u.Scheme != "https" && !(u.Scheme == "http" && allowed) {
		return errors.New("webhook URL must use https")
	}
	if u.Port() != "" && port != "443" && !allowed {
		return errors.New("webhook URL must use port 443")
	}
	if addr, err := netip.ParseAddr(host); err == nil && !named && !g.allowsAddr(addr) {
		return ErrBlocked
	}
	return nil
}

// allowsHost reports whether a host stands in the allow-list, as a name or as an address.
func (g *Guard) allowsHost(host string) bool {
	if g.hosts[strings.TrimSuffix(strings.ToLower(host), ".")] {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && g.listed(addr)
}

func (g *Guard) listed(addr netip.Addr) bool {
	addr = addr.Unmap()
	if addr.Zone() != "" {
		return false
	}
	for _, n := range g.networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// allowsAddr judges an address: listed, or public.
func (g *Guard) allowsAddr(addr netip.Addr) bool {
	addr = addr.Unmap()
	if g.listed(addr) {
		return true
	}
	if !addr.IsValid() || addr.Zone() != "" || !addr.IsGlobalUnicast() {
		return false
	}
	for _, n := range denied {
		if n.Contains(addr) {
			return false
		}
	}
	return true
}

// control is a net.Dialer's Control: it sees the address about to be dialled.
func (g *Guard) control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return ErrBlocked
	}
	dialled, err := netip.ParseAddrPort(address)
	if err != nil {
		return ErrBlocked
	}
	if g.targets[target(dialled.Addr().String(), strconv.Itoa(int(dialled.Port())))] {
		return nil
	}
	if !g.allowsAddr(dialled.Addr()) {
		return ErrBlocked
	}
	if dialled.Port() != 443 && !g.listed(dialled.Addr()) {
		return ErrBlocked
	}
	return nil
}

// client returns an HTTP client that goes through the guard and nowhere else:
// no proxy of the environment, no redirects, no connection kept between attempts.
func (g *Guard) client(cfg Config) *http.Client {
	guarded := &net.Dialer{Timeout: 5 * time.Second, Resolver: cfg.Resolver, Control: g.control}
	free := &net.Dialer{Timeout: 5 * time.Second, Resolver: cfg.Resolver}
	transport := &http.Transport{
		Proxy: nil,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err == nil && (g.hosts[strings.TrimSuffix(strings.ToLower(host), ".")] || g.targets[target(host, port)]) {
				return free.DialContext(ctx, network, address)
			}
			return guarded.DialContext(ctx, network, address)
		},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 16 << 10,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  cfg.Timeout,
	}
	if cfg.Transport != nil {
		cfg.Transport(transport)
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
