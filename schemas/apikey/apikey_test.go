package apikey

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestNewParseVerify(t *testing.T) {
	pepper := []byte("pepper")
	plain, id, hash := New("live", pepper)
	gotID, secret, err := Parse(plain)
	if err != nil || gotID != id || len(id) != 12 || len(secret) != 32 || !strings.HasPrefix(plain, "ep_live_"+id+"_") {
		t.Fatal(plain, gotID, err)
	}
	if !Verify(pepper, secret, hash) || Verify([]byte("salt"), secret, hash) || Verify(pepper, secret[1:], hash) {
		t.Fatal("verify")
	}
	other, otherID, _ := New("live", pepper)
	if other == plain || otherID == id {
		t.Fatal("two keys are equal")
	}
}

// TestEveryTypoIsSeen: a change of any one character is refused without a look-up.
func TestEveryTypoIsSeen(t *testing.T) {
	plain, _, _ := New("live", nil)
	for i := range plain {
		b := []byte(plain)
		for _, c := range []byte("a0Z_") {
			if plain[i] == c {
				continue
			}
			b[i] = c
			if _, _, err := Parse(string(b)); !errors.Is(err, ErrFormat) {
				t.Fatalf("%s accepted", b)
			}
		}
	}
	for _, s := range []string{"", "ep_", "ep__", plain + "x", plain[1:], "ep_live_" + strings.Repeat("a", 62)} {
		if _, _, err := Parse(s); !errors.Is(err, ErrFormat) {
			t.Fatalf("%q accepted", s)
		}
	}
}

func TestBase62KeepsLeadingZeros(t *testing.T) {
	for _, b := range [][]byte{make([]byte, 32), bytes.Repeat([]byte{0xff}, 32), append(make([]byte, 31), 1)} {
		got, err := unbase62(base62(b, secretChars))
		if err != nil || !bytes.Equal(got, b) {
			t.Fatal(b, got, err)
		}
	}
	if _, err := unbase62(strings.Repeat("z", secretChars)); !errors.Is(err, ErrFormat) {
		t.Fatal("a secret of more than 256 bits is accepted")
	}
}

func FuzzParse(f *testing.F) {
	plain, _, _ := New("live", nil)
	f.Add(plain)
	f.Fuzz(func(t *testing.T, s string) {
		if id, secret, err := Parse(s); err == nil && (len(id) != 12 || len(secret) != 32) {
			t.Fatal(s)
		}
	})
}
