// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// expediter shortens what the kernel waits for while it attaches a program: it
// asks for expedited grace periods of RCU (rcu_expedited in the kernel's
// Documentation/ABI/testing/sysfs-kernel-rcu) for as long, less than a
// millisecond, and not if somebody else has asked for them already. A kernel
// with rcu_normal set does not heed it.
type expediter struct {
	knob   string // a file that has 0 or 1
	marker string // a directory that is there while the knob is 1 for our sake

	mutex   sync.Mutex
	running int
	ours    bool
}

const (
	expediteKnob   = "/sys/kernel/rcu_expedited"
	expediteMarker = "expediting"
)

func newExpediter(pinDir string) *expediter {
	return &expediter{knob: expediteKnob, marker: filepath.Join(pinDir, expediteMarker)}
}

// recover puts the knob back that a process left when it was killed.
func (e *expediter) recover() error {
	if _, err := os.Stat(e.marker); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return e.restore()
}

func (e *expediter) restore() error {
	if err := os.WriteFile(e.knob, []byte("0"), 0); err != nil {
		return fmt.Errorf("put %s back to 0: %w", e.knob, err)
	}
	if err := os.Remove(e.marker); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove marker of %s: %w", e.knob, err)
	}
	return nil
}

// during runs do with expedited grace periods, or without where they are not to
// be had: that only takes longer. It returns what do returns, or that the knob
// could not be put back.
func (e *expediter) during(do func() error) error {
	e.begin()
	err := do()
	return errors.Join(err, e.end())
}

func (e *expediter) begin() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.running++
	if e.running > 1 {
		return
	}
	now, err := os.ReadFile(e.knob)
	if err != nil || strings.TrimSpace(string(now)) != "0" {
		return
	}
	// The marker comes first: with it alone nothing is wrong.
	if err := os.Mkdir(e.marker, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return
	}
	if os.WriteFile(e.knob, []byte("1"), 0) == nil {
		e.ours = true
		return
	}
	_ = os.Remove(e.marker) // at worst the next start writes a 0 where one is
}

func (e *expediter) end() error {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.running--
	if e.running > 0 || !e.ours {
		return nil
	}
	e.ours = false
	return e.restore()
}
