package stream

import (
	"errors"
	"fmt"
)

// HaltError stops a partition: a log is not what it was when it was last read
// or written, so going on could apply a gap or apply twice. It names the log and
// what an operator does about it.
type HaltError struct {
	Log    string // stream name, e.g. "POINTS_3"
	Reason string
	Mend   string // command or action
}

func (e *HaltError) Error() string {
	return fmt.Sprintf("log %s was changed from outside: %s; %s", e.Log, e.Reason, e.Mend)
}

func halt(log LogName, partition int, format string, args ...any) error {
	h := &HaltError{Log: StreamName(log, partition), Reason: fmt.Sprintf(format, args...)}
	if spec, _ := Spec(log); spec.Truth {
		h.Mend = "restore this log from its archive, or every log and snapshot from one backup"
	} else {
		h.Mend = fmt.Sprintf("run `edgepulse rebuild %s` to derive it again", log)
	}
	return h
}

var (
	// ErrFenced says that another owner has claimed the partition since.
	ErrFenced = errors.New("fenced by another owner")
	// errRebuilding says that a log is about to be emptied, or has been; `edgepulse rebuild` ends what it left half done.
	errRebuilding = errors.New("log is being rebuilt")
	// errReseek asks the reader to find its place again.
	errReseek = errors.New("seek again")
	// ErrUnsafe refuses a broker or log whose settings could lose what it acknowledged.
	ErrUnsafe = errors.New("unsafe broker")
	// ErrLogFull says that the broker refused to store more: nothing is lost, nothing is accepted.
	ErrLogFull = errors.New("log is full")
)
