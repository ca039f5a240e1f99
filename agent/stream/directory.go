// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"slices"
	"sync"

	"github.com/weft-network/weft/api/hoststream"
)

// maxAddresses bounds the addresses that are remembered.
const maxAddresses = 64

// directory is where controllers are: what they last said themselves, and after
// that what was known before. One that died is not said any more, and may be
// the first to be back: it is tried last, and forgotten only for newer ones.
type directory struct {
	fixed bool // somebody said where they are: nothing is learned

	mu     sync.Mutex // guards everything that follows
	all    []string
	groups [][]string      // addresses of one controller each, as said last
	olds   map[string]bool // addresses of controllers that know no Resume
}

func newDirectory(known []string, fixed bool) *directory {
	d := &directory{fixed: fixed, olds: map[string]bool{}}
	for _, a := range known {
		if !slices.Contains(d.all, a) {
			d.all = append(d.all, a)
		}
	}
	return d
}

// addresses returns all, in the order in which they are worth trying.
func (d *directory) addresses() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.all)
}

// learn takes what a controller says, and returns all addresses if they are others now.
func (d *directory) learn(said []*hoststream.Controller) (all []string, changed bool) {
	if len(said) == 0 {
		return nil, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.groups = nil
	var listed []string
	for _, c := range said {
		d.groups = append(d.groups, c.Streams)
		for _, a := range c.Streams {
			if !slices.Contains(listed, a) {
				listed = append(listed, a)
			}
		}
	}
	if d.fixed {
		return nil, false
	}
	former := slices.DeleteFunc(slices.Clone(d.all), func(a string) bool { return slices.Contains(listed, a) })
	now := append(listed, former...)
	now = now[:min(len(now), maxAddresses)]
	changed = !slices.Equal(slices.Sorted(slices.Values(now)), slices.Sorted(slices.Values(d.all)))
	d.all = now
	return slices.Clone(now), changed
}

// besides returns the addresses that may lead to another controller than the
// one at an address.
func (d *directory) besides(address string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	same := []string{address}
	for _, g := range d.groups {
		if slices.Contains(g, address) {
			same = append(same, g...)
		}
	}
	return slices.DeleteFunc(slices.Clone(d.all), func(a string) bool { return slices.Contains(same, a) })
}

// note notes that the controller at an address knows no Resume; false if that
// was known.
func (d *directory) note(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.olds[address]
	d.olds[address] = true
	return !known
}

// older tells whether that was noted. The controller may be upgraded later:
// Sync, which it is then asked for, serves as well.
func (d *directory) older(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.olds[address]
}
