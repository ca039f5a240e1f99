// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// blocks are the ports of shared addresses that a host knows of.
func (a *agent) blocks(t *testing.T) (all []desired.Block) {
	t.Helper()
	check(t, a.loop.Do(t.Context(), func(c *host.Core) {
		for _, r := range c.Rows().Routes {
			all = append(all, r.Shared.Blocks...)
		}
	}))
	return all
}

// knows waits until a host knows of ports of so many hosts, so many of them its own.
func (a *agent) knows(t *testing.T, of, own int) {
	t.Helper()
	eventually(t, "ports that host "+a.name+" knows of", func() error {
		mine, all := 0, a.blocks(t)
		for _, b := range all {
			if b.Host == a.uuid {
				mine++
			}
		}
		if len(all) != of || mine != own {
			return fmt.Errorf("there are %v, want %d, %d of its own", all, of, own)
		}
		return nil
	})
}

// Hosts whose workloads go out with a shared address have ports of it, claimed in
// the store, and know of each other's; a host without such workloads gives its
// ports back, and what nobody goes out with is nobody's.
func TestHostsGetPortsOfSharedAddresses(t *testing.T) {
	c := newCluster(t, 1)
	admin := c.admin(0)
	agents := []*agent{startAgent(t, admin, "h1", "192.0.2.1", c.addresses[0]), startAgent(t, admin, "h2", "192.0.2.2", c.addresses[0])}
	w := writer{t: t, hosts: agents}
	w.prepare(admin)
	named := func(kind api.Kind, name, parent string) api.Header {
		return api.Header{Kind: kind, Meta: api.Meta{Name: name, Parent: api.Ref{Name: parent}}}
	}
	w.commit(admin, &api.Network{Header: named(api.KindNetwork, "e", "d:p")},
		&api.Subnet{Header: named(api.KindSubnet, "s", "d:p:e"), Spec: api.SubnetSpec{CIDR: netip.MustParsePrefix("198.51.100.0/24")}},
		&api.Address{Header: named(api.KindAddress, "out", "d:p:e")},
		&api.SourceNAT{Header: named(api.KindSourceNAT, "n-out", "d:p"), Spec: api.SourceNATSpec{Network: api.Ref{Name: "d:p:n"}, Addresses: []api.Ref{{Name: "d:p:e:out"}}}})
	count := func(want int) {
		t.Helper()
		eventually(t, "port-blocks", func() error {
			n, err := admin.Count(t.Context(), api.KindPortBlock, client.ListOptions{})
			if err == nil && n != want {
				err = fmt.Errorf("there are %d, want %d", n, want)
			}
			return err
		})
	}
	w.write(admin)
	for _, a := range agents {
		a.knows(t, 2, 1)
	}
	count(2)
	for i := range 5 {
		b, err := admin.List(t.Context(), api.KindBinding, client.ListOptions{Parent: api.Ref{Name: fmt.Sprintf("d:p:p%d-h2", i)}})
		check(t, err)
		for _, o := range b.Items {
			check(t, admin.Delete(t.Context(), api.KindBinding, api.Ref{UUID: o.Head().Meta.UUID}, 0))
		}
	}
	count(1)
	agents[0].knows(t, 1, 1)
	agents[1].knows(t, 0, 0)
	check(t, admin.Delete(t.Context(), api.KindSourceNAT, api.Ref{Name: "d:p:n-out"}, 0))
	count(0)
	agents[0].knows(t, 0, 0)
	check(t, admin.Delete(t.Context(), api.KindAddress, api.Ref{Name: "d:p:e:out"}, 0))
}
