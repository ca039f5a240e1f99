// SPDX-License-Identifier: Apache-2.0

// Package embedded runs etcd inside this process, for a Weft that is one
// process and one directory. It listens nowhere: requests are function calls,
// and a cluster of one has no peers.
package embedded

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// MaxTxnOps is how many operations one transaction may have: a hundred
	// objects with ten keys each, or a policy of a thousand rules, fit.
	MaxTxnOps = 8192
	// quotaBytes is the largest size of the database (8 GiB, etcd's advice for
	// the upper end); beyond it etcd refuses writes.
	quotaBytes = 8 << 30
	// maxRequestBytes is etcd's default, 1.5 MiB, said here since the store counts on it.
	maxRequestBytes = 1<<20 + 1<<19
	// catchUpEntries is how many entries of its log etcd keeps in memory for members
	// that are behind. There are none; etcd's own 5000, of up to 1.5 MiB each,
	// would be gigabytes after a bulk load.
	catchUpEntries = 64
	// retention is how long old revisions are kept for watches to resume from.
	retention = "30m"
	// startTimeout bounds replaying the log after a crash.
	startTimeout = time.Minute
	// closeGrace is how long a clean end may take before it is abandoned; etcd
	// recovers from its log either way.
	closeGrace = 10 * time.Second
)

// Server is a running etcd with its client.
type Server struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	lock   *os.File
}

// Start runs etcd in the folder etcd of a directory, which is made if need be,
// and returns when it can take writes.
func Start(ctx context.Context, dir string) (*Server, error) {
	return StartWithQuota(ctx, dir, quotaBytes)
}

// StartWithQuota is Start with another largest size of the database.
func StartWithQuota(ctx context.Context, dir string, quota int64) (*Server, error) {
	dir = filepath.Join(dir, "etcd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start etcd: make its directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start etcd: close its directory to others: %w", err)
	}
	held, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
	}
	c := config(dir)
	c.QuotaBackendBytes = quota
	e, err := embed.StartEtcd(c)
	if err != nil {
		held.Close()
		return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
	}
	s := &Server{etcd: e, lock: held}
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case <-s.etcd.Server.ReadyNotify():
		s.client = v3client.New(s.etcd.Server)
		return s, nil
	case err = <-s.etcd.Err():
	case <-s.etcd.Server.StopNotify():
		err = fmt.Errorf("it stopped")
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = fmt.Errorf("not ready after %v", startTimeout)
	}
	s.etcd.Close()
	held.Close()
	return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
}

// lock makes sure that no other process uses the directory. etcd itself would
// wait for the other without end. The kernel gives the lock up with the file.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open its lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process is using it: stop that one, or give this one a directory of its own (%w)", err)
	}
	return f, nil
}

func config(dir string) *embed.Config {
	c := embed.NewConfig()
	c.Name = "weft"
	c.Dir = dir
	c.ListenPeerUrls = nil
	c.ListenClientUrls = nil
	c.ListenClientHttpUrls = nil
	c.ListenMetricsUrls = nil
	// What a member advertises is stored at its first start and must be the
	// same later; nobody connects to it.
	self := url.URL{Scheme: "http", Host: "localhost:2380"}
	c.AdvertisePeerUrls = []url.URL{self}
	c.AdvertiseClientUrls = nil
	c.InitialCluster = c.Name + "=" + self.String()
	c.QuotaBackendBytes = quotaBytes
	c.MaxTxnOps = MaxTxnOps
	c.MaxRequestBytes = maxRequestBytes
	c.SnapshotCatchUpEntries = catchUpEntries
	c.AutoCompactionMode = embed.CompactorModePeriodic
	c.AutoCompactionRetention = retention
	c.EnableGRPCGateway = false
	c.AuthToken = "" // no users: whoever can call a function of this process is the process
	c.UnsafeNoFsync = false
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger())
	return c
}

// logger writes warnings and errors of etcd to stderr, as JSON.
func logger() *zap.Logger {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(os.Stderr), zap.WarnLevel)
	return zap.New(quiet{core})
}

// quiet leaves out the warning about a port that nobody listens on.
type quiet struct{ zapcore.Core }

func (q quiet) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if strings.HasPrefix(e.Message, "Running http and grpc server on single port") {
		return c
	}
	return q.Core.Check(e, c)
}

// Client calls the server in this process.
func (s *Server) Client() *clientv3.Client { return s.client }

// Failed delivers an error if etcd stops by itself, as on a full disk.
func (s *Server) Failed() <-chan error { return s.etcd.Err() }

// Close ends etcd. What it acknowledged is on disk.
func (s *Server) Close() {
	s.client.Close()
	done := make(chan struct{})
	go func() { // ends with etcd itself; abandoned only when the process ends anyway
		defer close(done)
		s.etcd.Close()
	}()
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case <-done:
		s.lock.Close()
	case <-timer.C: // the directory is still in use
	}
}
