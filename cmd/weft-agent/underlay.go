// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/api"
)

const (
	// underlayEvery is how often the host's own tunnel addresses, MTU and ways to
	// others are looked at if the kernel tells of no change.
	underlayEvery = 10 * time.Second
	// underlayPause gathers what the kernel tells: a cable that is drawn changes
	// the interface, its addresses and its routes.
	underlayPause = 50 * time.Millisecond
	// sourceAfter is how long an address that came back is only received at: the
	// others take what comes from it when they have heard of it.
	sourceAfter = 3 * time.Second
)

// encapsulations are the ways to travel that this agent can do.
var encapsulations = []string{api.EncapsulationVXLAN, api.EncapsulationMPLSUDP}

// follower tells the packet path and, by the report, the controllers what the
// host has in the underlay. It belongs to one goroutine.
type follower struct {
	agent
	tunnel int
	local  *localServices

	found   link.Underlay     // what the host has
	now     datapath.Underlay // what is in use
	since   map[netip.Addr]time.Time
	ways    *ways   // of now
	demands demands // of the rows
	lost    string
}

// demands are what the rows ask of a host in the underlay.
type demands struct {
	labels bool // packets with a label are taken from the uplinks
	mtu    int  // nothing larger is sent; 0: what the uplinks carry
}

// newFollower gives the packet path what the host has, and was told that it may
// use. Addresses that are there when the agent starts are sources at once.
func newFollower(a agent, tunnel int, local *localServices, toldMTU int) (*follower, error) {
	f := &follower{agent: a, tunnel: tunnel, local: local, found: a.underlay, since: map[netip.Addr]time.Time{}}
	f.ways = newWays(a.links, a.underlay.Uplinks)
	f.now = f.use(a.underlay.Addresses)
	attached, err := f.path.AttachedUnderlay()
	f.demands = demands{labels: len(attached) > 0, mtu: toldMTU} // as an earlier run left it, until the networks are known
	return f, errors.Join(err, f.program(f.now))
}

// use is what datapath makes of addresses.
func (f *follower) use(addresses []netip.Addr) datapath.Underlay {
	u := datapath.Underlay{MTU: f.found.MTU, Encapsulations: encapsulations, Paths: f.ways.path}
	for _, a := range addresses {
		switch {
		case a.Is4() && !u.IPv4.IsValid():
			u.IPv4 = a
		case a.Is6() && !u.IPv6.IsValid():
			u.IPv6 = a
		default:
			u.Further = append(u.Further, a)
		}
	}
	return u
}

func (f *follower) program(u datapath.Underlay) error {
	return errors.Join(f.path.SetConfig(u.Within(f.demands.mtu).Config(f.tunnel, f.local.facts())), f.receiveAt(f.found.Addresses))
}

// receiveAt makes these the addresses at which MPLS over UDP is ours.
func (f *follower) receiveAt(addresses []netip.Addr) error {
	have, err := f.path.TunnelAddresses.All()
	if err != nil {
		return err
	}
	for _, a := range append(slices.Clone(addresses), f.found.Lost...) {
		err = errors.Join(err, f.path.TunnelAddresses.Put(a, struct{}{}))
		delete(have, a)
	}
	for a := range have {
		err = errors.Join(err, f.path.TunnelAddresses.Delete(a))
	}
	return err
}

// run follows the kernel and the networks until the context ends.
func (f *follower) run(ctx context.Context, loop *host.Loop) {
	changed, news := make(chan struct{}, 1), make(chan demands)
	go f.watchUnderlay(ctx, changed)
	go watchDemands(ctx, loop, f.demands, news)
	tick := time.NewTicker(underlayEvery)
	defer tick.Stop()
	settle := time.NewTimer(0)
	defer settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f.demands = <-news:
		case <-changed:
		case <-tick.C:
		case <-settle.C:
		}
		if wait := f.look(ctx, loop, time.Now()); wait > 0 {
			settle.Reset(wait)
		}
	}
}

