package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Shares are small values that processes of one kind tell each other, one per
// process: the newest counts, none is kept for long, losing all costs nothing that
// the next does not say again. They are a bucket in the broker's memory: no disk
// is waited for.
type Shares struct{ b *Broker }

// Shares of the gateways: what each has taken of the tenants' plans.
func (b *Broker) Shares() Shares { return Shares{b} }

// bucket finds the bucket, or makes it.
func (s Shares) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := s.b.js.KeyValue(ctx, quotaBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = s.b.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: quotaBucket, Description: "what each gateway has taken of the tenants' plans",
			History: 1, TTL: sharesLive, MaxBytes: sharesBytes, Storage: jetstream.MemoryStorage, Replicas: 1})
		if errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = s.b.js.KeyValue(ctx, quotaBucket)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", quotaBucket, err)
	}
	return kv, nil
}

// Publish replaces the value of a process.
func (s Shares) Publish(ctx context.Context, process string, value []byte) error {
	// Without a reply: the next value is on its way before this one could be repeated.
	if err := s.b.nc.Publish("$KV."+quotaBucket+"."+process, value); err != nil {
		return fmt.Errorf("share: %w", err)
	}
	return ctx.Err()
}

// Follow calls each for the newest value of every process and then for every new
// one, until ctx ends or the watch is lost.
func (s Shares) Follow(ctx context.Context, each func(process string, value []byte)) error {
	kv, err := s.bucket(ctx)
	if err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", quotaBucket, err)
	}
	defer func() { _ = w.Stop() }() // a watch that is lost already
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case entry, ok := <-w.Updates():
			if !ok {
				return errors.New("watch ended")
			}
			if entry != nil { // nil: all that was there has been said
				each(entry.Key(), entry.Value())
			}
		}
	}
}
