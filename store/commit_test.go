// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

func TestFirstObjects(t *testing.T) {
	w := newWorld(t)
	if w.Epoch() != 1 {
		t.Errorf("epoch %d, want 1", w.Epoch())
	}
	p := w.Latest().Lookup(api.KindProject, project)
	o := w.Latest().Lookup(api.KindOrchestrator, named("weft"))
	if p == nil || o == nil || p.Head().Meta.Owner != "weft" || o.(*api.Orchestrator).Spec.Domain.Name != "default-domain" {
		t.Fatalf("first objects are %v and %v", p, o)
	}
	revision := w.Latest().Revision()
	if again := w.open(); again.Latest().Revision() != revision {
		t.Errorf("a second start wrote something: revision %d, was %d", again.Latest().Revision(), revision)
	}
}

// One transaction makes a network with everything in it, referring by name.
func TestTransaction(t *testing.T) {
	w := newWorld(t)
	net := named("default-domain:default-project:n")
	objects := []api.Object{
		network("n", project),
		subnet("v4", "10.0.0.0/24", net), subnet("v6", "2001:db8::/64", net),
		host("h1", "192.0.2.1"),
		port("p1", project, net),
		address("a4", net, "10.0.0.9"), address("a6", net, "2001:db8::9"),
		binding("b", named("default-domain:default-project:p1"), named("h1"), true),
	}
	var ops []api.Operation
	for _, o := range objects {
		ops = append(ops, api.Operation{Op: api.OpCreate, Object: o})
	}
	dry, err := w.Commit(t.Context(), admin, ops, CommitOptions{DryRun: true})
	if err != nil || len(dry.Objects) != len(ops) || w.Latest().Lookup(api.KindNetwork, net) != nil {
		t.Fatalf("dry run: %d objects, %v, network %v", len(dry.Objects), err, w.Latest().Lookup(api.KindNetwork, net))
	}
	w.create(admin, objects...)

	s := w.Latest()
	n := s.Lookup(api.KindNetwork, net).(*api.Network)
	v6 := s.Lookup(api.KindSubnet, named(net.Name+":v6")).(*api.Subnet)
	p := s.Lookup(api.KindPort, named("default-domain:default-project:p1")).(*api.Port)
	a := s.Lookup(api.KindAddress, named(net.Name+":a6")).(*api.Address)
	switch {
	case n.Spec.VNI != 1 || n.Meta.Generation != 1 || n.Meta.Revision == 0 || n.Meta.Owner != "weft":
		t.Errorf("network is %+v", n)
	case v6.Spec.Gateway != netip.MustParseAddr("2001:db8::1"):
		t.Errorf("gateway is %v", v6.Spec.Gateway)
	case p.Spec.MAC != api.MACFromUUID(p.Meta.UUID) || p.Spec.Network.UUID != n.Meta.UUID:
		t.Errorf("port is %+v", p.Spec)
	case a.Spec.Subnet.UUID != v6.Meta.UUID:
		t.Errorf("address is %+v", a.Spec)
	}
	names := []string{}
	for _, o := range s.List(api.KindSubnet) {
		names = append(names, o.Head().Meta.FQName)
	}
	if got := strings.Join(names, " "); got != net.Name+":v4 "+net.Name+":v6" {
		t.Errorf("subnets in order: %s", got)
	}

	// All or nothing: the last of three is wrong.
	w.refused(api.CodeConflict, "operation 3 of 3", admin, api.OpCreate,
		network("m", project), port("p2", project, named("default-domain:default-project:m")), subnet("x", "10.0.0.128/25", net))
	w.remove(admin, objects...)
	if n := len(w.Latest().List(api.KindAddress)); n != 0 {
		t.Errorf("%d addresses are left", n)
	}
}

