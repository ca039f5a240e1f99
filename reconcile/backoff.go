// SPDX-License-Identifier: Apache-2.0

package reconcile

import "time"

// Bounds of the pauses between attempts at one row.
const (
	// FirstPause is short because most failures (a map momentarily full, an
	// interface about to appear) are gone at once.
	FirstPause = 100 * time.Millisecond
	// MaxPause keeps a repaired cause from going unnoticed for long.
	MaxPause = 30 * time.Second
)

// Backoff is how long to wait between attempts: First after the first failure,
// doubling up to Max. The zero value means FirstPause and MaxPause.
type Backoff struct {
	First, Max time.Duration
}

// After returns the pause after a number of failed attempts, from 1.
func (b Backoff) After(attempts int) time.Duration {
	if b.First == 0 {
		b.First = FirstPause
	}
	if b.Max == 0 {
		b.Max = MaxPause
	}
	pause := b.First
	for i := 1; i < attempts && pause < b.Max; i++ {
		pause *= 2
	}
	return min(pause, b.Max)
}
