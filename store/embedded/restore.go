// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// revisionBump is by how much revisions grow in a restore. Revisions that were
// given out after the backup must not be given out again for something else:
// this is thirty years at a thousand writes a second, and leaves room for nine
// thousand restores before a revision no longer fits JSON's whole numbers.
const revisionBump = 1_000_000_000_000

// Snapshot reads a snapshot of the whole database, as it is now, with its
// SHA-256 at the end, as etcd's own tools write one. A call to the client ends
// in the same way whether it is whole or not.
func (s *Server) Snapshot(ctx context.Context) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	whole := s.etcd.Server.Backend().Snapshot()
	from, to := io.Pipe()
	go func() { // ends with the snapshot, or when the reader closes
		sum := sha256.New()
		_, err := whole.WriteTo(io.MultiWriter(to, sum))
		if err == nil {
			_, err = to.Write(sum.Sum(nil))
		}
		to.CloseWithError(errors.Join(err, whole.Close()))
	}()
	return from, nil
}

// Defragment gives space back that nothing is in. Meanwhile etcd stands still.
func (s *Server) Defragment() error { return s.etcd.Server.Backend().Defrag() }

// Restore makes the directory of an etcd from a snapshot; Start then runs it.
// There must not be one yet. All revisions before count as compacted, so that
// whoever wants to go on from one is told to read everything again.
func Restore(dir, file string) error {
	dir = filepath.Join(dir, "etcd")
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("restore etcd: %s exists", dir)
	}
	c := config(dir)
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: file, Name: c.Name, OutputDataDir: dir,
		PeerURLs: []string{c.AdvertisePeerUrls[0].String()}, InitialCluster: c.InitialCluster, InitialClusterToken: c.InitialClusterToken,
		RevisionBump: revisionBump, MarkCompacted: true,
	})
	if err != nil {
		return fmt.Errorf("restore etcd in %s: %w", dir, err)
	}
	return os.Chmod(dir, 0o700)
}