func TestValidation(t *testing.T) {
	w := newWorld(t)
	net := named("default-domain:default-project:n")
	w.create(admin, network("n", project), network("m", project), subnet("s", "10.0.0.0/30", net),
		port("p", project, net), port("q", project, named("default-domain:default-project:m")))
	addressOn := func(ip, port string) *api.Address {
		a := address("a", net, ip)
		a.Spec.Port = named("default-domain:default-project:" + port)
		return a
	}
	vni := network("v", project)
	vni.Spec.VNI = 1
	foreign := network("f", project)
	foreign.Meta.Foreign = &api.Foreign{Orchestrator: "blue", Kind: "pod", ID: "1"}
	twice := port("twice", project, net)
	twice.Spec.MAC = w.Latest().Lookup(api.KindPort, named("default-domain:default-project:p")).(*api.Port).Spec.MAC
	for _, c := range []struct {
		code   api.Code
		text   string
		object api.Object
	}{
		{api.CodeConflict, "name default-domain:default-project:n is held by network default-domain:default-project:n", network("n", project)},
		{api.CodeInvalid, "there is no project nowhere", network("x", named("nowhere"))},
		{api.CodeInvalid, "meta.parent: is required", network("x", api.Ref{})},
		{api.CodeInvalid, "there is no network nowhere", port("x", project, named("nowhere"))},
		{api.CodeInvalid, "is not a UUID", port("x", project, api.Ref{})},
		{api.CodeConflict, "VNI 1 is held by network", vni},
		{api.CodeConflict, "overlaps with 10.0.0.0/30", subnet("x", "10.0.0.0/16", net)},
		{api.CodeInvalid, "host bits", subnet("x", "10.1.0.1/16", net)},
		{api.CodeConflict, "address 10.0.0.1 in default-domain:default-project:n is held by subnet", address("a", net, "10.0.0.1")},
		{api.CodeInvalid, "broadcast", address("a", net, "10.0.0.3")},
		{api.CodeInvalid, "in none of the 1 subnets", address("a", net, "10.9.0.3")},
		{api.CodeInvalid, "has 0 subnets", address("a", named("default-domain:default-project:m"), "")},
		{api.CodeInvalid, "port default-domain:default-project:q is on network", addressOn("10.0.0.2", "q")},
		{api.CodeInvalid, "meta.foreign.orchestrator", foreign},
		{api.CodeConflict, "MAC " + string(twice.Spec.MAC), twice},
	} {
		if strings.Contains(c.text, "UUID") {
			c.object.Head().Meta.UUID = "x"
		}
		w.refused(c.code, c.text, admin, api.OpCreate, c.object)
	}
	w.create(admin, addressOn("", "p")) // 10.0.0.2, the only one left
	w.refused(api.CodeExhausted, "no address is free in 10.0.0.0/30", admin, api.OpCreate, address("full", net, ""))
	w.refused(api.CodeTooLarge, "0 operations", admin, api.OpCreate)
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	net := named("default-domain:default-project:n")
	n := w.create(admin, network("n", project)).(*api.Network)
	w.create(admin, subnet("s", "10.0.0.0/24", net))

	// What was written once can be written again, and is then no write.
	revision := w.Latest().Revision()
	same := w.update(admin, network("n", project)).(*api.Network)
	if now := w.Latest().Revision(); now != revision || same.Spec.VNI != n.Spec.VNI || same.Meta.Revision != n.Meta.Revision {
		t.Errorf("an update that changes nothing wrote: revision %d, was %d; %+v", now, revision, same)
	}
	labelled := network("n", project)
	labelled.Meta.Labels = map[string]string{"a": "b"}
	if got := w.update(admin, labelled); got.Head().Meta.Generation != 1 || got.Head().Meta.Revision <= revision {
		t.Errorf("a label changed: generation %d (want 1), revision %d (want above %d)", got.Head().Meta.Generation, got.Head().Meta.Revision, revision)
	}
	wider := network("n", project)
	wider.Spec.MTU = 9000
	changed := w.update(admin, wider).(*api.Network)
	if changed.Meta.Generation != 2 || changed.Meta.CreatedAt != n.Meta.CreatedAt || changed.Meta.Labels != nil {
		t.Errorf("the spec changed: %+v", changed.Meta)
	}

	other := network("n", project)
	other.Spec.VNI = 77
	w.refused(api.CodeInvalid, "spec.vni: cannot change", admin, api.OpUpdate, other)
	w.refused(api.CodeInvalid, "spec.cidr: cannot change", admin, api.OpUpdate, subnet("s", "10.0.0.0/25", net))
	renamed := network("other", project)
	renamed.Meta.UUID = n.Meta.UUID
	w.refused(api.CodeInvalid, "meta.name: cannot change", admin, api.OpUpdate, renamed)
	moved := network("n", api.Ref{})
	moved.Meta.UUID, moved.Meta.Parent = n.Meta.UUID, w.create(admin, &api.Project{Header: head(api.KindProject, "p2", named("default-domain"))}).Head().Meta.Parent
	w.refused(api.CodeInvalid, "meta.parent", admin, api.OpUpdate, moved)

	stale := network("n", project)
	stale.Meta.Revision = n.Meta.Revision
	w.refused(api.CodePrecondition, "read it again", admin, api.OpUpdate, stale)
	w.refused(api.CodePrecondition, "read it again", admin, api.OpDelete, stale)
	stale.Meta.Revision = changed.Meta.Revision
	w.update(admin, stale)
	w.refused(api.CodeNotFound, "no such network", admin, api.OpUpdate, network("none", project))
	w.refused(api.CodeNotFound, "no such network", admin, api.OpDelete, network("none", project))
}

