package archive

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/edgepulse/edgepulse/stream"
)

// Credentials open an S3 or R2 bucket. Without an access key the role of the
// machine is asked (IAM; s3 only).
type Credentials struct {
	AccessKey    string
	SecretKey    string
	SessionToken string
}

// Open returns the object store behind a URL:
//
//	file:///var/lib/edgepulse/archive        a folder; a plain path too
//	s3://bucket/prefix?region=eu-central-1   AWS
//	s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1   any S3
//	r2://account-id/bucket/prefix            Cloudflare R2
//
// It does not create buckets, and does not connect; a folder is made.
func Open(_ context.Context, raw string, creds Credentials) (stream.Blobs, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse object store URL: %w", err)
	}
	if u.User != nil {
		return nil, fmt.Errorf("object store URL must not hold credentials")
	}
	path := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "":
		return NewFolder(raw)
	case "file":
		if u.Host != "" && u.Host != "localhost" {
			return nil, fmt.Errorf("object store URL names host %q; a folder is file:///path", u.Host)
		}
		return NewFolder(filepath.FromSlash(u.Path))
	case "s3":
		region := u.Query().Get("region")
		endpoint := u.Query().Get("endpoint")
		if endpoint == "" {
			if region == "" {
				return nil, fmt.Errorf("object store URL needs a region or an endpoint")
			}
			endpoint = "https://s3." + region + ".amazonaws.com"
		}
		return newS3(s3Config{endpoint, u.Host, path, region, creds})
	case "r2":
		bucket, prefix, _ := strings.Cut(path, "/")
		return newS3(s3Config{"https://" + u.Host + ".r2.cloudflarestorage.com", bucket, prefix, "auto", creds})
	default:
		return nil, fmt.Errorf("object store URL has scheme %q; file, s3 and r2 are known", u.Scheme)
	}
}
