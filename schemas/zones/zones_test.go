package zones

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"
)

// The copy is pinned: another one changes scores, hence the scorer's version.
func TestDatabaseIsTheOnePinned(t *testing.T) {
	const want = "8f55634d05f8bca1f7bc7c69c5933428c69357e0bdf565e5ba224e3f88ff12e8"
	if sum := sha256.Sum256(database); hex.EncodeToString(sum[:]) != want {
		t.Errorf("the zones are %x, pinned is %s: with the pin raise the scorer's Version, see docs/adr/0070", sum, want)
	}
}

func TestOffsets(t *testing.T) {
	for _, c := range []struct {
		name, at string
		want     time.Duration
	}{
		{"", "2026-07-01T00:00:00Z", 0}, {"UTC", "2026-07-01T00:00:00Z", 0}, {"Etc/UTC", "2026-07-01T00:00:00Z", 0},
		{"Europe/Berlin", "2026-03-29T00:59:59Z", time.Hour}, {"Europe/Berlin", "2026-03-29T01:00:00Z", 2 * time.Hour},
		{"Europe/Berlin", "2026-10-25T00:59:59Z", 2 * time.Hour}, {"Europe/Berlin", "2026-10-25T01:00:00Z", time.Hour},
		{"Asia/Kathmandu", "2026-01-01T00:00:00Z", 5*time.Hour + 45*time.Minute},
		{"America/New_York", "2026-01-01T00:00:00Z", -5 * time.Hour},
		{"Australia/Lord_Howe", "2026-01-01T00:00:00Z", 11 * time.Hour},
	} {
		z, err := Find(c.name)
		if err != nil {
			t.Error(err)
			continue
		}
		at, _ := time.Parse(time.RFC3339, c.at)
		if got := time.Duration(z.Offset(at.UnixMicro())) * time.Microsecond; got != c.want {
			t.Errorf("%s at %s is %s ahead, want %s", c.name, c.at, got, c.want)
		}
	}
	for _, name := range []string{"Local", "Europe/", "Europe", "../etc/passwd", "europe/berlin", "Mars/Olympus", "UTC+1"} {
		if z, err := Find(name); err == nil {
			t.Errorf("%q is a zone: %v", name, z)
		}
	}
}

// Not even a database of zones that the environment names is asked.
func TestTheMachineIsNotAsked(t *testing.T) {
	t.Setenv("ZONEINFO", t.TempDir())
	if z, err := Find("Pacific/Apia"); err != nil || z.Offset(0) != -11*3600*1e6 {
		t.Error(z, err)
	}
}

func BenchmarkOffset(b *testing.B) {
	z, err := Find("Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	ts := int64(1_790_000_000_000_000)
	for b.Loop() {
		ts += z.Offset(ts) & 1
	}
}