// Claims and references follow an update: old ones are free, new ones taken.
func TestUpdateMovesClaimsAndReferences(t *testing.T) {
	w := newWorld(t)
	net, p1, p2 := named("default-domain:default-project:n"), named("default-domain:default-project:p1"), named("default-domain:default-project:p2")
	w.create(admin, network("n", project), subnet("s", "10.0.0.0/24", net), port("p1", project, net), port("p2", project, net),
		host("h1", "192.0.2.1"), host("h2", "192.0.2.2"))
	a := address("a", net, "")
	a.Spec.Port = p1
	w.create(admin, a)
	w.refused(api.CodeConflict, "others still refer", admin, api.OpDelete, port("p1", project, net))
	a.Spec.Port = p2
	w.update(admin, a)
	w.remove(admin, port("p1", project, net))
	w.refused(api.CodeConflict, "others still refer", admin, api.OpDelete, port("p2", project, net))

	// The active binding moves in one transaction, in either order of operations.
	w.create(admin, binding("b1", p2, named("h1"), true), binding("b2", p2, named("h2"), false))
	w.refused(api.CodeConflict, "the active binding of port", admin, api.OpUpdate, binding("b2", p2, named("h2"), true))
	if _, err := w.commit(admin, api.OpUpdate, binding("b2", p2, named("h2"), true), binding("b1", p2, named("h1"), false)); err != nil {
		t.Fatalf("move the active binding: %v", err)
	}
	if _, err := w.commit(admin, api.OpUpdate, binding("b2", p2, named("h2"), false), binding("b1", p2, named("h1"), true)); err != nil {
		t.Fatalf("move it back: %v", err)
	}
	// A name moves too: delete and create in one transaction.
	_, err := w.Commit(t.Context(), admin, []api.Operation{{Op: api.OpDelete, Object: a}, {Op: api.OpCreate, Object: address("a", net, "10.0.0.77")}}, CommitOptions{})
	if err != nil {
		t.Fatalf("replace an address: %v", err)
	}
	if got := w.Latest().Lookup(api.KindAddress, named(net.Name+":a")); got == nil || got.(*api.Address).Spec.IP.String() != "10.0.0.77" {
		t.Errorf("the replaced address is %v", got)
	}
}

func TestDeleteNamesReferrers(t *testing.T) {
	w := newWorld(t)
	net := named("default-domain:default-project:n")
	objects := []api.Object{network("n", project), subnet("s", "10.0.0.0/24", net)}
	for i := range 20 {
		objects = append(objects, address(fmt.Sprintf("a%d", i), net, ""))
	}
	w.create(admin, objects...)
	e := w.refused(api.CodeConflict, "others still refer", admin, api.OpDelete, objects[0])
	if len(e.Referrers) != referrersNamed || !strings.Contains(e.Referrers[0], net.Name+":") {
		t.Errorf("referrers: %q", e.Referrers)
	}
	w.refused(api.CodeConflict, "others still refer", admin, api.OpDelete, objects[0], objects[1], objects[2])
	w.remove(admin, objects...) // parents first, in one transaction
}

