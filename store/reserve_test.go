// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"

	"github.com/weft-network/weft/api"
)

func reserved(name string, net api.Ref, ip, host string) *api.Address {
	a := address(name, net, ip)
	a.Spec.Reservation = &api.AddressReservation{Host: named(host), MAC: "02:00:00:00:00:01"}
	return a
}

// A reserved address goes to a port in one transaction, in which nobody else
// can have it; and it goes with its host, as the ports of shared addresses do that
// are the host's.
func TestReservedAddresses(t *testing.T) {
	w := newWorld(t)
	h := host("h1", "192.0.2.1")
	w.create(admin, h, network("n", project), subnet("s", "10.0.0.0/24", netN))
	w.create(admin, reserved("r1", netN, "", "h1"), reserved("r2", netN, "", "h1"))
	w.gives(admin, netN, "10.0.0.4") // both are claimed

	moved := address("r1", netN, "10.0.0.2")
	moved.Spec.Port = named(inProject + "p")
	ops := []api.Operation{{Op: api.OpCreate, Object: port("p", project, netN)}, {Op: api.OpUpdate, Object: moved}}
	if _, err := w.Commit(t.Context(), admin, ops, CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	find := func(name string) *api.Address {
		a, _ := w.latest().Lookup(api.KindAddress, named(inProject+"n:"+name)).(*api.Address)
		return a
	}
	if got := find("r1"); got.Spec.Port.IsZero() || got.Spec.Reservation != nil || got.Spec.IP.String() != "10.0.0.2" {
		t.Errorf("the address is %+v", got.Spec)
	}
	both := reserved("x", netN, "", "h1")
	both.Spec.Port = named(inProject + "p")
	w.refused(api.CodeInvalid, "an address is a port's or reserved", admin, api.OpCreate, both)

	shared := address("shared", netN, "10.0.0.200")
	w.create(admin, shared)
	block := func(name, ports string) *api.PortBlock {
		return object(t, api.KindPortBlock, name, inProject+"n:shared", "host: h1, ports: "+ports).(*api.PortBlock)
	}
	w.create(admin, block("b", "{from: 1024, to: 2047}"))
	w.refused(api.CodeConflict, "ports 1984-2047 of address", admin, api.OpCreate, block("c", "{from: 1984, to: 2111}"))
	w.create(admin, block("c", "{from: 2048, to: 2111}"))
	w.refused(api.CodeInvalid, "fixed", admin, api.OpUpdate, block("c", "{from: 2112, to: 2175}"))

	w.remove(admin, h)
	if blocks := w.latest().List(api.KindPortBlock); len(blocks) > 0 {
		t.Errorf("ports are given to a host that is gone: %v", blocks)
	}
	if find("r2") != nil {
		t.Error("an address is reserved for a host that is gone")
	}
	if find("r1") == nil {
		t.Error("a port's address went with the host it was reserved for once")
	}
}

// Ports of an orchestrator's address are given in its name, as control does it, to
// hosts that are the administrators'.
func TestPortBlocksOfAnOrchestrator(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	const B = "blue-own:p"
	h := host("h1", "192.0.2.1")
	w.create(admin, h)
	w.create(blue, object(t, api.KindNetwork, "n", B, ""), object(t, api.KindNetwork, "e", B, ""), subnet("s", "198.51.100.0/24", named(B+":e")),
		address("out", named(B+":e"), "198.51.100.9"), object(t, api.KindSourceNAT, "o", B, "network: '"+B+":n', addresses: ['"+B+":e:out']"))
	b := object(t, api.KindPortBlock, "1024-2047", B+":e:out", "host: h1, ports: {from: 1024, to: 2047}")
	w.create(api.Identity{Name: "control", Orchestrator: "blue", Role: api.RoleAdmin}, b)
	w.refused(api.CodeConflict, "refer to it", blue, api.OpDelete, address("out", named(B+":e"), "198.51.100.9"))
	w.remove(admin, h)
	if blocks := w.latest().List(api.KindPortBlock); len(blocks) > 0 {
		t.Errorf("ports are given to a host that is gone: %v", blocks)
	}
}
