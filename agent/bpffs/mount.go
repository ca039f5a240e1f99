// SPDX-License-Identifier: Apache-2.0

// Package bpffs provides the BPF file system on which the packet path is
// pinned, so that it outlives the agent.
package bpffs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// source is the mark of a mount of ours: its device name in the mount table.
const source = "weft-bpf"

// Ensure makes dir a directory on a BPF file system, mounting one there if it
// is not on one already.
func Ensure(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create BPF directory: %w", err)
	}
	is, err := isBPF(dir)
	if err != nil || is {
		return err
	}
	if err := unix.Mount(source, dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount BPF file system on %s: %w (the agent needs root and a kernel with CONFIG_BPF_SYSCALL)", dir, err)
	}
	return nil
}

// Remove unmounts the file system if dir is the mount point of one of ours,
// and removes the directory if it is then empty. Absence is success.
func Remove(dir string) error {
	is, err := isBPF(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if is {
		ours, err := mounted(dir)
		if err != nil {
			return err
		}
		if ours {
			if err := unix.Unmount(dir, 0); err != nil {
				return fmt.Errorf("unmount BPF file system %s: %w", dir, err)
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("remove BPF directory: %w", err)
	}
	return nil
}

func isBPF(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("stat BPF directory %s: %w", dir, err)
	}
	return uint32(st.Type) == unix.BPF_FS_MAGIC, nil
}

// mounted tells whether dir itself is a mount of ours.
func mounted(dir string) (bool, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	if absolute, err = filepath.EvalSymlinks(absolute); err != nil {
		return false, err
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return false, fmt.Errorf("read mount table: %w", err)
	}
	return ownMount(string(mounts), absolute), nil
}
