// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"fmt"
	"time"

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

// WatchUnderlay calls changed, which must not block, a pause after an interface,
// an address or a route of this namespace changed, until the context ends.
// Losing a subscription is an error, as for Watch.
func WatchUnderlay(ctx context.Context, pause time.Duration, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	links, addresses, routes := make(chan netlink.LinkUpdate, watchQueue), make(chan netlink.AddrUpdate, watchQueue), make(chan netlink.RouteUpdate, watchQueue)
	drain := func() { // lets the library's goroutines end
		cancel()
		for range links {
		}
		for range addresses {
		}
		for range routes {
		}
	}
	if err := netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{}); err != nil {
		cancel()
		return fmt.Errorf("watch interfaces: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addresses, ctx.Done(), netlink.AddrSubscribeOptions{}); err != nil {
		cancel()
		return fmt.Errorf("watch addresses: %w", err)
	}
	if err := netlink.RouteSubscribeWithOptions(routes, ctx.Done(), netlink.RouteSubscribeOptions{}); err != nil {
		cancel()
		return fmt.Errorf("watch routes: %w", err)
	}
	defer drain()
	due := time.NewTimer(0)
	defer due.Stop()
	armed := true // an event must not put off what those before it wait for
	for {
		open, ours := true, false
		select {
		case <-ctx.Done():
			return nil
		case <-due.C:
			armed = false
			changed()
			continue
		case u, more := <-links:
			open, ours = more, more && marked(u.Link)
		case _, open = <-addresses:
		case _, open = <-routes:
		}
		if !open {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch the underlay: the kernel's queue overflowed")
		}
		if !armed && !ours {
			armed = true
			due.Reset(pause)
		}
	}
}
