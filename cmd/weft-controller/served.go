// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// servedFile is a file of the data directory in which a controller remembers
// the epoch of the store that it has served. A store that is gone, or was put
// back as it once was without a restore, is no new beginning: hosts would lose
// their networks as soon as its revisions have grown enough.
const servedFile = "served-epoch"

// sameStore makes sure that a store is not older than the one that was served
// from this directory. An epoch of 0 means that there is no store yet.
func sameStore(dir string, epoch uint64) error {
	path := filepath.Join(dir, servedFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read which store was served: %w", err)
	}
	served, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", path, err)
	case epoch == 0:
		return fmt.Errorf("this etcd is empty, and this controller has served one of epoch %d: restore a backup (weft-controller restore), or remove %s to begin anew, which takes their networks from all hosts", served, path)
	case epoch < served:
		return fmt.Errorf("this etcd has epoch %d, and this controller has served epoch %d: this is an old copy; restore it from a backup (weft-controller restore), which gives it a higher epoch, or remove %s", epoch, served, path)
	}
	return nil
}

// remember writes the epoch that is served from now on.
func remember(dir string, epoch uint64) error {
	path := filepath.Join(dir, servedFile)
	if err := os.WriteFile(path+".new", []byte(strconv.FormatUint(epoch, 10)+"\n"), 0o600); err != nil {
		return fmt.Errorf("remember which store is served: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("remember which store is served: %w", err)
	}
	return nil
}
