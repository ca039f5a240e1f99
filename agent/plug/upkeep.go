// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
)

// GoneKeep is how long a port whose interface has vanished is shown as failed
// before its record is dropped: time enough to be seen, and for a workload's
// owner that restarts it to plug again. The interface of a virtual machine
// comes and goes with its process, under the same name: while the port is bound
// here, its record is kept.
const GoneKeep = 2 * time.Minute

// Restore takes up the plugs of an earlier run: those with a record, and those
// found by their mark alone (the state directory was lost).
func (p *Plugger) Restore(ctx context.Context, now time.Time) error {
	all, bad := p.records.All()
	if bad != nil {
		p.log.Error("some plugs cannot be read; their interfaces are found by their mark", "error", bad)
	}
	for _, rec := range all {
		p.mu.Lock()
		p.plugs[rec.Port] = &rec
		p.mu.Unlock()
	}
	owned, err := p.links.Owned()
	if err != nil {
		return err
	}
	p.mu.Lock()
	for _, port := range owned {
		if _, known := p.plugs[port]; !known && port != "" {
			p.plugs[port] = &Record{Port: port, adopted: true}
		}
	}
	p.mu.Unlock()
	return p.Refresh(ctx, now)
}

// Refresh looks at every plugged interface again.
func (p *Plugger) Refresh(ctx context.Context, now time.Time) error {
	p.mu.Lock()
	ports := slices.Sorted(maps.Keys(p.plugs))
	p.mu.Unlock()
	var bad error
	for _, port := range ports {
		release, err := p.claim(ctx, port)
		if err != nil {
			return errors.Join(bad, err)
		}
		bad = errors.Join(bad, p.refresh(ctx, port, now))
		release()
	}
	return bad
}

func (p *Plugger) refresh(ctx context.Context, port string, now time.Time) error {
	rec, ifindex, plugged := p.record(port)
	if !plugged {
		return nil
	}
	f, err := p.links.Find(port, rec.Place)
	if err == nil {
		if !rec.GoneSince.IsZero() {
			rec.GoneSince = time.Time{}
			err = p.remember(rec)
		}
		return errors.Join(err, p.announce(ctx, port, f))
	}
	if !errors.Is(err, link.ErrGone) && ifindex != 0 {
		return err // it was well before: not being able to look is no reason to stop its traffic
	}
	failure := host.Plug{Interface: rec.Place.Interface, Failure: fmt.Sprintf("find its interface: %v", err)}
	if doErr := p.loop.Do(ctx, func(c *host.Core) { c.SetPlug(port, failure) }); doErr != nil {
		return doErr
	}
	if !errors.Is(err, link.ErrGone) {
		return err
	}
	if ifindex != 0 {
		err := p.hooks.Detach(ifindex)
		p.mu.Lock()
		delete(p.found, port)
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if rec.GoneSince.IsZero() {
		p.log.Info("interface of a plugged port is gone", "port", port, "interface", rec.Name)
		rec.GoneSince = now
		return p.remember(rec)
	}
	if now.Sub(rec.GoneSince) < GoneKeep {
		return nil
	}
	bound := false
	if err := p.loop.Do(ctx, func(c *host.Core) { _, bound = c.Port(port) }); err != nil || bound && rec.Place.Interface != "" {
		return err
	}
	if err := p.forget(port); err != nil {
		return err
	}
	return p.loop.Do(ctx, func(c *host.Core) { c.DropPlug(port) })
}

// Concerns tells whether an event is about an interface that somebody else makes
// for a port and that is not the one known, or not as it was.
func (p *Plugger) Concerns(e link.Event) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port, rec := range p.plugs {
		if rec.Place.Interface != "" && rec.Place.Interface == e.Name && (p.found[port] != e.Ifindex || p.sizes[port] != e.MTU) {
			return true
		}
	}
	return false
}

// Sweep removes what carries our mark and nobody wants: interfaces whose
// creation was interrupted, those without record whose port is not bound here,
// and hooks of interfaces that are no ports. It does nothing before the first
// full sync, and tells whether it got through.
func (p *Plugger) Sweep(ctx context.Context) (done bool, err error) {
	var rows desired.Rows
	complete := false
	err = p.loop.Do(ctx, func(c *host.Core) {
		complete = c.InSync()
		rows.Ports = maps.Clone(c.Rows().Ports)
	})
	if err != nil || !complete {
		return false, err
	}
	owned, err := p.links.Owned()
	if err != nil {
		return false, fmt.Errorf("sweep: %w", err)
	}
	var bad error
	for name, port := range owned {
		bad = errors.Join(bad, p.sweepLink(ctx, name, port, rows))
	}
	done, err = p.sweepHooks()
	return done && bad == nil, errors.Join(bad, err)
}

