// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

func newBackup(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Back up everything the store holds",
		Long: `Back up everything the store holds, while it goes on. Only administrators may.

The file has a checksum, and holds hashes of tokens but no key: keep the pki
directory of a controller as well, in a safe place. FILE must not exist.
"weft restore FILE" makes a new data directory of it.`,
		Example:           `  weft backup weft-monday.backup`,
		GroupID:           groupRest,
		Args:              arguments(1, 1),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		RunE:              func(c *cobra.Command, args []string) error { return s.backup(c.Context(), args[0]) },
	}
}

// backup writes the file beside its place first: what has the name is whole.
func (s *session) backup(ctx context.Context, path string) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("back up to %s: the file exists: choose another name, or remove it", path)
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // when it has its name, this finds nothing
	h, err := c.Backup(ctx, f)
	if err = errors.Join(err, f.Sync()); err != nil {
		f.Close()
		return err
	}
	size, err := f.Seek(0, 1)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	_, err = fmt.Fprintf(s.Out, "%s: %d bytes, epoch %d, revision %d, %s\n", path, size, h.Epoch, h.Revision, h.CreatedAt.UTC().Format(time.RFC3339))
	return err
}
