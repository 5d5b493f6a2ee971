package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"time"
)

// profiles takes a CPU profile of every process, this one (the load) included,
// for d, beginning after d.
func (c *cluster) profiles(ctx context.Context, dir string, d time.Duration) error {
	d = max(d.Round(time.Second), time.Second)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder of profiles: %w", err)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(c.children)+1)
	for i, ch := range c.children {
		wg.Go(func() { errs[i] = ch.profile(ctx, filepath.Join(dir, ch.name+".pprof"), d) })
	}
	errs[len(c.children)] = profileSelf(ctx, filepath.Join(dir, "load.pprof"), d)
	wg.Wait()
	return errors.Join(errs...)
}

func (c *child) profile(ctx context.Context, file string, d time.Duration) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", c.pprof, int(d.Seconds())), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profile %s: %w", c.name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile %s: %s", c.name, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("profile %s: %w", c.name, err)
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

func profileSelf(ctx context.Context, file string, d time.Duration) error {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("profile the load: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	pprof.StopCPUProfile()
	return f.Close()
}