// look brings everything up to date and returns when to look again, if that is
// known.
func (f *follower) look(ctx context.Context, loop *host.Loop, now time.Time) (again time.Duration) {
	found, err := f.links.UnderlayOf(f.given)
	if err != nil {
		if f.lost != err.Error() {
			f.lost = err.Error()
			f.log.Warn("the host's tunnel addresses are not there; going on with the last ones", "error", err)
		}
		return 0
	}
	f.lost = ""
	if !slices.Equal(found.Addresses, f.found.Addresses) || found.MTU != f.found.MTU {
		f.log.Info("the host's underlay changed", "addresses", found.Addresses, "mtu", found.MTU)
	}
	if len(found.Lost) > 0 && !slices.Equal(found.Lost, f.found.Lost) {
		f.log.Warn("tunnel addresses are not there, or have no carrier", "addresses", found.Lost)
	}
	received := slices.Equal(found.Addresses, f.found.Addresses)
	f.found = found
	sources, again := f.sources(now)
	ways := f.ways.anew(found.Uplinks)
	changedWays := ways != f.ways
	f.ways = ways
	next := f.use(sources)
	if err := f.program(next); err != nil {
		f.log.Warn("the new tunnel addresses are not in use, will try again", "error", err)
		return time.Second
	}
	f.attach()
	if next.Same(f.now) && received && !changedWays {
		return again
	}
	f.now = next
	_ = loop.Do(ctx, func(c *host.Core) { c.SetUnderlay(next, found.Addresses) }) // fails only at the end
	return again
}

// sources are the addresses to send from: those that have been there for a
// while, or all if none has.
func (f *follower) sources(now time.Time) (all []netip.Addr, again time.Duration) {
	was := f.now.Addresses()
	for a := range f.since {
		if !slices.Contains(f.found.Addresses, a) {
			delete(f.since, a)
		}
	}
	for _, a := range f.found.Addresses {
		if slices.Contains(was, a) {
			all = append(all, a)
			continue
		}
		if f.since[a].IsZero() {
			f.since[a] = now
		}
		wait := f.since[a].Add(sourceAfter).Sub(now)
		if wait <= 0 {
			all = append(all, a)
		} else if again == 0 || wait < again {
			again = wait
		}
	}
	if len(all) == 0 {
		return f.found.Addresses, 0
	}
	return all, again
}

// attach puts the packet path on the uplinks while networks have labels, and
// takes it off where it is not needed.
func (f *follower) attach() {
	want := f.found.Uplinks
	if !f.demands.labels {
		want = nil
	}
	have, err := f.path.AttachedUnderlay()
	for _, ifindex := range want {
		if e := f.path.AttachUnderlay(ifindex); e != nil {
			f.log.Error("MPLS over UDP cannot be received", "interface", f.links.Name(ifindex), "error", e)
		}
	}
	for _, ifindex := range have {
		if !slices.Contains(want, ifindex) {
			err = errors.Join(err, f.path.DetachUnderlay(ifindex))
		}
	}
	if err != nil {
		f.log.Warn("the packet path is not taken off interfaces that need it no more", "error", err)
	}
}

// watchUnderlay sets a flag a moment after the kernel told of a change.
func (f *follower) watchUnderlay(ctx context.Context, changed chan<- struct{}) {
	for ctx.Err() == nil {
		err := link.WatchUnderlay(ctx, underlayPause, func() {
			select {
			case changed <- struct{}{}:
			default: // set already
			}
		})
		if err != nil && ctx.Err() == nil {
			f.log.Warn("events of the underlay were lost; watching anew", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(watchPause):
			}
		}
	}
}

// watchDemands tells whenever the rows begin to ask for something else. That no
// network has a label counts only when all are known.
func watchDemands(ctx context.Context, loop *host.Loop, last demands, news chan<- demands) {
	for {
		var now demands
		differs := func(c *host.Core) bool {
			now = demands{labels: c.Labels() || last.labels && !c.InSync(), mtu: c.ToldMTU()}
			return now != last
		}
		if loop.Wait(ctx, differs) != nil {
			return
		}
		select {
		case news <- now:
			last = now
		case <-ctx.Done():
			return
		}
	}
}
