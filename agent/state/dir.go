// SPDX-License-Identifier: Apache-2.0

// Package state is the directory in which an agent keeps what outlives it:
// which files there are, and that only one agent uses them at a time.
package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir is a state directory that this process has locked.
type Dir struct {
	path string
	lock *os.File
}

// The names in the directory.
const (
	lockName    = "lock"
	desiredName = "desired.bin"
	plugsName   = "plugs"
	controllers = "controllers.json"
	policyLog   = "policy-log"
)

// names is everything that may be in the directory beside the identity's files.
var names = []string{lockName, desiredName, plugsName, controllers, policyLog, "host.key", "host.crt", "ca.crt", "identity.json"}

// ErrInUse says that another agent runs with this directory.
var ErrInUse = errors.New("an agent is running with this state directory: stop it first")

// Open makes the directory if need be and locks it until Close.
func Open(path string) (Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return Dir{}, fmt.Errorf("create state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return Dir{}, fmt.Errorf("open lock of state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return Dir{}, fmt.Errorf("lock state directory %s: %w", path, err)
	}
	return Dir{path, lock}, nil
}

// Close unlocks the directory.
func (d Dir) Close() { d.lock.Close() }

// Path is the directory.
func (d Dir) Path() string { return d.path }

// Desired is the file of the desired rows.
func (d Dir) Desired() string { return filepath.Join(d.path, desiredName) }

// Plugs is the directory of the plugs' records.
func (d Dir) Plugs() string { return filepath.Join(d.path, plugsName) }

// Controllers is the file of the addresses that controllers told.
func (d Dir) Controllers() string { return filepath.Join(d.path, controllers) }

// PolicyLog is the file of what rules log, in a directory with those that it was
// before it was full.
func (d Dir) PolicyLog() string { return filepath.Join(d.path, policyLog, "records") }

// Remove deletes everything an agent keeps, and the directory if nothing else
// is in it, and unlocks it.
func (d Dir) Remove() error {
	var bad error
	for _, n := range names {
		bad = errors.Join(bad, os.RemoveAll(filepath.Join(d.path, n)))
	}
	d.Close()
	if err := os.Remove(d.path); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, os.ErrNotExist) {
		bad = errors.Join(bad, err)
	}
	if bad != nil {
		return fmt.Errorf("remove state: %w", bad)
	}
	return nil
}
