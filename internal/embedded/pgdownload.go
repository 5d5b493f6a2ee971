package embedded

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloadedMajor is the version fetched where none is installed.
const downloadedMajor = 17 // embeddedpostgres.V17

// fetchPostgres downloads binaries once into cacheDir and answers where they lie.
// The library offers no plain download, so a throw-away server is started with
// them and stopped: which proves as well that they run on this machine.
func fetchPostgres(ctx context.Context, cacheDir string) (Binaries, error) {
	dir := filepath.Join(cacheDir, fmt.Sprintf("postgres-%d", downloadedMajor))
	if b, err := inspectBinaries(ctx, filepath.Join(dir, "bin")); err == nil {
		return b, nil
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return Binaries{}, fmt.Errorf("create cache folder: %w", err)
	}
	scratch, err := os.MkdirTemp(cacheDir, "trial-")
	if err != nil {
		return Binaries{}, fmt.Errorf("create scratch folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	port, err := freePort()
	if err != nil {
		return Binaries{}, err
	}
	trial := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(embeddedpostgres.V17).
		CachePath(cacheDir).
		BinariesPath(dir).
		RuntimePath(filepath.Join(scratch, "run")).
		DataPath(filepath.Join(scratch, "data")).
		Port(port).
		Logger(io.Discard))
	if err := trial.Start(); err != nil {
		return Binaries{}, fmt.Errorf("download PostgreSQL %d: %w; %s, or set EDGEPULSE_PG_BIN", downloadedMajor, err, installHint())
	}
	if err := trial.Stop(); err != nil {
		return Binaries{}, fmt.Errorf("stop trial server: %w", err)
	}
	return inspectBinaries(ctx, filepath.Join(dir, "bin"))
}

func freePort() (uint32, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return uint32(l.Addr().(*net.TCPAddr).Port), nil
}
