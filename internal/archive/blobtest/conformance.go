// Package blobtest holds what every stream.Blobs must do, as one suite: the
// folder runs it here, S3 in the module beside (s3test), anybody's bucket there too.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/edgepulse/edgepulse/stream"
)

// Conformance holds an empty object store to the contract of stream.Blobs.
func Conformance(t *testing.T, open func(t *testing.T) stream.Blobs) {
	t.Run("create and get", func(t *testing.T) { createAndGet(t, open(t)) })
	t.Run("create only once", func(t *testing.T) { createOnce(t, open(t)) })
	t.Run("one of many creators wins", func(t *testing.T) { race(t, open(t)) })
	t.Run("ranges", func(t *testing.T) { ranges(t, open(t)) })
	t.Run("list", func(t *testing.T) { list(t, open(t)) })
	t.Run("delete", func(t *testing.T) { remove(t, open(t)) })
	t.Run("missing objects", func(t *testing.T) { missing(t, open(t)) })
	t.Run("names that would leave the store", func(t *testing.T) { badNames(t, open(t)) })
	t.Run("cancelled context", func(t *testing.T) { cancelled(t, open(t)) })
}

func create(t *testing.T, b stream.Blobs, name string, data []byte) {
	t.Helper()
	if err := b.Create(t.Context(), name, data); err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
}

func expect(t *testing.T, b stream.Blobs, name string, want []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("get %s: %d bytes, want %d", name, len(got), len(want))
	}
}

func createAndGet(t *testing.T, b stream.Blobs) {
	large := make([]byte, 6<<20) // above the part size of common clients
	r := rand.New(rand.NewPCG(1, 2))
	for i := range large {
		large[i] = byte(r.Uint32())
	}
	for name, data := range map[string][]byte{
		"empty": {}, "small": []byte("x"), "a/deep/er/name.seg": []byte("below"), "zeros": make([]byte, 100_000), "large": large,
		"odd name with spaces+and%20signs=&?.bin": []byte("odd"),
	} {
		create(t, b, name, data)
		expect(t, b, name, data)
	}
}

func createOnce(t *testing.T, b stream.Blobs) {
	create(t, b, "d/x", []byte("first"))
	for _, data := range []string{"second", "first", ""} {
		if err := b.Create(t.Context(), "d/x", []byte(data)); !errors.Is(err, stream.ErrBlobExists) {
			t.Errorf("a second create answers %v", err)
		}
	}
	expect(t, b, "d/x", []byte("first"))
}

func race(t *testing.T, b stream.Blobs) {
	const creators = 8
	var wg sync.WaitGroup
	errs := make([]error, creators)
	for i := range creators {
		wg.Go(func() { errs[i] = b.Create(t.Context(), "contested/name", bytes.Repeat([]byte{byte(i)}, 10_000)) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Fatalf("creators %d and %d both won", winner, i)
		case !errors.Is(err, stream.ErrBlobExists):
			t.Fatalf("creator %d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	expect(t, b, "contested/name", bytes.Repeat([]byte{byte(winner)}, 10_000))
}

func ranges(t *testing.T, b stream.Blobs) {
	data := []byte("0123456789")
	create(t, b, "r", data)
	for _, r := range [][2]int64{{0, 10}, {0, 1}, {3, 4}, {9, 1}, {5, 0}, {0, 0}, {10, 0}} {
		got, err := b.GetRange(t.Context(), "r", r[0], r[1])
		if err != nil || string(got) != string(data[r[0]:r[0]+r[1]]) {
			t.Errorf("range %v: %q, %v", r, got, err)
		}
	}
	for _, r := range [][2]int64{{0, 11}, {9, 2}, {10, 1}, {100, 1}, {-1, 2}, {0, -1}, {1, 1<<63 - 1}} {
		if got, err := b.GetRange(t.Context(), "r", r[0], r[1]); err == nil {
			t.Errorf("range %v beyond the object answers %q", r, got)
		} else if errors.Is(err, stream.ErrBlobNotFound) {
			t.Errorf("range %v: the object is there, but: %v", r, err)
		}
	}
}

func list(t *testing.T, b stream.Blobs) {
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("p/%d/%04d", i%3, i))
	}
	// No object is named like a prefix of others ("p/1"): a folder could not hold it.
	want = append(want, "p/1-x", "q/1")
	for _, name := range want {
		create(t, b, name, []byte(name))
	}
	for _, prefix := range []string{"", "p/", "p/1", "p/1/", "p/1/00", "q", "nothing/here/", "p/2/0023"} {
		var expected []string
		for _, name := range want {
			if len(name) >= len(prefix) && name[:len(prefix)] == prefix {
				expected = append(expected, name)
			}
		}
		slices.Sort(expected)
		got, err := b.List(t.Context(), prefix)
		if err != nil || !slices.Equal(got, expected) {
			t.Errorf("list %q: %v, %v; want %v", prefix, got, err, expected)
		}
	}
}

func remove(t *testing.T, b stream.Blobs) {
	create(t, b, "d/gone", []byte("1"))
	for range 2 {
		if err := b.Delete(t.Context(), "d/gone"); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	if _, err := b.Get(t.Context(), "d/gone"); !errors.Is(err, stream.ErrBlobNotFound) {
		t.Errorf("a deleted object answers %v", err)
	}
	create(t, b, "d/gone", []byte("2"))
	expect(t, b, "d/gone", []byte("2"))
}

func missing(t *testing.T, b stream.Blobs) {
	if _, err := b.Get(t.Context(), "no/such"); !errors.Is(err, stream.ErrBlobNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := b.GetRange(t.Context(), "no/such", 0, 1); !errors.Is(err, stream.ErrBlobNotFound) {
		t.Errorf("range: %v", err)
	}
}

func badNames(t *testing.T, b stream.Blobs) {
	for _, name := range []string{"", ".", "..", "../x", "a/../../x", "/etc/x", "a//b", "a/", "a/./b", "a\\b", "a\x00b"} {
		if err := b.Create(t.Context(), name, []byte("x")); err == nil {
			t.Errorf("create %q succeeded", name)
		}
		if _, err := b.Get(t.Context(), name); err == nil {
			t.Errorf("get %q succeeded", name)
		}
	}
}

func cancelled(t *testing.T, b stream.Blobs) {
	create(t, b, "there", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Create(ctx, "c", []byte("x")); err == nil {
		t.Error("create went on")
	}
	if _, err := b.Get(ctx, "there"); err == nil {
		t.Error("get went on")
	}
	if _, err := b.List(ctx, ""); err == nil {
		t.Error("list went on")
	}
}
