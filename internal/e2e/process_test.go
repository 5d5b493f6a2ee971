//go:build unix

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one child of the test: a stage, the gateway or the broker. It may
// be killed and started again any number of times; its log goes on.
type process struct {
	name   string // "scorer-b"
	stage  string // "scorer": what a kill of it is counted as
	binary string
	args   []string
	env    []string
	log    string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	asked  bool          // we ended it
	died   error         // it ended by itself
	read   int64         // how far the log was searched
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.binary, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited, p.asked = cmd, exited, false
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		if p.cmd == cmd && !p.asked {
			p.died = fmt.Errorf("%s ended by itself: %v", p.name, err)
		}
		p.mu.Unlock()
		close(exited)
	}()
	return nil
}

func (p *process) signal(s syscall.Signal, ending bool) (exited chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	p.asked = p.asked || ending
	_ = p.cmd.Process.Signal(s) // it may have ended already
	return p.exited
}

// kill ends the process as a power cut would, and waits until it is gone.
func (p *process) kill() {
	if done := p.signal(syscall.SIGKILL, true); done != nil {
		<-done
	}
}

// stop ends the process in an orderly way, and by force after a while.
func (p *process) stop() {
	done := p.signal(syscall.SIGTERM, true)
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		p.kill()
	}
}

// freeze makes a zombie of it until thaw: it owns what it owned, and does nothing.
func (p *process) freeze() { p.signal(syscall.SIGSTOP, false) }
func (p *process) thaw()   { p.signal(syscall.SIGCONT, false) }

// alarms are what no log of a healthy run may say.
var alarms = []string{"changed from outside", "determinism alarm", "panic:", "DATA RACE", "became a dead letter"}

// newAlarm returns the first alarming line written since the last call.
func (p *process) newAlarm() string {
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := f.Seek(p.read, 0); err != nil {
		return ""
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		return ""
	}
	end := bytes.LastIndexByte(b.Bytes(), '\n') + 1
	p.read += int64(end)
	for line := range strings.SplitSeq(string(b.Bytes()[:end]), "\n") {
		for _, a := range alarms {
			if strings.Contains(line, a) {
				return p.name + ": " + line
			}
		}
	}
	return ""
}

// tail is the end of the log.
func (p *process) tail(n int) string {
	b, _ := os.ReadFile(p.log) // a missing log says nothing
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return string(b)
}

// forgetAlarms skips what the log says so far.
func (p *process) forgetAlarms() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if st, err := os.Stat(p.log); err == nil {
		p.read = st.Size()
	}
}

// alarmSaid tells whether the log holds a text behind what was searched or forgotten.
func (p *process) alarmSaid(text string) bool {
	b, _ := os.ReadFile(p.log) // no log = nothing said
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Contains(b[min(int(p.read), len(b)):], []byte(text))
}

var built struct {
	once sync.Once
	path string
	err  error
}

// buildBinary builds the product once, with the switches that break its rules.
func buildBinary(dir string) (string, error) {
	built.once.Do(func() {
		built.path = filepath.Join(dir, "edgepulse")
		args := []string{"build", "-tags", "faultinject", "-o", built.path}
		env := os.Environ()
		if *raceFlag {
			args, env = append(args, "-race"), append(env, "CGO_ENABLED=1")
		}
		cmd := exec.Command("go", append(args, "../../cmd/edgepulse")...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build edgepulse: %w\n%s", err, out)
		}
	})
	return built.path, built.err
}

// poll waits until ok answers true; it looks every few milliseconds.
func poll(ctx context.Context, what string, ok func() (bool, error)) error {
	for {
		done, err := ok()
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
