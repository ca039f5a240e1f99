// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"

	"github.com/weft-network/weft/api"
)

// write is one operation by somebody.
type write struct {
	by     api.Identity
	op     string
	object api.Object
}

// Two writes are worked out on the same state, as two controllers do, and then
// committed one after the other, in both orders. Of each pair only the first
// may commit: both together would break an invariant that neither sees alone.
func TestPairsThatExcludeEachOther(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net := named("blue-own:p:n")
	p1 := named("blue-own:p:p1")
	all := share("s", projectOf(blue), api.KindNetwork, net, api.GranteeAll, api.Ref{}, api.VerbAttach, api.VerbJoin)
	toDomain := share("sd", projectOf(blue), api.KindNetwork, named("blue-own:p:m"), api.KindDomain, named("green"), api.VerbAttach)
	green2 := func(domain string) api.Object {
		return &api.Orchestrator{Header: head(api.KindOrchestrator, "green", api.Ref{}),
			Spec: api.OrchestratorSpec{Platform: api.PlatformKubernetes, Domain: named(domain)}}
	}
	red := api.Identity{Name: "red", Orchestrator: "red", Role: api.RoleMember}
	redItself := &api.Orchestrator{Header: head(api.KindOrchestrator, "red", api.Ref{}), Spec: api.OrchestratorSpec{Platform: api.PlatformKubernetes}}
	w.create(admin, redItself, host("h1", "192.0.2.1"), host("h2", "192.0.2.2"))
	w.create(blue, network("n", projectOf(blue)), network("m", projectOf(blue)), subnet("s", "10.0.0.0/24", net), port("p1", projectOf(blue), net), all, toDomain)

	mtu := func(n int) api.Object {
		o := network("n", projectOf(blue))
		o.Spec.MTU = n
		return o
	}
	vni := func(name string) api.Object {
		o := network(name, projectOf(blue))
		o.Spec.VNI = 4242
		return o
	}
	mac := func(name string) api.Object {
		o := port(name, projectOf(blue), net)
		o.Spec.MAC = "02:00:00:00:00:01"
		return o
	}
	foreign := func(name string) api.Object {
		o := network(name, projectOf(blue))
		o.Meta.Foreign = &api.Foreign{Kind: "net", ID: "1"}
		return o
	}
	use := write{green, api.OpCreate, port("use", projectOf(green), net)}
	for _, c := range []struct {
		name string
		a, b write
	}{
		{"two of one name", write{blue, api.OpCreate, network("x", projectOf(blue))}, write{blue, api.OpCreate, network("x", projectOf(blue))}},
		{"two of one VNI", write{blue, api.OpCreate, vni("x")}, write{blue, api.OpCreate, vni("y")}},
		{"two of one MAC", write{blue, api.OpCreate, mac("x")}, write{blue, api.OpCreate, mac("y")}},
		{"two of one foreign identity", write{blue, api.OpCreate, foreign("x")}, write{blue, api.OpCreate, foreign("y")}},
		{"one address twice", write{blue, api.OpCreate, address("x", net, "10.0.0.9")}, write{blue, api.OpCreate, address("y", net, "10.0.0.9")}},
		{"two active bindings", write{blue, api.OpCreate, binding("x", p1, named("h1"), true)}, write{blue, api.OpCreate, binding("y", p1, named("h2"), true)}},
		{"two ranges that overlap", write{blue, api.OpCreate, subnet("x", "10.8.0.0/16", net)}, write{blue, api.OpCreate, subnet("y", "10.8.1.0/24", net)}},
		{"two updates", write{blue, api.OpUpdate, mtu(1400)}, write{blue, api.OpUpdate, mtu(1500)}},
		{"an update and a deletion", write{blue, api.OpUpdate, share("s", projectOf(blue), api.KindNetwork, net, api.GranteeAll, api.Ref{}, api.VerbSee)}, write{blue, api.OpDelete, all}},
		{"a reference and its target's deletion", write{blue, api.OpCreate, binding("x", p1, named("h1"), false)}, write{admin, api.OpDelete, host("h1", "192.0.2.1")}},
		{"a child and its parent's deletion", write{blue, api.OpCreate, binding("x", p1, named("h2"), false)}, write{blue, api.OpDelete, port("p1", projectOf(blue), net)}},
		{"use of a share and its revocation", use, write{blue, api.OpDelete, all}},
		{"use of a share and the loss of its verb", use, write{blue, api.OpUpdate, share("s", projectOf(blue), api.KindNetwork, net, api.GranteeAll, api.Ref{}, api.VerbJoin)}},
		{"a write and its orchestrator's deletion", write{red, api.OpCreate, domain("x")}, write{admin, api.OpDelete, redItself}},
	} {
		for order, pair := range [][2]write{{c.a, c.b}, {c.b, c.a}} {
			w.exclude(c.name, order, pair)
		}
	}
	// Some pairs exclude each other in one order only: who used a share keeps
	// what it made when it leaves the domain that was granted, and cannot begin after.
	w.exclude("leaving a domain and use by it", 0, [2]write{{admin, api.OpUpdate, green2("blue")}, {green, api.OpCreate, port("use", projectOf(green), named("blue-own:p:m"))}})
	// An address of "the only subnet" may come before a second subnet, not after.
	w.exclude("the only subnet", 0, [2]write{{blue, api.OpCreate, subnet("y", "10.9.0.0/24", net)}, {blue, api.OpCreate, address("x", net, "")}})
}