func TestForeignIdentity(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	with := func(name, id string, by api.Identity) *api.Network {
		n := network(name, projectOf(by))
		n.Meta.Foreign = &api.Foreign{Kind: "net", ID: id}
		return n
	}
	w.create(blue, with("a", "1", blue))
	w.create(green, with("a", "1", green)) // another orchestrator's 1
	w.refused(api.CodeConflict, "foreign identity net 1 of blue is held by network blue-own:p:a", blue, api.OpCreate, with("b", "1", blue))
	w.update(blue, with("a", "2", blue))
	w.create(blue, with("b", "1", blue))
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	net := named("default-domain:default-project:n")
	p := w.create(admin, network("n", project), port("p", project, net))
	id := p.Head().Meta.UUID
	put := func(state api.PortState) int64 {
		t.Helper()
		if err := w.PutStatus(t.Context(), api.KindPort, id, api.PortStatus{State: state}); err != nil {
			t.Fatal(err)
		}
		s, err := w.Snapshot(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		got := s.Get(api.KindPort, id).(*api.Port)
		if got.Status.State != state || got.Meta.Revision != p.Head().Meta.Revision || got.Meta.Generation != 1 {
			t.Fatalf("after status %s the port is %+v", state, got)
		}
		return s.Revision()
	}
	first := put(api.PortUp)
	if again := put(api.PortUp); again != first {
		t.Errorf("an unchanged status was written: revision %d, was %d", again, first)
	}
	// A write of the spec keeps the status, and does not store it.
	labelled := port("p", project, net)
	labelled.Meta.DisplayName = "P"
	if got := w.update(admin, labelled).(*api.Port); got.Status.State != api.PortUp {
		t.Errorf("the update lost the status: %+v", got.Status)
	}
	var s stored
	if err := json.Unmarshal([]byte(allKeys(t, w.client)[prefixObject+"port/"+id]), &s); err != nil || strings.Contains(string(s.Object), "status") {
		t.Errorf("stored with status: %s (%v)", s.Object, err)
	}
	w.remove(admin, labelled)
	if err := w.PutStatus(t.Context(), api.KindPort, id, api.PortStatus{}); err == nil {
		t.Error("the status of a deleted port was written")
	}
}

// The largest writes the API allows fit into one transaction.
func TestLargestWrites(t *testing.T) {
	w := newWorld(t)
	net := named("default-domain:default-project:n")
	w.create(admin, network("n", project), subnet("s", "10.0.0.0/16", net))
	var objects []api.Object
	for i := range MaxOperations / 2 {
		name := fmt.Sprintf("p%d", i)
		a := address(name, net, "")
		a.Spec.Port = named("default-domain:default-project:" + name)
		objects = append(objects, port(name, project, net), a)
	}
	w.create(admin, objects...)
	w.refused(api.CodeTooLarge, "101 operations", admin, api.OpDelete, append(objects, objects[0])...)

	policy := &api.NetworkPolicy{Header: head(api.KindNetworkPolicy, "np", project)}
	for range api.MaxPolicyRules {
		side := api.NetworkSelector{Network: net}
		policy.Spec.Rules = append(policy.Spec.Rules, api.NetworkPolicyRule{Action: api.ActionPass, Direction: api.DirectionBoth, Source: side, Destination: side})
	}
	w.create(admin, policy)
	w.Store.maxOps = defaultMaxTxnOps // an etcd as it comes
	policy.Spec.Rules = policy.Spec.Rules[:900]
	w.refused(api.CodeTooLarge, "--max-txn-ops", admin, api.OpUpdate, policy)
	w.Store.maxOps = 8192
	w.remove(admin, policy)
	w.remove(admin, objects...)
}
