// Command ingestdump prints every batch in INGEST as a line of JSON: what the
// Worker's tests compare with what they sent.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

type batch struct {
	Partition  int    `json:"partition"`
	Root       uint64 `json:"root"`
	RequestID  string `json:"request_id"`
	KeyID      string `json:"key_id"`
	Source     string `json:"source"`
	Key        string `json:"idempotency_key"`
	BodySHA256 []byte `json:"body_sha256"`
	ReceivedAt int64  `json:"received_at"`
	AcceptedAt int64  `json:"accepted_at"`
	Slices     []struct {
		Offset uint64 `json:"offset"`
		JSON   []byte `json:"json"` // base64
	} `json:"slices"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ingestdump:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n, err := strconv.Atoi(os.Getenv("EDGEPULSE_PARTITIONS"))
	if err != nil {
		return err
	}
	b, err := stream.Connect(stream.BrokerConfig{URL: os.Getenv("EDGEPULSE_NATS_URL"), Partitions: n, Timeout: 10 * time.Second}, "ingestdump", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.WaitConnected(ctx); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for p := range n {
		end, err := b.End(ctx, stream.Ingest, p)
		if err != nil {
			return err
		}
		err = b.Scan(ctx, stream.Ingest, p, 0, end, func(root uint64, _ int, raw []byte) error {
			var e schemas.Entry
			if err := e.UnmarshalVT(raw); err != nil {
				return err
			}
			in := e.GetBatch()
			if in == nil {
				return nil
			}
			o := batch{Partition: p, Root: root, RequestID: in.RequestId, KeyID: in.KeyId, Source: in.Source, Key: in.IdempotencyKey,
				BodySHA256: in.BodySha256, ReceivedAt: in.ReceivedAt, AcceptedAt: in.AcceptedAt}
			for _, s := range in.Slices {
				o.Slices = append(o.Slices, struct {
					Offset uint64 `json:"offset"`
					JSON   []byte `json:"json"`
				}{s.Offset, s.Json})
			}
			return out.Encode(o)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
