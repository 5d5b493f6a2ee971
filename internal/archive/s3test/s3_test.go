// Package s3test holds the S3 object store to the same suite as the folder,
// against a real S3 server: versitygw in this process, or the bucket named by
// EDGEPULSE_TEST_S3 (a URL as archive.Open takes it) with EDGEPULSE_TEST_S3_KEY
// and EDGEPULSE_TEST_S3_SECRET.
//
// It is a module of its own, since versitygw is far larger than the product:
//
//	cd internal/archive/s3test && go test ./...
package s3test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/archive/blobtest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// target is a bucket to test in: a URL without query, its query, and keys.
type target struct {
	base, query string
	creds       archive.Credentials
}

func TestS3(t *testing.T) {
	to := bucket(t)
	stores := 0
	run := fmt.Sprintf("conformance-%d", time.Now().UnixNano())
	blobtest.Conformance(t, func(t *testing.T) stream.Blobs {
		stores++
		b, err := archive.Open(t.Context(), fmt.Sprintf("%s/%s/%d?%s", to.base, run, stores, to.query), to.creds)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
	t.Run("more than a page of names", func(t *testing.T) {
		b, err := archive.Open(t.Context(), fmt.Sprintf("%s/%s/paged?%s", to.base, run, to.query), to.creds)
		if err != nil {
			t.Fatal(err)
		}
		const objects = 1100 // a page of S3 has at most 1,000
		for i := range objects {
			if err := b.Create(t.Context(), fmt.Sprintf("n/%05d", i), []byte{1}); err != nil {
				t.Fatal(err)
			}
		}
		names, err := b.List(t.Context(), "n/")
		if err != nil || len(names) != objects || names[0] != "n/00000" || names[objects-1] != fmt.Sprintf("n/%05d", objects-1) {
			t.Errorf("%d names, %v", len(names), err)
		}
	})
	t.Run("sealed segments by ranged reads", func(t *testing.T) {
		b, err := archive.Open(t.Context(), fmt.Sprintf("%s/%s/sealed?%s", to.base, run, to.query), to.creds)
		if err != nil {
			t.Fatal(err)
		}
		sealedSegments(t, b)
	})
	t.Run("wrong keys say so and are not repeated", func(t *testing.T) {
		wrong := to.creds
		wrong.SecretKey = "not-the-secret-at-all"
		b, err := archive.Open(t.Context(), to.base+"?"+to.query, wrong)
		if err != nil {
			t.Fatal(err)
		}
		err = b.Create(t.Context(), "x", []byte("x"))
		if err == nil || errors.Is(err, stream.ErrBlobExists) || strings.Contains(err.Error(), wrong.SecretKey) {
			t.Errorf("create: %v", err)
		}
		if _, err := b.Get(t.Context(), "x"); err == nil || errors.Is(err, stream.ErrBlobNotFound) {
			t.Errorf("get: %v", err)
		}
	})
}

func bucket(t *testing.T) target {
	t.Helper()
	if url := os.Getenv("EDGEPULSE_TEST_S3"); url != "" {
		base, query, _ := strings.Cut(url, "?")
		return target{strings.TrimSuffix(base, "/"), query,
			archive.Credentials{AccessKey: os.Getenv("EDGEPULSE_TEST_S3_KEY"), SecretKey: os.Getenv("EDGEPULSE_TEST_S3_SECRET")}}
	}
	creds := archive.Credentials{AccessKey: "edgepulse", SecretKey: "edgepulse-test"}
	addr := gateway(t, creds)
	client, err := minio.New(addr, &minio.Options{Creds: credentials.NewStaticV4(creds.AccessKey, creds.SecretKey, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	// The client repeats until the gateway answers.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := client.MakeBucket(ctx, "archive", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return target{"s3://archive", "region=us-east-1&endpoint=http://" + addr, creds}
}

// gateway runs versitygw over a folder until the test ends.
func gateway(t *testing.T, creds archive.Credentials) (addr string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	t.Chdir(".") // the back end changes the working directory: come back afterwards
	sidecar := t.TempDir()
	metadata, err := meta.NewSideCar(sidecar)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := posix.New(t.TempDir(), metadata, posix.PosixOpts{SideCarDir: sidecar})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- embedgw.RunVersityGW(ctx, backend, &embedgw.Config{RootUserAccess: creds.AccessKey, RootUserSecret: creds.SecretKey,
			Region: "us-east-1", Ports: []string{addr}, Quiet: true, KeepAlive: true, MaxConnections: 1000, MaxRequests: 500, MultipartMaxParts: 10000})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Logf("gateway ended: %v", err)
		}
	})
	return addr
}

// oneKey is the data key of the only tenant.
type oneKey struct{ destroyed bool }

func (k *oneKey) SealingKey(context.Context, schemas.ID) (archive.DataKey, error) {
	return archive.DataKey{ID: schemas.ID{5}, Key: [32]byte{6}}, nil
}

func (k *oneKey) OpeningKey(context.Context, schemas.ID) (archive.DataKey, error) {
	if k.destroyed {
		return archive.DataKey{}, archive.ErrErased
	}
	return k.SealingKey(context.Background(), schemas.Nil)
}

// sealedSegments writes a sealed segment and reads each message by ranges, before
// and after its tenant's key is destroyed.
func sealedSegments(t *testing.T, b stream.Blobs) {
	keys := &oneKey{}
	w, err := archive.NewWriter(stream.Ingest, 0, keys)
	if err != nil {
		t.Fatal(err)
	}
	var payloads [][]byte
	for i := range 20 {
		entry, err := (&schemas.Entry{Kind: &schemas.Entry_Batch{Batch: &schemas.Batch{TenantId: make([]byte, 15), RequestId: fmt.Sprint(i)}}}).MarshalVT()
		if i%2 == 0 {
			tenant := schemas.ID{1, byte(i)}
			entry, err = (&schemas.Entry{Kind: &schemas.Entry_Batch{Batch: &schemas.Batch{TenantId: tenant[:], RequestId: fmt.Sprint(i)}}}).MarshalVT()
		}
		if err != nil {
			t.Fatal(err)
		}
		group, err := (&schemas.Group{Entries: [][]byte{entry}}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		payloads = append(payloads, group)
		if err := w.Add(t.Context(), archive.Message{Root: uint64(i + 1), At: time.Unix(int64(i), 0), Payload: group}); err != nil {
			t.Fatal(err)
		}
	}
	data, info, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context(), info.Name, data); err != nil {
		t.Fatal(err)
	}
	for _, destroyed := range []bool{false, true} {
		keys.destroyed = destroyed
		for i, want := range payloads {
			m, err := archive.ReadRoot(t.Context(), b, keys, stream.Ingest, 0, uint64(i+1))
			if err != nil {
				t.Fatal(err)
			}
			if erased := destroyed && i%2 == 0; erased != (m.Erased == 1) || erased == (string(m.Payload) == string(want)) {
				t.Errorf("root %d, key destroyed %v: %d entries erased, %x", i+1, destroyed, m.Erased, m.Payload)
			}
		}
	}
}
