// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Remove, called in the network namespace of the interfaces, detaches every interface and removes everything pinned below pinDir,
// and pinDir itself if it is then empty and not a mount point. Absence is success.
func Remove(pinDir string) error {
	entries, err := os.ReadDir(pinDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list pin directory: %w", err)
	}
	if err := newExpediter(pinDir).recover(); err != nil {
		return err
	}
	if err := sweepCaptures(pinDir); err != nil {
		return err
	}
	links, err := os.ReadDir(filepath.Join(pinDir, linksName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if err := removeHook(filepath.Join(pinDir, linksName), l.Name()); err != nil {
			return err
		}
	}
	for _, e := range entries {
		name := e.Name()
		if name != linksName && name != programsName && name != hostProgramsName && name != fabricProgramsName && name != stageProgramsName && name != underlayProgramsName && !strings.HasPrefix(name, mapsPrefix) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(pinDir, name)); err != nil {
			return fmt.Errorf("remove pinned %s: %w", name, err)
		}
	}
	err = os.Remove(pinDir)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove pin directory: %w", err)
	}
	return nil
}