// Who edits through a share, or makes a project in its own domain, may do so
// before that right goes, and not after.
func TestEditAgainstItsEnd(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	w.create(blue, network("n", projectOf(blue)), network("m", projectOf(blue)))
	n, m := network("n", projectOf(blue)), network("m", projectOf(blue))
	n.Spec.MTU, m.Spec.MTU = 1400, 1400
	left := &api.Orchestrator{Header: head(api.KindOrchestrator, "green", api.Ref{}),
		Spec: api.OrchestratorSpec{Platform: api.PlatformKubernetes, Domain: named("blue")}}
	edits := []api.Verb{api.VerbEdit}
	editable := share("e", projectOf(blue), api.KindNetwork, named("blue-own:p:n"), api.KindOrchestrator, named("green"), edits...)
	toGreens := share("ed", projectOf(blue), api.KindNetwork, named("blue-own:p:m"), api.KindDomain, named("green"), edits...)
	w.create(blue, editable, toGreens)
	w.exclude("revocation of edit and an edit", 0, [2]write{{blue, api.OpDelete, editable}, {green, api.OpUpdate, n}})
	w.exclude("loss of edit and an edit", 0, [2]write{
		{blue, api.OpUpdate, share("e", projectOf(blue), api.KindNetwork, named("blue-own:p:n"), api.KindOrchestrator, named("green"), api.VerbSee)},
		{green, api.OpUpdate, n}})
	w.exclude("leaving a domain and an edit by it", 0, [2]write{{admin, api.OpUpdate, left}, {green, api.OpUpdate, m}})
	w.exclude("leaving a domain and a project in it", 0, [2]write{{admin, api.OpUpdate, left},
		{green, api.OpCreate, &api.Project{Header: head(api.KindProject, "in-green", named("green"))}}})
}

