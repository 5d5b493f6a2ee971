//go:build !unix

package embedded

// dirLock does nothing where there is no flock: two processes on one folder
// are not detected there.
type dirLock struct{}

func lockDir(string) (*dirLock, error) { return &dirLock{}, nil }

func (l *dirLock) release() {}

// freeBytes is not known here: a fixed, modest budget.
func freeBytes(string) (int64, error) { return 32 << 30, nil }
