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

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/embedded"
	"github.com/weft-network/weft/store/external"
)

func restoreCommand() *cobra.Command {
	var from, dataDir, pkiDir string
	var memberTexts []string
	c := &cobra.Command{
		Use:   "restore --from FILE",
		Short: "Make a data directory from a backup",
		Long: `restore makes a data directory from a file that "weft backup" wrote. The
directory must be empty, but for pki: that of the old controller, since a new
certificate authority would be unknown to all hosts and clients.

The restored store has a higher epoch, so that hosts take what it says, and
revisions above all that were ever given out. What was written after the backup
is gone. Stop the old controller before the new one starts.

With --etcd-member, once for each, it makes the data directories of a new etcd
cluster instead, DATA-DIR/etcd-NAME each, which take the place of the old
members' own. It writes into no etcd that runs: revisions would begin anew there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if pkiDir == "" {
				pkiDir = filepath.Join(dataDir, "pki")
			}
			var members []external.Member
			for _, text := range memberTexts {
				m, err := external.ParseMember(text)
				if err != nil {
					return err
				}
				members = append(members, m)
			}
			return restore(cmd.Context(), cmd.OutOrStdout(), from, dataDir, pkiDir, members)
		},
	}
	c.Flags().StringVar(&from, "from", "", "the backup")
	c.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "directory to make")
	c.Flags().StringVar(&pkiDir, "pki-dir", "", "directory of the certificate authority (default DATA-DIR/pki)")
	c.Flags().StringArrayVar(&memberTexts, "etcd-member", nil, "NAME=URL of a member of a new external etcd cluster, and where other members reach it (repeatable)")
	return c
}

// restore does all its work in a directory beside the final one, and gives that
// its name when it is complete.
func restore(ctx context.Context, out io.Writer, from, dataDir, pkiDir string, members []external.Member) (err error) {
	fail := func(err error) error { return fmt.Errorf("restore %s to %s: %w", from, dataDir, err) }
	if from == "" {
		return errors.New("restore: --from FILE is required")
	}
	if err := emptyButForPKI(dataDir); err != nil {
		return fail(err)
	}
	work, err := os.MkdirTemp(dataDir, ".restore-*")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(work)
	snapshot := filepath.Join(work, "snapshot")
	h, err := extract(from, snapshot)
	if err != nil {
		return fail(err)
	}
	if err := rightAuthority(pkiDir, h.Authority); err != nil {
		return fail(err)
	}
	if err := embedded.Restore(work, snapshot); err != nil {
		return fail(err)
	}
	if len(members) > 0 {
		epoch, err := restoreMembers(ctx, work, dataDir, h.Epoch, out, members)
		if err != nil {
			return fail(err)
		}
		return tellMembers(out, dataDir, h, epoch, members)
	}
	epoch, err := raise(ctx, work, h.Epoch, out)
	if err != nil {
		return fail(err)
	}
	if err := os.Rename(filepath.Join(work, "etcd"), filepath.Join(dataDir, "etcd")); err != nil {
		return fail(err)
	}
	_, err = fmt.Fprintf(out, "restored the state of %s, epoch %d; start weft-controller --data-dir %s\n", h.CreatedAt.UTC().Format(time.RFC3339), epoch, dataDir)
	return err
}

// emptyButForPKI makes the directory, or makes sure that nothing of value is in it.
func emptyButForPKI(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "pki" {
			return fmt.Errorf("the directory holds %s: give an empty one (but for pki)", e.Name())
		}
	}
	return nil
}

// extract checks the backup and writes the snapshot that is in it.
func extract(from, snapshot string) (h api.BackupHeader, err error) {
	in, err := os.Open(from)
	if err != nil {
		return h, err
	}
	defer in.Close()
	out, err := os.OpenFile(snapshot, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return h, err
	}
	h, err = api.ReadBackup(in, io.Discard, out)
	return h, errors.Join(err, out.Close())
}

// rightAuthority makes sure that the authority of the backup is there.
func rightAuthority(dir, hash string) error {
	if hash == "" {
		return nil // from before any controller had started
	}
	if !pki.Has(dir) {
		return fmt.Errorf("%s holds no certificate authority; that of the backup has the SHA-256 %s: copy the old controller's pki directory there", dir, hash)
	}
	ca, err := pki.Open(dir, time.Now)
	if err != nil {
		return err
	}
	if ca.Hash() != hash {
		return fmt.Errorf("the certificate authority in %s has the SHA-256 %s, that of the backup %s: copy the old controller's pki directory there", dir, ca.Hash(), hash)
	}
	return nil
}

// raise runs the restored etcd for a moment to raise its epoch.
func raise(ctx context.Context, dir string, above uint64, warn io.Writer) (uint64, error) {
	etcd, err := embedded.Start(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer etcd.Close()
	if err := warnOf(ctx, etcd, warn); err != nil {
		return 0, err
	}
	return store.RaiseEpoch(ctx, etcd.Client(), above)
}
