package archive

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/edgepulse/edgepulse/stream"
)

// s3 is an object store in a bucket of S3, R2 or what speaks like them.
type s3 struct {
	api    minio.Core
	bucket string
	prefix string // of all names, with a slash at its end, or empty
}

type s3Config struct {
	endpoint, bucket, prefix, region string
	creds                            Credentials
}

func newS3(cfg s3Config) (stream.Blobs, error) {
	endpoint, err := url.Parse(cfg.endpoint)
	if err != nil || endpoint.Host == "" || (endpoint.Scheme != "https" && endpoint.Scheme != "http") {
		return nil, fmt.Errorf("object store endpoint %q is not an http or https URL", cfg.endpoint)
	}
	if cfg.bucket == "" {
		return nil, errors.New("object store URL names no bucket")
	}
	creds := credentials.NewStaticV4(cfg.creds.AccessKey, cfg.creds.SecretKey, cfg.creds.SessionToken)
	if cfg.creds.AccessKey == "" {
		creds = credentials.NewIAM("")
	}
	client, err := minio.New(endpoint.Host, &minio.Options{Creds: creds, Secure: endpoint.Scheme == "https", Region: cfg.region})
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	if cfg.prefix != "" {
		cfg.prefix += "/"
	}
	return s3{minio.Core{Client: client}, cfg.bucket, cfg.prefix}, nil
}

// Create implements stream.Blobs: one conditional PUT whose hashes the server
// verifies. When the answer to a PUT that succeeded is lost, its repetition finds
// the object and answers ErrBlobExists; callers that care compare what is there.
func (s s3) Create(ctx context.Context, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	opts := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true}
	opts.SetMatchETagExcept("*")
	sum, md := sha256.Sum256(data), md5.Sum(data)
	_, err := s.api.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(data), int64(len(data)),
		base64.StdEncoding.EncodeToString(md[:]), hex.EncodeToString(sum[:]), opts)
	switch res := minio.ToErrorResponse(err); {
	case err == nil:
		return nil
	case res.StatusCode == http.StatusPreconditionFailed || res.Code == "PreconditionFailed":
		return stream.ErrBlobExists
	default:
		return fmt.Errorf("create object %s: %w", name, err)
	}
}

// Get implements stream.Blobs.
func (s s3) Get(ctx context.Context, name string) ([]byte, error) {
	return s.read(ctx, name, minio.GetObjectOptions{}, -1)
}

// GetRange implements stream.Blobs: exactly n bytes, or an error.
func (s s3) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if offset < 0 || n < 0 || offset+n < offset {
		return nil, fmt.Errorf("read object %s: %w", name, io.ErrUnexpectedEOF)
	}
	// S3 has no empty range: ask for one byte more and drop it.
	ask := max(n, 1)
	if n == 0 {
		offset = max(0, offset-1)
	}
	var opts minio.GetObjectOptions
	if err := opts.SetRange(offset, offset+ask-1); err != nil {
		return nil, fmt.Errorf("read object %s: %w", name, err)
	}
	data, err := s.read(ctx, name, opts, ask)
	if err != nil {
		return nil, err
	}
	return data[:n], nil
}

// read gets an object or a range of exactly want bytes.
func (s s3) read(ctx context.Context, name string, opts minio.GetObjectOptions, want int64) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	body, _, _, err := s.api.GetObject(ctx, s.bucket, s.prefix+name, opts)
	if err != nil {
		return nil, s.readError(name, err)
	}
	defer body.Close()
	limit := want
	if want < 0 {
		limit = 1 << 40
	}
	data, err := io.ReadAll(io.LimitReader(body, limit))
	if err == nil && want >= 0 && int64(len(data)) != want {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, s.readError(name, err)
	}
	return data, nil
}

func (s s3) readError(name string, err error) error {
	switch res := minio.ToErrorResponse(err); {
	case res.Code == "NoSuchKey" || res.StatusCode == http.StatusNotFound && res.Code != "NoSuchBucket":
		return stream.ErrBlobNotFound
	case res.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("read object %s: %w", name, io.ErrUnexpectedEOF)
	default:
		return fmt.Errorf("read object %s: %w", name, err)
	}
}

// List implements stream.Blobs.
func (s s3) List(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var names []string
	for info := range s.api.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if info.Err != nil {
			return nil, fmt.Errorf("list objects %s: %w", prefix, info.Err)
		}
		names = append(names, strings.TrimPrefix(info.Key, s.prefix))
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list objects %s: %w", prefix, err)
	}
	slices.Sort(names)
	return names, nil
}

// Delete implements stream.Blobs.
func (s s3) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := s.api.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{})
	if err != nil && minio.ToErrorResponse(err).Code != "NoSuchKey" {
		return fmt.Errorf("delete object %s: %w", name, err)
	}
	return nil
}
