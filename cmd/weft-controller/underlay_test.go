// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// A host's object follows what its agent announces, each field until somebody sets
// that to something else by hand.
func TestHostsAnnounceTheirUnderlay(t *testing.T) {
	c := newCluster(t, 1)
	admin := c.admin(0)
	a := startAgent(t, admin, "h1", "192.0.2.1", c.addresses[0])
	set := func(spec map[string]any) {
		_, err := admin.Patch(t.Context(), api.KindHost, api.Ref{Name: "h1"}, map[string]any{"spec": spec})
		check(t, err)
	}
	announce := func(address string, mtu int) {
		check(t, a.loop.Do(t.Context(), func(core *host.Core) {
			core.SetUnderlay(datapath.Underlay{IPv4: netip.MustParseAddr(address), MTU: mtu}, []netip.Addr{netip.MustParseAddr(address)})
		}))
	}
	becomes(t, admin, "192.0.2.1 0", "192.0.2.1 1500") // joined without an MTU: that counts as set
	set(map[string]any{"underlayMTU": 1500})
	announce("192.0.2.7", 9000)
	becomes(t, admin, "192.0.2.7 9000", "192.0.2.7 9000")
	set(map[string]any{"underlayMTU": 4000})
	announce("192.0.2.8", 9000)
	becomes(t, admin, "192.0.2.8 4000", "192.0.2.8 9000") // of an address that is gone others must hear all the same
	set(map[string]any{"underlayMTU": 9000})
	announce("192.0.2.8", 1400)
	becomes(t, admin, "192.0.2.8 1400", "192.0.2.8 1400")
}

// becomes waits until the host's object says this, and the agent's
// announcement that.
func becomes(t *testing.T, c *client.Client, spec, announced string) {
	t.Helper()
	eventually(t, "underlay", func() error {
		o, err := c.Get(t.Context(), api.KindHost, api.Ref{Name: "h1"})
		if err != nil {
			return err
		}
		h := o.(*api.Host)
		got := fmt.Sprint(h.Spec.TunnelAddresses[0], h.Spec.UnderlayMTU)
		said := ""
		if u := h.Status.Announced; u != nil {
			said = fmt.Sprint(u.TunnelAddresses[0], u.MTU)
		}
		if got != spec || said != announced {
			return fmt.Errorf("spec %s, announced %s; want %s and %s", got, said, spec, announced)
		}
		return nil
	})
}
