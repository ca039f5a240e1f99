// SPDX-License-Identifier: Apache-2.0

package hostroute

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/host"
)

const (
	// every is how often the host's routing is looked at without an event:
	// events can be lost.
	every = 30 * time.Second
	// settle gathers events that come together: an interface that comes up, with
	// its addresses and routes.
	settle = 20 * time.Millisecond
	// watchPause is the wait before watching anew after the kernel's queue overflowed.
	watchPause = time.Second
)

// Hooks put the packet path on uplinks. A *vrouter.Datapath is one.
type Hooks interface {
	AttachUplink(ifindex int) error
	Detach(ifindex int) error
	Uplinks() ([]int, error)
}

// Keeper keeps the host's own routing and the packet path in step.
type Keeper struct {
	kernel kernel
	hooks  Hooks
	remote bool // routes to workloads of neighbours
	log    *slog.Logger
	said   map[string]bool
}

// Open returns a Keeper; it does nothing before Run. With remote it sets routes
// to the workloads of hosts that are neighbours.
func Open(hooks Hooks, remote bool, log *slog.Logger) (*Keeper, error) {
	k, err := openKernel()
	return &Keeper{kernel: k, hooks: hooks, remote: remote, log: log}, err
}

// Close releases what the Keeper holds. Routes stay.
func (k *Keeper) Close() {
	if k.kernel.nl != nil {
		k.kernel.nl.Close()
	}
}

// Read returns how the host routes now.
func (k *Keeper) Read(tunnel []netip.Addr) (Facts, error) {
	t, err := k.kernel.read()
	return factsOf(t, tunnel), err
}

// Run works until the context ends. What is in the kernel stays.
func (k *Keeper) Run(ctx context.Context, loop *host.Loop) {
	listener, err := loop.Listen(ctx)
	if err != nil {
		return // the loop has ended
	}
	defer loop.Leave(listener)
	changed := make(chan struct{}, 1)
	go k.watch(ctx, changed)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		warnings := k.round(ctx, loop)
		if ctx.Err() != nil {
			return
		}
		k.say(warnings)
		_ = loop.Do(ctx, func(c *host.Core) { c.SetWarnings(warnings) }) // fails only at the end
		select {
		case <-ctx.Done():
			return
		case <-listener.Changed:
		case <-changed:
			select {
			case <-ctx.Done():
			case <-time.After(settle):
			}
		case <-tick.C:
		}
	}
}

// say logs what is newly wrong.
func (k *Keeper) say(warnings []string) {
	now := map[string]bool{}
	for _, w := range warnings {
		if now[w] = true; !k.said[w] {
			k.log.Warn("the host's own routing and the workloads in the underlay are not in step", "error", w)
		}
	}
	k.said = now
}

// state is what a round takes from the loop.
type state struct {
	fabric, visible bool
	wanted          map[Key]Route
	complete        bool
	mtu             int // of the underlay
}

func (k *Keeper) take(c *host.Core, t table, near int) (s state, f Facts) {
	u := c.Underlay()
	f = factsOf(t, []netip.Addr{u.IPv4, u.IPv6})
	c.SetWays(f.Ways, f.Own)
	s.complete, s.mtu = c.InSync(), u.MTU
	if s.fabric, s.visible = Wants(c.Rows()); s.visible {
		s.wanted = Wanted(c.Rows(), c.Attached(), u, f.Ways, near, k.remote)
	}
	return s, f
}

// round does everything once and says what is wrong.
func (k *Keeper) round(ctx context.Context, loop *host.Loop) (warnings []string) {
	warn := func(err error) {
		if err != nil && ctx.Err() == nil {
			warnings = append(warnings, err.Error())
		}
	}
	t, err := k.kernel.read()
	if err != nil {
		warn(err)
		return warnings
	}
	near, err := k.kernel.near()
	if err != nil {
		warn(err)
		return warnings
	}
	var s state
	var f Facts
	if err = loop.Do(ctx, func(c *host.Core) { s, f = k.take(c, t, near) }); err != nil {
		return nil // the loop has ended
	}
	if s.fabric && f.Warning != "" {
		warnings = append(warnings, f.Warning)
	}
	if s.visible {
		warn(allowForwarding())
		warn(k.kernel.widen(s.mtu))
	}
	warn(k.keepUplinks(s.fabric, f.Uplinks, s.complete))
	for _, err := range k.keepRoutes(t, s.wanted, s.complete) {
		warn(err)
	}
	return warnings
}

// keepUplinks attaches to the uplinks while they carry for workloads.
func (k *Keeper) keepUplinks(fabric bool, want []int, complete bool) error {
	have, err := k.hooks.Uplinks()
	if err != nil {
		return err
	}
	var bad error
	if fabric {
		for _, i := range want { // again, too: an interface that went took its link along
			bad = errors.Join(bad, k.hooks.AttachUplink(i))
		}
	} else {
		want = nil
	}
	for _, i := range have {
		if complete && !slices.Contains(want, i) {
			bad = errors.Join(bad, k.hooks.Detach(i))
		}
	}
	return bad
}

// maxProblems bounds what is said about single routes.
const maxProblems = 10

// keepRoutes makes our routes those that are wanted. Nothing goes before the
// first full sync.
func (k *Keeper) keepRoutes(t table, wanted map[Key]Route, complete bool) (bad []error) {
	mine, others := ours(t.routes)
	left := 0
	fail := func(err error) {
		if err == nil {
			return
		}
		if len(bad) == maxProblems {
			left++
			return
		}
		bad = append(bad, err)
	}
	for key, r := range wanted {
		if mine[key] == r {
			continue
		}
		if others[key] {
			fail(fmt.Errorf("set route to %v: there is one of somebody else's with metric %d: remove it, or give it another metric", key.Prefix, key.Metric))
			continue
		}
		fail(k.kernel.put(key, r))
	}
	for key, r := range mine {
		if _, is := wanted[key]; !is && complete {
			fail(k.kernel.remove(key, r))
		}
	}
	if left > 0 {
		bad = append(bad, fmt.Errorf("and %d more routes", left))
	}
	return bad
}

// watch sets a flag whenever interfaces, addresses or routes change.
func (k *Keeper) watch(ctx context.Context, changed chan<- struct{}) {
	flag := func() {
		select {
		case changed <- struct{}{}:
		default: // set already
		}
	}
	for ctx.Err() == nil {
		if err := watchOnce(ctx, flag); err != nil && ctx.Err() == nil {
			k.log.Warn("events of routes were lost; looking at all", "error", err)
			flag()
			select {
			case <-ctx.Done():
			case <-time.After(watchPause):
			}
		}
	}
}

// watchQueue is how many events may wait while one is handed on.
const watchQueue = 64

func watchOnce(ctx context.Context, flag func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	routes, addresses, links := make(chan netlink.RouteUpdate, watchQueue), make(chan netlink.AddrUpdate, watchQueue), make(chan netlink.LinkUpdate, watchQueue)
	if err := netlink.RouteSubscribe(routes, ctx.Done()); err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	defer func() { go drain(routes) }() // lets the library's goroutines end
	if err := netlink.AddrSubscribe(addresses, ctx.Done()); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	defer func() { go drain(addresses) }()
	if err := netlink.LinkSubscribe(links, ctx.Done()); err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	defer func() { go drain(links) }()
	open := true
	for open {
		select {
		case <-ctx.Done():
			return nil
		case _, open = <-routes:
		case _, open = <-addresses:
		case _, open = <-links:
		}
		flag()
	}
	return errors.New("watch routes: the kernel's queue overflowed")
}

func drain[T any](c <-chan T) {
	for range c {
	}
}