// The same, for kinds that relate other objects to each other.
func TestPairsOfRelationsThatExcludeEachOther(t *testing.T) {
	w := newWorld(t)
	w.plant()
	const P = inProject
	make := func(o api.Object) write { return write{admin, api.OpCreate, o} }
	change := func(o api.Object) write { return write{admin, api.OpUpdate, o} }
	toPort := func(name, ip, port string) api.Object {
		a := address(name, named(P+"n"), ip)
		if port != "" {
			a.Spec.Port = named(P + port)
		}
		return a
	}
	w.create(admin, w.mine(api.KindFloatingIP, "f", "pool: '"+P+"pool', address: '"+P+"n:free2'"))
	fip := w.mine(api.KindFloatingIP, "x", "pool: '"+P+"pool', address: '"+P+"n:free'")
	association := w.mine(api.KindFloatingIPAssociation, "x", "floatingIP: '"+P+"f', port: '"+P+"p', address: '"+P+"n:held'")
	forwarding := func(name, ports string) api.Object {
		return object(t, api.KindPortForwarding, name, P+"f", "protocol: tcp, external: "+ports+", internal: {from: 22}, port: '"+P+"p'")
	}
	sub := func(name, vlan, port string) api.Object {
		return object(t, api.KindSubPort, name, P+"t", "vlan: "+vlan+", port: '"+P+port+"'")
	}
	tag := func(name, tag string) api.Object {
		return w.mine(api.KindTagBinding, name, "tag: '"+P+tag+"', targetKind: port, target: '"+P+"p'")
	}
	under := func(name, subnet string) api.Object {
		return w.mine(api.KindRouterInterface, name, "router: '"+P+"r', subnet: '"+P+subnet+"'")
	}
	for _, c := range []struct {
		name string
		a, b write
	}{
		{"subnets of a router that overlap", make(under("x", "n:s")), make(under("y", "m:over"))},
		{"two uses of an address", make(fip), make(w.mine(api.KindLoadBalancer, "y", "addresses: ['"+P+"n:free']"))},
		{"a use of an address and a port for it", make(fip), change(toPort("free", "10.0.0.5", "q"))},
		{"an association and its address going to another port", make(association), change(toPort("held", "10.0.0.7", "q"))},
		{"an association and a port-forwarding", make(association), make(forwarding("y", "{from: 20}"))},
		{"two associations of one floating-ip", make(association), make(w.mine(api.KindFloatingIPAssociation, "y", "floatingIP: '"+P+"f', port: '"+P+"q'"))},
		{"port-forwardings that overlap", make(forwarding("x", "{from: 20, to: 30}")), make(forwarding("y", "{from: 30, to: 31}"))},
		{"two tags of a type of which there is one", make(tag("x", "web")), make(tag("y", "db"))},
		{"one port in two places of trunks", make(sub("x", "7", "q")), make(w.mine(api.KindTrunk, "y", "port: '"+P+"q'"))},
		{"one VLAN twice", make(sub("x", "7", "q")), make(sub("y", "7", "z"))},
		{"two quotas of a kind", make(w.mine(api.KindQuota, "x", "of: port")), make(w.mine(api.KindQuota, "y", "of: port"))},
	} {
		for order, pair := range [][2]write{{c.a, c.b}, {c.b, c.a}} {
			w.exclude(c.name, order, pair)
		}
	}
	// Whoever begins to use a group after it changed uses it as it is then.
	w.exclude("a port and the statefulness of its group", 0, [2]write{
		make(w.mine(api.KindPort, "x", "network: '"+P+"n', securityGroups: ['"+P+"g']")), change(w.mine(api.KindSecurityGroup, "g", "stateless: true"))})
}

// exclude commits the first of two writes; the second must not commit then.
// Afterwards the first is undone.
func (w *world) exclude(name string, order int, pair [2]write) {
	w.t.Helper()
	base, err := w.linearizable(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var plans [2]*plan
	for i, one := range pair {
		plans[i], err = w.evaluate(base, one.by, []api.Operation{{Op: one.op, Object: one.object}}, false)
		w.allocator.release(plans[i].reserved)
		if err != nil {
			w.t.Fatalf("%s, order %d: write %d is refused by itself: %v", name, order, i, err)
		}
	}
	revision, committed, err := w.write(w.t.Context(), plans[0])
	if err != nil || !committed {
		w.t.Fatalf("%s, order %d: the first write: committed %v, %v", name, order, committed, err)
	}
	if _, committed, err := w.write(w.t.Context(), plans[1]); err != nil || committed {
		w.t.Errorf("%s, order %d: the second write: committed %v, %v", name, order, committed, err)
	}
	if _, err := w.at(w.t.Context(), revision); err != nil {
		w.t.Fatal(err)
	}
	w.undo(pair[0].by, plans[0].deltas[plans[0].objects[0]])
}

// undo takes one committed change back.
func (w *world) undo(by api.Identity, d *delta) {
	w.t.Helper()
	op, r := api.OpUpdate, d.old
	switch {
	case d.old == nil:
		op, r = api.OpDelete, d.now
	case d.now == nil:
		op = api.OpCreate
	}
	o := api.Clone(r.object)
	o.Head().Meta.Revision = 0
	if _, err := w.commit(by, op, o); err != nil {
		w.t.Fatalf("undo: %v", err)
	}
}