func (p *Plugger) sweepLink(ctx context.Context, name, port string, rows desired.Rows) error {
	if port == "" {
		return p.sweepHalfMade(name)
	}
	release, err := p.claim(ctx, port)
	if err != nil {
		return err
	}
	defer release()
	rec, _, plugged := p.record(port)
	if _, bound := rows.Ports[port]; bound || plugged && !rec.adopted {
		return nil
	}
	p.log.Info("sweeping interface of a port that is neither plugged nor bound here", "interface", name, "port", port)
	if plugged {
		return p.disconnect(ctx, rec)
	}
	return p.links.RemoveOwned(name)
}

// sweepHalfMade removes an interface whose making was interrupted, unless it is
// being made just now.
func (p *Plugger) sweepHalfMade(name string) error {
	p.mu.Lock()
	for port := range p.busy {
		if link.HostName(port) == name {
			p.mu.Unlock()
			return nil
		}
	}
	p.mu.Unlock()
	p.log.Info("sweeping half-made interface", "interface", name)
	return p.links.RemoveOwned(name)
}

func (p *Plugger) sweepHooks() (done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.busy) > 0 {
		return false, nil // an interface may be attached and not known yet
	}
	attached, err := p.hooks.Attached()
	if err != nil {
		return false, fmt.Errorf("sweep hooks: %w", err)
	}
	used := maps.Clone(p.keep)
	for _, i := range p.found {
		used[i] = true
	}
	for _, i := range attached {
		if !used[i] {
			err = errors.Join(err, p.hooks.Detach(i))
		}
	}
	return err == nil, err
}

// refreshEvery is how often interfaces are looked at without an event: events
// can be lost.
const refreshEvery = 30 * time.Second

// Upkeep looks after plugged interfaces until the context ends: when an
// interface was removed, came or changed (changed has an element), and from time to time. It
// sweeps once, after the first full sync (synced is closed then).
func (p *Plugger) Upkeep(ctx context.Context, changed, synced <-chan struct{}) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	swept := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		case <-synced:
			synced = nil
		}
		if err := p.Refresh(ctx, time.Now()); err != nil && ctx.Err() == nil {
			p.log.Warn("some plugged interfaces are not well", "error", err)
		}
		if swept {
			continue
		}
		done, err := p.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			p.log.Warn("sweep is not complete and will be repeated", "error", err)
		}
		swept = done
	}
}

// List returns the ports that are plugged or bound here, ordered by UUID.
func (p *Plugger) List(ctx context.Context) (PortList, error) {
	var list PortList
	err := p.loop.Do(ctx, func(c *host.Core) {
		rows, plugs := c.Rows(), c.Plugs()
		ids := map[string]bool{}
		for id := range rows.Ports {
			ids[id] = true
		}
		for id := range plugs {
			ids[id] = true
		}
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			state, message := c.PortState(id)
			row, bound := rows.Ports[id]
			item := Listed{Port: id, Name: row.Name, State: string(state), Message: message, Interface: plugs[id].Interface, VRF: row.VRF, Addresses: texts(row)}
			if bound {
				item.MAC = net.HardwareAddr(row.MAC[:]).String()
			} else {
				item.State, item.Message = "unbound", "the port is not bound to this host: its traffic is stopped"
			}
			list.Items = append(list.Items, item)
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, item := range list.Items {
		if rec, ok := p.plugs[item.Port]; ok {
			list.Items[i].Netns = rec.Place.Netns
			if item.Name == "" {
				list.Items[i].Name = rec.Name
			}
		}
	}
	return list, err
}

func texts(row desired.Port) []string {
	var t []string
	for _, a := range row.Addresses {
		t = append(t, a.Prefix.String())
	}
	return t
}

func answer(row desired.Port, place link.Place, f link.Found, s link.Settings) Answer {
	a := Answer{
		Port: row.ID, Name: row.Name, Interface: f.Name, Ifname: place.Ifname,
		MAC: net.HardwareAddr(row.MAC[:]).String(), Addresses: texts(row), MTU: s.MTU, VRF: row.VRF,
	}
	for _, x := range row.Addresses {
		if g := x.Gateway; g.IsValid() && !slices.Contains(a.Gateways, g.String()) {
			a.Gateways = append(a.Gateways, g.String())
		}
	}
	return a
}
