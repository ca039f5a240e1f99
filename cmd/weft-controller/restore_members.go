// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/embedded"
	"github.com/weft-network/weft/store/external"
)

// problemsNamed is how many of a backup's problems are named.
const problemsNamed = 20

// restoreMembers finishes the restore of an external cluster: work holds the
// etcd that the backup has become, and out gets a directory for each member.
//
// It makes a new cluster rather than writing into one that runs: only so can
// revisions go on above all that were ever given out. In a running cluster they
// would begin at one, and what clients remember of an object's revision, or
// where a watch was, would some time mean something else.
func restoreMembers(ctx context.Context, work, out string, above uint64, warn io.Writer, members []external.Member) (epoch uint64, err error) {
	file := filepath.Join(work, "raised")
	if epoch, err = raiseAndSave(ctx, work, above, file, warn); err != nil {
		return 0, err
	}
	if err := external.Restore(work, file, "weft-"+uuid.NewString(), members); err != nil {
		return 0, err
	}
	for n, m := range members {
		if err := os.Rename(external.MemberDir(work, m), external.MemberDir(out, m)); err != nil {
			for _, done := range members[:n] {
				err = errors.Join(err, os.RemoveAll(external.MemberDir(out, done)))
			}
			return 0, err
		}
	}
	return epoch, nil
}

// warnOf says what is wrong with the keys of a backup. It is restored all the
// same: there may be no better one.
func warnOf(ctx context.Context, etcd *embedded.Server, warn io.Writer) error {
	problems, err := store.Verify(ctx, etcd.Client())
	if err != nil {
		return err
	}
	for n, p := range problems {
		if n == problemsNamed {
			p = fmt.Sprintf("and %d more", len(problems)-n)
		}
		if _, err := fmt.Fprintf(warn, "warning: the backup: %s\n", p); err != nil || n == problemsNamed {
			return err
		}
	}
	return nil
}

// raiseAndSave runs the restored etcd for a moment to raise its epoch, and
// writes a snapshot of the result.
func raiseAndSave(ctx context.Context, dir string, above uint64, file string, warn io.Writer) (epoch uint64, err error) {
	etcd, err := embedded.Start(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer etcd.Close()
	if epoch, err = store.RaiseEpoch(ctx, etcd.Client(), above); err != nil {
		return 0, err
	}
	if err := warnOf(ctx, etcd, warn); err != nil {
		return 0, err
	}
	from, err := etcd.Snapshot(ctx)
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(to, from)
	return epoch, errors.Join(err, to.Close())
}

// tellMembers says what to do with the directories.
func tellMembers(out io.Writer, dir string, h api.BackupHeader, epoch uint64, members []external.Member) error {
	text := fmt.Sprintf("restored the state of %s, epoch %d; stop all controllers and all members of the old cluster, then\n", h.CreatedAt.UTC().Format(time.RFC3339), epoch)
	for _, m := range members {
		text += fmt.Sprintf("  move %s to the machine of %s, and start etcd --name %s --data-dir with it\n", external.MemberDir(dir, m), m.PeerURL, m.Name)
	}
	text += "and when these are a cluster start the controllers, with --etcd-endpoints\n"
	_, err := io.WriteString(out, text)
	return err
}
