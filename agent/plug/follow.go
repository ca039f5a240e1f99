// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
)

// What is not as wanted is tried again after these pauses: a port that
// somebody else works on, and one whose interface could not be changed.
const (
	busyPause   = 200 * time.Millisecond
	failedPause = 5 * time.Second
)

// Follow keeps the interfaces that weft made inside workloads' namespaces in
// step with their ports, until the context ends: addresses, default routes, MTU
// and MAC.
func (p *Plugger) Follow(ctx context.Context) error {
	listener, err := p.loop.Listen(ctx)
	if err != nil {
		return err
	}
	defer p.loop.Leave(listener)
	again := time.NewTimer(refreshEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-listener.Changed:
		case <-again.C:
		}
		pause, err := p.followAll(ctx)
		if err != nil {
			return err
		}
		again.Reset(pause)
	}
}

// followAll looks at all plugged ports, and tells when to look again if nothing
// changes before.
func (p *Plugger) followAll(ctx context.Context) (pause time.Duration, err error) {
	p.mu.Lock()
	var ours []string
	for port, rec := range p.plugs {
		if rec.Place.Netns != "" && p.found[port] != 0 {
			ours = append(ours, port)
		}
	}
	p.mu.Unlock()
	wanted := map[string]link.Settings{}
	err = p.loop.Do(ctx, func(c *host.Core) {
		rows := c.Rows().Ports
		for _, port := range ours {
			if row, bound := rows[port]; bound {
				wanted[port] = settingsOf(row, datapath.NetworkMTU(row, c.Rows(), c.Underlay()))
			}
		}
	})
	pause = refreshEvery
	if err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		return pause, err
	}
	for _, port := range slices.Sorted(maps.Keys(wanted)) {
		pause = min(pause, p.follow(port, wanted[port]))
	}
	return pause, nil
}

// follow brings one port's interface up to what it is to have.
func (p *Plugger) follow(port string, now link.Settings) (pause time.Duration) {
	rec, _, plugged := p.record(port)
	if !plugged || rec.Given != nil && rec.Given.Equal(now) {
		return refreshEvery
	}
	release, free := p.tryClaim(port)
	if !free {
		return busyPause
	}
	defer release()
	if rec, _, plugged = p.record(port); !plugged || rec.Place.Netns == "" {
		return refreshEvery
	}
	// What an older agent gave is not known: from here on it is what there is now.
	if rec.Given != nil {
		if err := p.links.Follow(port, rec.Place, *rec.Given, now); err != nil {
			if errors.Is(err, link.ErrGone) {
				return refreshEvery // is found and told elsewhere
			}
			p.log.Warn("the interface inside a workload is not as its port says, will try again", "port", rec.Name, "error", err, "retry", failedPause)
			return failedPause
		}
		p.log.Info("the interface inside a workload follows its port", "port", rec.Name, "mtu", now.MTU, "addresses", prefixes(now))
	}
	rec.Given = &now
	if err := p.remember(rec); err != nil {
		p.log.Warn("a plug is not remembered as it is, will try again", "port", rec.Name, "error", err, "retry", failedPause)
		return failedPause
	}
	return refreshEvery
}

func prefixes(s link.Settings) (all []string) {
	for _, a := range s.Addresses {
		all = append(all, a.Prefix.String())
	}
	return all
}

// tryClaim is claim for who can come again.
func (p *Plugger) tryClaim(port string) (release func(), free bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, taken := p.busy[port]; taken {
		return nil, false
	}
	mine := make(chan struct{})
	p.busy[port] = mine
	return func() {
		p.mu.Lock()
		delete(p.busy, port)
		p.mu.Unlock()
		close(mine)
	}, true
}
