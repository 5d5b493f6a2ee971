package edge

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/edgepulse/edgepulse/schemas/apikey"
)

type claimVector struct {
	Kind            string
	AcceptedAt      int64  `json:"accepted_at"`
	RequestID       string `json:"request_id"`
	Method, Target  string
	KeyID           string `json:"key_id"`
	KeyProof        string `json:"key_proof"`
	IdempotencyKey  string `json:"idempotency_key"`
	ContentType     string `json:"content_type"`
	ContentEncoding string `json:"content_encoding"`
	BodySHA256      string `json:"body_sha256"`
}

func load(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile("../testdata/edge/" + name)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatal(name, err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeyVectors(t *testing.T) {
	var file struct {
		About, Pepper string
		Cases         []struct {
			Name, Key     string
			ID            *string
			Secret, Proof string
		}
	}
	load(t, "keys.json", &file)
	for _, v := range file.Cases {
		t.Run(v.Name, func(t *testing.T) {
			id, secret, err := apikey.Parse(v.Key)
			if v.ID == nil {
				if err == nil {
					t.Fatal("taken for a key")
				}
				return
			}
			if err != nil || id != *v.ID || hex.EncodeToString(secret) != v.Secret {
				t.Fatalf("id %q, secret %x, %v", id, secret, err)
			}
			if got := Proof(Hash(unhex(t, file.Pepper), secret)); got != v.Proof {
				t.Errorf("proof %s, want %s", got, v.Proof)
			}
		})
	}
}

func TestSigningVectors(t *testing.T) {
	var file struct {
		About, Secret, Other string
		Cases                []struct {
			Name                 string
			Claim                claimVector
			Canonical, Signature string
			Error                bool
		}
	}
	load(t, "signing.json", &file)
	secret, other := unhex(t, file.Secret), unhex(t, file.Other)
	seen := map[string]string{}
	for _, v := range file.Cases {
		t.Run(v.Name, func(t *testing.T) {
			c := Claim(v.Claim)
			text, err := c.Canonical()
			if v.Error {
				if !errors.Is(err, ErrField) || c.Verify([][]byte{secret}, "v1="+strings.Repeat("00", 32)) {
					t.Fatalf("canonical %q, %v", text, err)
				}
				return
			}
			sig, err2 := c.Sign(secret)
			if err != nil || err2 != nil || string(text) != v.Canonical || sig != v.Signature {
				t.Fatalf("canonical %q, signature %s, %v %v", text, sig, err, err2)
			}
			if !c.Verify([][]byte{other, secret}, sig) || !c.Verify([][]byte{secret}, sig) {
				t.Error("an active secret does not verify")
			}
			if c.Verify([][]byte{other}, sig) || c.Verify(nil, sig) || c.Verify([][]byte{secret}, sig[3:]) || c.Verify([][]byte{secret}, sig[:60]) {
				t.Error("verifies what it must not")
			}
			if before, ok := seen[sig]; ok {
				t.Errorf("same signature as %s", before)
			}
			seen[sig] = v.Name
		})
	}
}

func TestSpillVectors(t *testing.T) {
	var file struct {
		About, Secret string
		Cases         []struct {
			Name, Body, Tenant string
			Claim              claimVector
			ClientKey          bool `json:"client_key"`
			Object             string
			ObjectName         string `json:"object_name"`
		}
	}
	load(t, "spills.json", &file)
	secret := unhex(t, file.Secret)
	for _, v := range file.Cases {
		t.Run(v.Name, func(t *testing.T) {
			body, err := base64.StdEncoding.DecodeString(v.Body)
			if err != nil {
				t.Fatal(err)
			}
			want, err := base64.StdEncoding.DecodeString(v.Object)
			if err != nil {
				t.Fatal(err)
			}
			s, err := NewSpill(Claim(v.Claim), body, secret)
			if err != nil {
				t.Fatal(err)
			}
			object, err := s.Encode()
			if err != nil || !bytes.Equal(object, want) {
				t.Errorf("object %q, want %q, %v", object, want, err)
			}
			if name := SpillName(s.Claim, v.Tenant, v.ClientKey); name != v.ObjectName {
				t.Errorf("name %s, want %s", name, v.ObjectName)
			}
			back, err := DecodeSpill(want)
			if err != nil || back.Claim != s.Claim || !bytes.Equal(back.Body, body) || !back.Claim.Verify([][]byte{secret}, back.Signature) {
				t.Errorf("read back %+v, %v", back, err)
			}
			for i := range want { // no byte may change unnoticed
				bent := bytes.Clone(want)
				bent[i] ^= 1
				if b, err := DecodeSpill(bent); err == nil && b.Claim.Verify([][]byte{secret}, b.Signature) && (b.Claim != back.Claim || !bytes.Equal(b.Body, body)) {
					t.Fatalf("byte %d changed, and nobody noticed", i)
				}
			}
		})
	}
}

func TestAnswerVectors(t *testing.T) {
	var file struct {
		About string
		Cases []struct {
			Status int
			Code   string
			Spills bool
		}
	}
	load(t, "answers.json", &file)
	for _, v := range file.Cases {
		if Spills(v.Status, v.Code) != v.Spills {
			t.Errorf("%d %s: spills is not %t", v.Status, v.Code, v.Spills)
		}
	}
}

func TestParseSecrets(t *testing.T) {
	one, two := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	for text, n := range map[string]int{"": 0, " ": 0, one: 1, one + "," + two: 2, one + " , " + two: 2, one + "," + one: -1, "ab": -1, one + ",": -1,
		one + "," + two + "," + strings.Repeat("ef", 32): -1} {
		got, err := ParseSecrets(text)
		if (err != nil) != (n < 0) || n >= 0 && len(got) != n {
			t.Errorf("%q: %d secrets, %v", text, len(got), err)
		}
	}
}
