// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
)

// underlayEvery is how often the host's own tunnel addresses and MTU are looked
// at. They change when somebody renumbers, which takes longer.
const underlayEvery = 10 * time.Second

// followUnderlay tells the packet path and, by the report, the controllers when
// the host has other tunnel addresses or another MTU, until the context ends.
// While it has none, as in the middle of a renumbering, the last ones hold.
func (a agent) followUnderlay(ctx context.Context, tunnel int, given []netip.Addr, local datapath.Local, loop *host.Loop) {
	tick := time.NewTicker(underlayEvery)
	defer tick.Stop()
	now, lost := a.underlay, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		addresses, mtu, err := a.links.UnderlayOf(given)
		if err != nil {
			if lost != err.Error() {
				lost = err.Error()
				a.log.Warn("the host's tunnel addresses are not there; going on with the last ones", "error", err)
			}
			continue
		}
		lost = ""
		found := underlayOf(addresses, mtu)
		if found == now {
			continue
		}
		if err := a.setUnderlay(ctx, tunnel, found, local, loop); err != nil {
			a.log.Warn("the new tunnel addresses are not in use, will try again", "error", err)
			continue
		}
		a.log.Info("the host's underlay changed", "addresses", addresses, "mtu", mtu)
		now = found
	}
}

func (a agent) setUnderlay(ctx context.Context, tunnel int, u datapath.Underlay, local datapath.Local, loop *host.Loop) error {
	if err := a.path.SetConfig(u.Config(tunnel, local)); err != nil {
		return err
	}
	return loop.Do(ctx, func(c *host.Core) { c.SetUnderlay(u) })
}
