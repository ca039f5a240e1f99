// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// watchQueue is how many events may wait while one is handed on; handing on
// only sets a flag.
const watchQueue = 64

// Event is news of an interface.
type Event struct {
	Name    string
	Ifindex int
	MTU     int
	Removed bool
}

// Watch calls heard, which must not block, whenever an interface of this
// namespace came, changed or was removed, until the context ends. Losing the subscription (an
// overflowing socket) is an error; the caller looks for itself and watches anew.
func Watch(ctx context.Context, heard func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(chan netlink.LinkUpdate, watchQueue)
	if err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{}); err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			for range updates { // lets the library's goroutine end
			}
			return nil
		case u, open := <-updates:
			if !open {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("watch interfaces: the kernel's queue overflowed")
			}
			a := u.Attrs()
			heard(Event{Name: a.Name, Ifindex: a.Index, MTU: a.MTU, Removed: u.Header.Type == unix.RTM_DELLINK})
		}
	}
}
