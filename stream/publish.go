package stream

import (
	"context"
	"errors"
	"time"
)

// publishLoop keeps one commit in flight.
func (p *partitionRun) publishLoop(ctx context.Context, jobs <-chan commitJob, results chan<- error) {
	for job := range jobs {
		start := time.Now()
		if job.check {
			results <- p.check(ctx)
			continue
		}
		err := p.publish(ctx, job)
		p.metrics.commit.Observe(time.Since(start).Seconds())
		if err == nil {
			p.done.Store(job.to)
			p.metrics.commits.WithLabelValues(label(p.partition)).Inc()
			p.metrics.outputs.WithLabelValues(label(p.partition)).Add(float64(job.entries))
			p.metrics.committed.WithLabelValues(label(p.partition)).Set(float64(job.to))
			if !job.at.IsZero() {
				p.metrics.latency.Observe(time.Since(job.at).Seconds())
			}
		}
		select {
		case results <- err:
		case <-ctx.Done():
			return
		}
	}
}

// check notices, where nothing arrives that would show it, that the log was
// thrown away or taken over. A broker that does not answer is asked again later.
func (p *partitionRun) check(ctx context.Context) error {
	var h *HaltError
	err := p.w.check(ctx)
	if errors.Is(err, ErrFenced) || errors.Is(err, errRebuilding) || errors.As(err, &h) {
		return err
	}
	return nil
}

func (p *partitionRun) publish(ctx context.Context, job commitJob) error {
	if p.w.stale() {
		if err := p.w.reclaim(ctx, job.version); err != nil {
			return err
		}
	}
	return p.w.commit(ctx, job.to, job.version, job.outputs)
}
