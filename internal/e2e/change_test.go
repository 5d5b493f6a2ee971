//go:build unix

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// settle feeds some points, waits until everything has reached the end, and compares.
func (w *world) settle(ctx context.Context, points int, truths *[partitions]*truth) error {
	watch, end := w.watched(ctx, false)
	defer end()
	if err := w.load.feed(watch, points); err != nil {
		return first(context.Cause(watch), err)
	}
	if err := w.drained(watch); err != nil {
		return err
	}
	_, err := w.verify(ctx, truths, complete)
	return err
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// rolledBack puts an older copy of a log in the place of the one that its
// readers, the snapshots and Postgres have seen: the log is named, nothing wrong
// goes out, and a rebuild gives the same as if nothing had been.
func (w *world) rolledBack(ctx context.Context, log stream.LogName, p int, truths *[partitions]*truth) error {
	name := stream.StreamName(log, p)
	if err := w.settle(ctx, 1000, truths); err != nil {
		return fmt.Errorf("before the copy: %w", err)
	}
	older, err := w.inspect.End(ctx, log, p)
	if err != nil {
		return err
	}
	w.stopStages()
	w.broker.stop()
	live, old := w.streamDir(name), filepath.Join(w.dir, "older-"+name)
	if err := os.CopyFS(old, os.DirFS(live)); err != nil {
		return fmt.Errorf("copy log: %w", err)
	}
	if err := w.restart(ctx); err != nil {
		return err
	}
	if err := w.settle(ctx, 1500, truths); err != nil {
		return fmt.Errorf("after the copy: %w", err)
	}
	spec, _ := stream.Spec(log)
	if err := w.snapshotBeyond(ctx, spec.Writer, p, older); err != nil {
		return err
	}
	w.stopStages()
	w.broker.stop()
	if err := errors.Join(os.RemoveAll(live), os.Rename(old, live)); err != nil {
		return fmt.Errorf("put the older copy in place: %w", err)
	}
	w.forgetAlarms()
	if err := w.restart(ctx); err != nil {
		return err
	}
	return w.namedAndRebuilt(ctx, log, spec.Writer, p, truths)
}

// madeAnew deletes a log under running stages and creates it again, empty.
func (w *world) madeAnew(ctx context.Context, log stream.LogName, p int, truths *[partitions]*truth) error {
	name := stream.StreamName(log, p)
	if err := w.settle(ctx, 1000, truths); err != nil {
		return fmt.Errorf("before the deletion: %w", err)
	}
	spec, _ := stream.Spec(log)
	if err := w.snapshotBeyond(ctx, spec.Writer, p, 0); err != nil {
		return err
	}
	w.forgetAlarms()
	if err := w.js.DeleteStream(ctx, name); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	if err := w.inspect.Provision(ctx); err != nil {
		return err
	}
	// Only who reads or writes notices: points keep coming.
	if err := w.load.round(ctx); err != nil {
		return err
	}
	return w.namedAndRebuilt(ctx, log, spec.Writer, p, truths)
}

// writtenByOther appends a commit that skips roots and extends nothing: somebody
// with the broker's password, or a bug, has written into the log.
func (w *world) writtenByOther(ctx context.Context, log stream.LogName, p int, truths *[partitions]*truth) error {
	name := stream.StreamName(log, p)
	if err := w.settle(ctx, 1000, truths); err != nil {
		return fmt.Errorf("before the commit: %w", err)
	}
	for _, s := range w.stages {
		s.stop()
	}
	if err := w.load.feed(ctx, 500); err != nil {
		return err
	}
	list, err := w.messages(ctx, name, 0)
	if err != nil {
		return err
	}
	last := &schemas.Commit{}
	if err := proto.Unmarshal(list[len(list)-1].data, last); err != nil {
		return err
	}
	forged, err := proto.Marshal(&schemas.Commit{Log: name, Epoch: last.Epoch + 1, Nonce: make([]byte, 16), From: last.To, To: last.To + 5,
		PrevSeq: last.PrevSeq, PrevChain: make([]byte, 32), FoldVersion: last.FoldVersion})
	if err != nil {
		return err
	}
	if _, err := w.js.PublishMsg(ctx, &nats.Msg{Subject: stream.Subject(log, p), Data: forged}); err != nil {
		return fmt.Errorf("write into %s: %w", name, err)
	}
	w.forgetAlarms()
	for _, s := range w.stages {
		if err := s.start(); err != nil {
			return err
		}
	}
	return w.namedAndRebuilt(ctx, log, reader[log], p, truths)
}

// reader is the stage that reads a log.
var reader = map[stream.LogName]string{stream.Points: "featurizer", stream.Features: "scorer", stream.Scores: "alerter"}

// rebuiltAheadOfReaders rebuilds a log whose projectors stand in the middle of it:
// the new commits have other boundaries, and what was projected comes again.
func (w *world) rebuiltAheadOfReaders(ctx context.Context, truths *[partitions]*truth) error {
	if err := w.settle(ctx, 1000, truths); err != nil {
		return fmt.Errorf("before the rebuild: %w", err)
	}
	var projectors []*process
	for _, s := range w.stages {
		if s.stage == "projector" {
			s.kill()
			projectors = append(projectors, s)
		}
	}
	watch, end := w.watched(ctx, false)
	defer end()
	if err := w.load.feed(watch, 1000); err != nil {
		return first(context.Cause(watch), err)
	}
	for range 2 { // the second time the log begins anew with its stages at work on it
		if err := w.logsDrained(watch); err != nil {
			return err
		}
		if err := w.command("rebuild", "POINTS", "--yes"); err != nil {
			return err
		}
	}
	if err := w.logsDrained(watch); err != nil {
		return err
	}
	for _, s := range projectors {
		if err := s.start(); err != nil {
			return err
		}
	}
	if err := w.drained(watch); err != nil {
		return err
	}
	_, err := w.verify(ctx, truths, complete)
	return err
}

// rebuiltWhileIdle rebuilds everything that is derived while nothing arrives: no
// entry wakes an owner, and nobody may take it for a log changed from outside.
func (w *world) rebuiltWhileIdle(ctx context.Context, truths *[partitions]*truth) error {
	watch, end := w.watched(ctx, true)
	defer end()
	if err := w.drained(watch); err != nil {
		return err
	}
	start := time.Now()
	if err := w.command("rebuild", string(stream.Points), "--yes"); err != nil {
		return err
	}
	if err := w.drained(watch); err != nil {
		return fmt.Errorf("after the rebuild: %w", err)
	}
	if _, err := w.verify(ctx, truths, complete); err != nil {
		return err
	}
	w.say("all derived logs rebuilt while nothing arrived: the same after %s, no alarm", time.Since(start).Round(time.Second))
	return nil
}

// rederived throws away all that can be derived, and expects it back; the
// receiver of webhooks must not notice.
func (w *world) rederived(ctx context.Context, truths *[partitions]*truth) error {
	start := time.Now()
	_, requests := w.inbox.count()
	w.stopStages()
	for _, log := range derived {
		for p := range partitions {
			if err := w.js.DeleteStream(ctx, stream.StreamName(log, p)); err != nil {
				return fmt.Errorf("delete %s: %w", stream.StreamName(log, p), err)
			}
		}
	}
	if err := os.RemoveAll(w.snapshotDir()); err != nil {
		return fmt.Errorf("delete snapshots: %w", err)
	}
	if err := w.store.TruncateProjected(ctx, append([]stream.LogName{stream.Deliveries}, derived...)...); err != nil {
		return err
	}
	if err := w.startStages(ctx); err != nil {
		return err
	}
	watch, end := w.watched(ctx, false)
	defer end()
	if err := w.drained(watch); err != nil {
		return err
	}
	f, err := w.verify(ctx, truths, complete)
	if err != nil {
		return err
	}
	if f.requests != requests {
		return fmt.Errorf("%d webhooks were sent again", f.requests-requests)
	}
	w.say("all derived logs, snapshots and projected rows thrown away: the same after %s; webhook requests before %d, after %d",
		time.Since(start).Round(time.Second), requests, f.requests)
	return nil
}

func (w *world) namedAndRebuilt(ctx context.Context, log stream.LogName, stage string, p int, truths *[partitions]*truth) error {
	name := stream.StreamName(log, p)
	if err := w.named(ctx, name, stage, p); err != nil {
		// What went out meanwhile says how bad it is that nobody noticed.
		_, wrong := w.verify(ctx, truths, complete)
		return errors.Join(fmt.Errorf("%s does not name %s: %w", stage, name, err), wrong)
	}
	return w.rebuilt(ctx, log, truths, p)
}

// named waits until a stage has said which log was changed, in its log and its
// metric, and until all that does not depend on that partition has gone on.
func (w *world) named(ctx context.Context, name, stage string, p int) error {
	watch, end := w.watched(ctx, false)
	defer end()
	metric := fmt.Sprintf("edgepulse_%s_partition_halted{partition=\"%d\"} 1", stage, p)
	err := poll(watch, stage+" names "+name, func() (bool, error) {
		for _, s := range w.stages {
			if s.stage == stage && s.alarmSaid("log "+name+" was changed from outside") && scrape(w.metricsAt[s.name], metric) {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return first(context.Cause(watch), err)
	}
	if err := w.load.round(watch); err != nil {
		return first(context.Cause(watch), err)
	}
	var others []int
	for other := range partitions {
		if other != p {
			others = append(others, other)
		}
	}
	return w.drained(watch, others...)
}

func scrape(url, line string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(b), line+"\n")
}

// rebuilt compares what stands beside the changed log, rebuilds it, and compares all.
func (w *world) rebuilt(ctx context.Context, log stream.LogName, truths *[partitions]*truth, p int) error {
	if _, err := w.verify(ctx, truths, scope{partial: true, except: stream.StreamName(log, p)}); err != nil {
		return fmt.Errorf("while %s is changed: %w", stream.StreamName(log, p), err)
	}
	if err := w.command("rebuild", string(log), "--yes"); err != nil {
		return err
	}
	if err := w.settle(ctx, 500, truths); err != nil {
		return fmt.Errorf("after the rebuild: %w", err)
	}
	w.say("%s: named, nothing wrong beside it, and the same after `edgepulse rebuild %s`", stream.StreamName(log, p), log)
	w.forgetAlarms()
	return nil
}

// command runs the operator's tool.
func (w *world) command(args ...string) error {
	cmd := exec.Command(w.binary, args...)
	cmd.Env = w.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("edgepulse %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// restart starts broker, gateway and stages after a stop of all.
func (w *world) restart(ctx context.Context) error {
	return first(w.startBroker(ctx), w.startStages(ctx))
}

func (w *world) streamDir(name string) string {
	return filepath.Join(w.natsDir(), "jetstream", "$G", "streams", name)
}

// snapshotBeyond waits until a stage has a snapshot behind a root: it is what
// tells, after everybody was restarted, that the log was longer.
func (w *world) snapshotBeyond(ctx context.Context, stage string, p int, root uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return poll(ctx, "a snapshot was taken", func() (bool, error) {
		found, err := filepath.Glob(filepath.Join(w.snapshotDir(), "snapshots", stage, fmt.Sprint(p), "*", "*"))
		for _, f := range found {
			var at uint64
			if _, err := fmt.Sscanf(filepath.Base(f), "%d", &at); err == nil && at > root {
				return true, nil
			}
		}
		return false, err
	})
}

// forgetAlarms lets a new expectation begin.
func (w *world) forgetAlarms() {
	var wg sync.WaitGroup
	for _, p := range w.all() {
		wg.Go(p.forgetAlarms)
	}
	wg.Wait()
}
