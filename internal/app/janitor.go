package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/edgepulse/edgepulse/alerter/deliverer"
	"github.com/edgepulse/edgepulse/internal/archive"
	"github.com/edgepulse/edgepulse/internal/janitor"
	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/stream"
)

// newJanitor gathers everybody who reads a log.
func (a *App) newJanitor() (*janitor.Janitor, error) {
	if err := a.cfg.Janitor.Check(); err != nil {
		return nil, err
	}
	if a.snapshots == nil {
		return nil, errors.New("no place for snapshots: set EDGEPULSE_SNAPSHOT_URL or EDGEPULSE_ARCHIVE_URL")
	}
	var readers []janitor.Reader
	for _, spec := range stream.Topology {
		if spec.From == "" {
			continue
		}
		readers = append(readers, janitor.Reader{Name: "projector", Log: spec.Name,
			Done: func(ctx context.Context, p int, _ uint64) (uint64, error) {
				return a.store.DurablePosition(ctx, spec.Name, p)
			}})
		if spec.Truth {
			continue
		}
		retained := func(ctx context.Context, p int, _ uint64) (uint64, error) {
			return a.broker.RetainedSnapshot(ctx, a.snapshots, spec.Name, p)
		}
		readers = append(readers, janitor.Reader{Name: spec.Writer, Log: spec.From, Done: retained})
		if spec.From != stream.Ingest {
			// What it reads is derived from INGEST: with its snapshot a rebuild begins.
			readers = append(readers, janitor.Reader{Name: spec.Writer, Log: stream.Ingest, Done: retained})
		}
	}
	readers = append(readers, janitor.Reader{Name: deliverer.Name, Log: stream.Alerts, Done: a.planned},
		janitor.Reader{Name: deliverer.Name, Log: stream.Deliveries, Done: a.deliveriesEnded()})
	for _, log := range archived {
		v := &verifiedArchive{store: a.store, blobs: a.archive, log: log, begin: a.beginOf, sums: map[int]map[string]bool{}}
		readers = append(readers, janitor.Reader{Name: "archiver", Log: log, Done: v.done, Costly: true})
	}
	return janitor.New(a.cfg.Janitor, a.broker, readers, janitor.NewMetrics(a.registry), a.log.With("stage", "janitor"), a.partitions), nil
}

// planned is the last root of ALERTS that DELIVERIES covers.
func (a *App) planned(ctx context.Context, p int, _ uint64) (uint64, error) {
	st, err := a.broker.StatusOf(ctx, stream.Deliveries, p)
	return st.Root, err
}

// deliveriesEnded follows DELIVERIES, from round to round, for what is pending.
func (a *App) deliveriesEnded() func(context.Context, int, uint64) (uint64, error) {
	ledgers := map[int]*deliverer.Ledger{}
	return func(ctx context.Context, p int, _ uint64) (uint64, error) {
		st, err := a.broker.StatusOf(ctx, stream.Deliveries, p)
		if err != nil || st.Messages == 0 {
			return 0, err
		}
		l := ledgers[p]
		if l == nil {
			l = deliverer.NewLedger()
			ledgers[p] = l
		}
		from := max(l.Read(), st.FirstSeq-1)
		if from < st.LastSeq {
			err = a.broker.Follow(ctx, stream.Deliveries, p, from, func(m stream.Message) (bool, error) {
				var entries [][]byte
				for _, r := range m.Roots {
					entries = append(entries, r.Entries...)
				}
				return m.To >= st.LastSeq, l.Take(m.To, entries)
			})
		}
		if err != nil {
			delete(ledgers, p) // read anew: what was taken of the message is not known
			return 0, err
		}
		return l.Ended(), nil
	}
}

func (a *App) beginOf(ctx context.Context, log stream.LogName, p int) (uint64, error) {
	st, err := a.broker.StatusOf(ctx, log, p)
	return max(1, st.FirstSeq), err
}

// verifyAtOnce bounds how many segments are read back in one round.
const verifyAtOnce = 16

// verifiedArchive tells how far the archive of a log is whole: what is to be
// truncated is read back from the object store before, each segment once.
type verifiedArchive struct {
	store *store.Store
	blobs stream.Blobs
	log   stream.LogName
	begin func(ctx context.Context, log stream.LogName, p int) (uint64, error)
	sums  map[int]map[string]bool // segments that were read back, of what the log still holds, by partition
}

func (v *verifiedArchive) done(ctx context.Context, p int, upTo uint64) (uint64, error) {
	first, err := v.begin(ctx, v.log, p)
	if err != nil {
		return 0, err
	}
	list, err := v.store.ListSegments(ctx, v.log, p, store.SegmentRange{FromRoot: first, ToRoot: upTo})
	if err != nil {
		return 0, err
	}
	known := v.sums[p]
	v.sums[p] = map[string]bool{}
	whole, read := first-1, 0
	for _, s := range list {
		if s.FirstRoot > whole+1 {
			break // a gap: the log is the only copy
		}
		if !known[s.ObjectKey] {
			if read++; read > verifyAtOnce {
				break
			}
			if err := v.verify(ctx, s); err != nil {
				return 0, err
			}
		}
		v.sums[p][s.ObjectKey] = true
		whole = max(whole, s.LastRoot)
	}
	return whole, nil
}

func (v *verifiedArchive) verify(ctx context.Context, s store.Segment) error {
	data, err := v.blobs.Get(ctx, s.ObjectKey)
	if err != nil {
		return fmt.Errorf("read back segment %s: %w", s.ObjectKey, err)
	}
	r, err := archive.Decode(data)
	if err != nil {
		return fmt.Errorf("read back segment %s: %w", s.ObjectKey, err)
	}
	defer r.Close()
	info := r.Info()
	if info.First != s.FirstRoot || info.Last != s.LastRoot || !bytes.Equal(info.SHA256[:], s.SHA256) {
		return fmt.Errorf("read back segment %s: it is not what the index says", s.ObjectKey)
	}
	return nil
}
