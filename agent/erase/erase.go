// SPDX-License-Identifier: Apache-2.0

// Package erase removes from a host everything that weft made there and
// nothing else. It needs no running agent and no controller.
package erase

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/bpffs"
	"github.com/weft-network/weft/agent/hostroute"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/agent/proxy"
	"github.com/weft-network/weft/agent/state"
	"github.com/weft-network/weft/vrouter"
)

// Directories are where an agent was told to keep its things.
type Directories struct{ State, Run, BPF string }

// Host removes the interfaces, tables, programs and files of the agent with
// these directories. What is gone already is success, so it may be repeated;
// it goes on after a failure and returns all of them.
func Host(d Directories) error {
	var dir state.Dir
	kept := exists(d.State)
	if kept {
		var err error
		if dir, err = state.Open(d.State); err != nil {
			return fmt.Errorf("uninstall: %w", err)
		}
	}
	bad := proxy.Erase(context.Background(), filepath.Join(d.Run, proxy.Directory)) // while there is what they stand on
	if kept {
		bad = errors.Join(bad, release(dir))
	}
	bad = errors.Join(bad, hostroute.Remove())
	bad = errors.Join(bad, links())
	bad = errors.Join(bad, vrouter.Remove(d.BPF))
	bad = errors.Join(bad, bpffs.Remove(d.BPF))
	bad = errors.Join(bad, runDir(d.Run))
	if kept && bad == nil { // else the records are still needed for the next attempt
		bad = dir.Remove()
	} else if kept {
		dir.Close()
	}
	if bad != nil {
		return fmt.Errorf("uninstall: %w", bad)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// keepHook is given to the driver in place of taking the packet path off: it
// stays on until all pins go, when nothing is up any more.
func keepHook(int) error { return nil }

// release takes down the interfaces of others that ports were attached to:
// without the packet path their workloads would talk to the host.
func release(dir state.Dir) error {
	records, err := plug.OpenRecords(dir.Plugs())
	if err != nil {
		return err
	}
	all, unreadable := records.All()
	_ = unreadable // only costs the record of an interface that is not ours
	d, err := link.Open(keepHook, keepHook)
	if err != nil {
		return err
	}
	defer d.Close()
	var bad error
	for _, r := range all {
		bad = errors.Join(bad, d.Release(r.Port, r.Place))
	}
	return bad
}

func links() error {
	d, err := link.Open(keepHook, keepHook)
	if err != nil {
		return err
	}
	defer d.Close()
	owned, err := d.Owned()
	if err != nil {
		return err
	}
	var bad error
	for name := range owned {
		bad = errors.Join(bad, d.RemoveOwned(name))
	}
	return errors.Join(bad, d.RemoveTunnel(), d.RemoveHostPath(), d.RemoveLabelPath())
}

func runDir(dir string) error {
	if err := os.Remove(filepath.Join(dir, plug.SocketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove socket: %w", err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("remove run directory: %w", err)
	}
	return nil
}
