// Package apikey is the format of API keys and what is stored of them.
//
//	ep_live_k3v7qhn2x4ma_<43 base62 characters: 32 random bytes><6 base62: CRC-32>
//	   env   key id           secret                              checksum
//
// The prefix and the checksum let secret scanners recognise a leaked key without
// asking us, and let the gateway refuse garbage without a look-up. Stored are the
// key id and HMAC-SHA256(pepper, secret), the pepper outside of the database: a
// stolen table can neither verify nor forge a key. A slow hash would protect
// guessable passwords; 256 random bits are not guessable, and a slow hash on
// every request is a lever for denial of service.
package apikey

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
)

const (
	prefix      = "ep_"
	idChars     = 12
	secretBytes = 32
	secretChars = 43 // ceil(256 / log2(62))
	crcChars    = 6  // ceil(32 / log2(62))
	alphabet    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ErrFormat is the one error of Parse: it says nothing about what is wrong.
var ErrFormat = errors.New("not an API key")

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// New makes a key for an environment ("live", "test"). plaintext is shown once;
// keyID and hash are stored.
func New(env string, pepper []byte) (plaintext, keyID string, hash []byte) {
	var id [8]byte // 12 characters hold 60 bits
	secret := make([]byte, secretBytes)
	rand.Read(id[:])
	rand.Read(secret)
	keyID = lowerBase32.EncodeToString(id[:])[:idChars]
	body := prefix + env + "_" + keyID + "_" + base62(secret, secretChars)
	return body + checksum(body), keyID, Hash(pepper, secret)
}

// Parse splits a key and checks its checksum. It does not say that the key exists.
func Parse(s string) (keyID string, secret []byte, err error) {
	rest, ok := strings.CutPrefix(s, prefix)
	env, rest, ok2 := strings.Cut(rest, "_")
	if !ok || !ok2 || env == "" || len(env) > 8 || len(rest) != idChars+1+secretChars+crcChars || rest[idChars] != '_' {
		return "", nil, ErrFormat
	}
	body := s[:len(s)-crcChars]
	if checksum(body) != s[len(s)-crcChars:] {
		return "", nil, ErrFormat
	}
	keyID = rest[:idChars]
	for _, c := range keyID {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return "", nil, ErrFormat
		}
	}
	if secret, err = unbase62(rest[idChars+1 : idChars+1+secretChars]); err != nil {
		return "", nil, err
	}
	return keyID, secret, nil
}

// Hash is what is stored of a secret.
func Hash(pepper, secret []byte) []byte {
	m := hmac.New(sha256.New, pepper)
	m.Write(secret)
	return m.Sum(nil)
}

// Verify compares in constant time.
func Verify(pepper, secret, hash []byte) bool { return hmac.Equal(Hash(pepper, secret), hash) }

func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return base62([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}, crcChars)
}

var radix = big.NewInt(62)

// base62 writes b as a big-endian number of exactly n digits.
func base62(b []byte, n int) string {
	out := make([]byte, n)
	var digit big.Int
	v := new(big.Int).SetBytes(b)
	for i := n - 1; i >= 0; i-- {
		v.DivMod(v, radix, &digit)
		out[i] = alphabet[digit.Int64()]
	}
	return string(out)
}

func unbase62(s string) ([]byte, error) {
	v := new(big.Int)
	for _, c := range []byte(s) {
		i := strings.IndexByte(alphabet, c)
		if i < 0 {
			return nil, ErrFormat
		}
		v.Mul(v, radix).Add(v, big.NewInt(int64(i)))
	}
	if v.BitLen() > secretBytes*8 {
		return nil, fmt.Errorf("secret too large: %w", ErrFormat)
	}
	return v.FillBytes(make([]byte, secretBytes)), nil
}
