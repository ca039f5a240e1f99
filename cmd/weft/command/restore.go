// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"
)

// restoreOptions are the flags of restore.
type restoreOptions struct {
	dataDir, pkiDir string
	members         []string
}

func newRestore(s *session) *cobra.Command {
	var o restoreOptions
	c := &cobra.Command{
		Use:   "restore FILE --data-dir DIR",
		Short: "Make a controller's data directory of a backup",
		Long: `Make the data directory of a controller of a backup, on the machine where the
controller will run: this starts "weft-controller restore", which has to be
installed here. No controller is asked, and nothing that runs is touched.

DIR must be empty, but for the pki directory of the old controller. With
--etcd-member, once for each, it makes the data directories of a new etcd
cluster instead. What follows from a restore is in doc/restore.md.`,
		Example:           "  weft restore weft-monday.backup --data-dir /var/lib/weft-controller",
		GroupID:           groupRest,
		Args:              arguments(1, 1),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		RunE:              func(c *cobra.Command, args []string) error { return s.restore(c.Context(), args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.dataDir, "data-dir", "", "`DIR` to make")
	f.StringVar(&o.pkiDir, "pki-dir", "", "`DIR` of the certificate authority (default DIR/pki below the data directory)")
	f.StringArrayVar(&o.members, "etcd-member", nil, "`NAME=URL` of a member of a new etcd cluster, and where other members reach it (repeatable)")
	return c
}

// restore runs the controller's own command: only it brings etcd with it.
func (s *session) restore(ctx context.Context, file string, o restoreOptions) error {
	if o.dataDir == "" {
		return usagef("restore: which directory is to be made? --data-dir DIR")
	}
	if s.Controller == "" {
		return failure{what: "restore: weft-controller is neither beside this program nor in the path", hint: "run it on a machine where the controller is installed"}
	}
	args := []string{"restore", "--from", file, "--data-dir", o.dataDir}
	if o.pkiDir != "" {
		args = append(args, "--pki-dir", o.pkiDir)
	}
	for _, m := range o.members {
		args = append(args, "--etcd-member", m)
	}
	c := exec.CommandContext(ctx, s.Controller, args...)
	c.Stdout, c.Stderr = s.Out, s.Err
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return errNotWell // it has said why
	}
	if err != nil {
		return fmt.Errorf("restore: run %s: %w", s.Controller, err)
	}
	return nil
}
