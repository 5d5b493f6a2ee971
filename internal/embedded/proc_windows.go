package embedded

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// The private PostgreSQL needs unix sockets, signals and users: on Windows use
// a PostgreSQL service and hand its address in, or run in a container.
var errWindows = errors.New("the embedded PostgreSQL does not run on Windows: hand in the address of a PostgreSQL service")

type shutdownSignal int

const (
	shutdownFast shutdownSignal = iota
	shutdownImmediate
	shutdownKill
)

func signalServer(int, shutdownSignal) error { return errWindows }
func processAlive(int) bool                  { return false }
func isServerOf(int, string) bool            { return false }
func lockThread() (unlock func())            { return func() {} }

type osUser struct {
	drop     bool
	uid, gid int
	name     string
}

func serverUser() (osUser, error)              { return osUser{}, errWindows }
func toolAttr(osUser) *syscall.SysProcAttr     { return nil }
func serverAttr(osUser) *syscall.SysProcAttr   { return nil }
func (osUser) checkTraversable(string) error   { return errWindows }
func (osUser) mkdir(string, os.FileMode) error { return errWindows }
func (osUser) writeFile(path string, _ []byte) error {
	return fmt.Errorf("write %s: %w", path, errWindows)
}
