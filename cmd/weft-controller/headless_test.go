// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// take gives a workload what the host has reserved for the network.
func (a *agent) take(t *testing.T, network, port string) (addresses []netip.Addr) {
	t.Helper()
	check(t, a.loop.Do(t.Context(), func(c *host.Core) {
		taken := host.Taken{Port: port, Name: port}
		for _, r := range c.Reserved(network) {
			taken.IDs = append(taken.IDs, r.ID)
			addresses = append(addresses, r.Address.Prefix.Addr())
		}
		if len(taken.IDs) > 0 {
			c.Take(taken)
		}
	}))
	return addresses
}

// slots counts what the host may still give away.
func (a *agent) slots(t *testing.T) (n int) {
	t.Helper()
	check(t, a.loop.Do(t.Context(), func(c *host.Core) {
		for _, r := range c.Rows().Reservations {
			if !r.Releasing {
				n++
			}
		}
	}))
	return n
}

// reservedBy waits until every host has so many addresses of each family.
func reservedBy(t *testing.T, agents []*agent, n int) {
	t.Helper()
	for _, a := range agents {
		eventually(t, "reserved addresses of host "+a.name, func() error {
			if got := a.slots(t); got != 2*n {
				return fmt.Errorf("it has %d, want %d", got, 2*n)
			}
			return nil
		})
	}
}

// Without any controller hosts start workloads with reserved addresses, none
// of them twice. Afterwards the owner makes ports of them, and each host has
// as many reserved as before; when the network asks for none, none are left.
func TestHostsWithoutControllers(t *testing.T) {
	c := newCluster(t, 2)
	admin := c.admin(0)
	agents := []*agent{startAgent(t, admin, "h1", "192.0.2.1", c.addresses[0]), startAgent(t, admin, "h2", "192.0.2.2", c.addresses[0])}
	w := writer{t: t, hosts: agents}
	w.prepare(admin)
	w.commit(admin, &api.Subnet{Header: api.Header{Kind: api.KindSubnet, Meta: api.Meta{Name: "six", Parent: api.Ref{Name: "d:p:n"}}}, Spec: api.SubnetSpec{CIDR: netip.MustParsePrefix("2001:db8::/64")}})
	reserve(t, admin, 3)
	reservedBy(t, agents, 3)
	for i := range c.processes {
		c.kill(i)
	}
	holder := map[netip.Addr]string{}
	taken := map[string]*agent{} // by the port's UUID
	for i := range 4 {
		for j, a := range agents {
			port := fmt.Sprintf("00000000-0000-4000-8000-%06d%06d", j, i)
			got := a.take(t, "d:p:n", port)
			if want := 2; i == 3 && len(got) != 0 || i < 3 && len(got) != want {
				t.Errorf("workload %d of host %s got %v", i, a.name, got)
			}
			for _, ip := range got {
				if other := holder[ip]; other != "" {
					t.Errorf("%v is given to %s and to %s", ip, other, port)
				}
				holder[ip], taken[port] = port, a
			}
		}
	}
	c.start(0)
	adopt(t, c.admin(0), holder, taken)
	reservedBy(t, agents, 3)
	for _, a := range agents {
		if n := a.ports(t); n != 3 {
			t.Errorf("host %s has %d ports, want 3", a.name, n)
		}
	}
	reserve(t, c.admin(0), 0)
	reservedBy(t, agents, 0)
	eventually(t, "addresses", func() error {
		n, err := c.admin(0).Count(t.Context(), api.KindAddress, client.ListOptions{})
		if err == nil && n != len(holder) {
			err = fmt.Errorf("%d are left, want the %d of ports", n, len(holder))
		}
		return err
	})
}

func reserve(t *testing.T, c *client.Client, n int) {
	t.Helper()
	_, err := c.Patch(t.Context(), api.KindNetwork, api.Ref{Name: "d:p:n"}, map[string]any{"spec": map[string]any{"hostReserve": n}})
	check(t, err)
}

// adopt does what the owner of a network does: it makes ports of what hosts
// report to have given away.
func adopt(t *testing.T, c *client.Client, holder map[netip.Addr]string, taken map[string]*agent) {
	t.Helper()
	for port, a := range taken {
		var addresses []*api.Address
		eventually(t, "report of port "+port, func() error {
			addresses = nil
			list, err := c.List(t.Context(), api.KindAddress, client.ListOptions{})
			for _, o := range list.Items {
				if x := o.(*api.Address); x.Status.Taken != nil && x.Status.Taken.Port == port {
					addresses = append(addresses, x)
				}
			}
			if err == nil && len(addresses) != 2 {
				err = fmt.Errorf("%d addresses, want 2", len(addresses))
			}
			return err
		})
		p := &api.Port{Header: api.Header{Kind: api.KindPort, Meta: api.Meta{UUID: port, Parent: api.Ref{Name: "d:p"}}}}
		p.Spec.Network, p.Spec.MAC = api.Ref{Name: "d:p:n"}, addresses[0].Status.Taken.MAC
		b := &api.Binding{Header: api.Header{Kind: api.KindBinding, Meta: api.Meta{Parent: api.Ref{UUID: port}}}}
		b.Spec.Host, b.Spec.Active = api.Ref{Name: a.name}, true
		ops := []api.Operation{{Op: api.OpCreate, Object: p}, {Op: api.OpCreate, Object: b}}
		for _, x := range addresses {
			if holder[x.Spec.IP] != port || x.Spec.Reservation.Host.Name != a.name {
				t.Errorf("%v is reported to be %s's on %s", x.Spec.IP, port, x.Spec.Reservation.Host)
			}
			x.Spec.Reservation, x.Spec.Port = nil, api.Ref{UUID: port}
			ops = append(ops, api.Operation{Op: api.OpUpdate, Object: x})
		}
		_, err := c.Transaction(t.Context(), ops, false)
		check(t, err)
	}
}
