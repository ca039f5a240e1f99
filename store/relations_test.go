// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
)

const inProject = "default-domain:default-project:"

// object reads an object whose spec is written in YAML.
func object(t *testing.T, kind api.Kind, name, parent, spec string) api.Object {
	t.Helper()
	text := "kind: " + string(kind) + "\nmeta: {name: '" + name + "'"
	if parent != "" {
		text += ", parent: '" + parent + "'"
	}
	data, err := yaml.YAMLToJSON([]byte(text + "}\nspec: {" + spec + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := api.Decode(data, true)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

// mine makes an object in the default project; the spec may say P: for it.
func (w *world) mine(kind api.Kind, name, spec string) api.Object {
	return object(w.t, kind, name, inProject[:len(inProject)-1], spec)
}

// plant makes what the tests of relations are about.
func (w *world) plant() {
	w.t.Helper()
	const n, m = inProject + "n", inProject + "m"
	w.create(admin,
		network("n", project), network("m", project),
		subnet("s", "10.0.0.0/24", named(n)), subnet("over", "10.0.0.0/16", named(m)), subnet("beside", "10.7.0.0/16", named(n)),
		port("p", project, named(n)), port("q", project, named(n)), port("z", project, named(n)),
		address("free", named(n), "10.0.0.5"), address("free2", named(n), "10.0.0.6"), address("other", named(m), "10.0.0.5"),
		w.mine(api.KindRouter, "r", ""), w.mine(api.KindSecurityGroup, "g", ""),
		w.mine(api.KindTag, "web", "type: tier, value: web"), w.mine(api.KindTag, "db", "type: tier, value: db"), w.mine(api.KindTag, "red", "type: label, value: red"),
		w.mine(api.KindFloatingIPPool, "pool", "network: '"+n+"', subnets: ['"+n+":s']"),
		w.mine(api.KindLoadBalancer, "lb", ""), w.mine(api.KindLoadBalancer, "lb2", ""),
		object(w.t, api.KindPool, "a", inProject+"lb", "protocol: TCP"),
		w.mine(api.KindTrunk, "t", "port: '"+inProject+"p'"),
	)
	held := address("held", named(n), "10.0.0.7")
	held.Spec.Port = named(inProject + "p")
	w.create(admin, held)
}

// What stands in the way is somebody else's and is not named.
func TestRelationsDoNotNameWhatIsNotSeen(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	const B, G = "blue-own:p", "green-own:p"
	w.create(blue,
		object(t, api.KindIPAM, "i", B, ""), object(t, api.KindNetwork, "secret", B, "ipam: '"+B+":i'"), subnet("s", "10.0.0.0/24", named(B+":secret")),
		object(t, api.KindNetwork, "open", B, ""), subnet("s", "10.1.0.0/24", named(B+":open")), object(t, api.KindRouter, "r", B, ""),
		object(t, api.KindNetwork, "other", B, ""), subnet("s", "10.2.0.0/24", named(B+":other")),
		object(t, api.KindRouterInterface, "secret", B, "router: '"+B+":r', subnet: '"+B+":other:s'"),
	)
	for _, kind := range []api.Kind{api.KindIPAM, api.KindRouter} {
		name := map[api.Kind]string{api.KindIPAM: B + ":i", api.KindRouter: B + ":r"}[kind]
		w.create(blue, share("share-"+string(kind), named(B), kind, named(name), api.GranteeAll, api.Ref{}, api.VerbAttach, api.VerbRoute))
	}
	w.create(green, object(t, api.KindNetwork, "n", G, "ipam: '"+B+":i'"), object(t, api.KindNetwork, "m", G, ""), subnet("s", "10.2.0.0/16", named(G+":m")))
	for _, o := range []api.Object{
		subnet("s", "10.0.0.0/16", named(G+":n")),
		object(t, api.KindRouterInterface, "i", G, "router: '"+B+":r', subnet: '"+G+":m:s'"),
	} {
		e := w.refused(api.CodeConflict, "of orchestrator blue", green, api.OpCreate, o)
		if strings.Contains(e.Message, "secret") || strings.Contains(e.Message, "other:s") {
			t.Errorf("what may not be seen is named: %s", e.Message)
		}
	}
}

func TestRelationsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.plant()
	const P = inProject
	w.create(admin,
		w.mine(api.KindRouterInterface, "i", "router: '"+P+"r', subnet: '"+P+"n:s'"),
		w.mine(api.KindTagBinding, "web", "tag: '"+P+"web', targetKind: port, target: '"+P+"p'"),
		w.mine(api.KindFloatingIP, "f", "pool: '"+P+"pool', address: '"+P+"n:free'"),
		object(t, api.KindPortForwarding, "ssh", P+"f", "protocol: tcp, external: {from: 20, to: 30}, internal: {from: 22}, port: '"+P+"p', address: '"+P+"n:held'"),
		object(t, api.KindSecurityGroupRule, "https", P+"g", "direction: ingress, family: IPv4, match: {protocol: tcp, ports: {from: 443}}, remoteRange: 10.0.0.9/8"),
		object(t, api.KindListener, "l", P+"lb", "protocol: HTTP, port: 80"),
		object(t, api.KindSubPort, "sub", P+"t", "vlan: 7, port: '"+P+"q'"),
	)
	moved := address("held", named(P+"n"), "10.0.0.7")
	moved.Spec.Port = named(P + "q")
	taken := address("free", named(P+"n"), "10.0.0.5")
	taken.Spec.Port = named(P + "q")
	for _, c := range []struct {
		code   api.Code
		text   string
		op     string
		object api.Object
	}{
		{api.CodeConflict, "overlaps with 10.0.0.0/24 of subnet", api.OpCreate, w.mine(api.KindRouterInterface, "x", "router: '"+P+"r', subnet: '"+P+"m:over'")},
		{api.CodeConflict, "is held by router-interface", api.OpCreate, w.mine(api.KindRouterInterface, "x", "router: '"+P+"r', subnet: '"+P+"n:s'")},
		{api.CodeConflict, "is held by port", api.OpCreate, w.mine(api.KindRouterInterface, "x", "router: '"+P+"r', subnet: '"+P+"n:beside', address: '"+P+"n:held'")},
		{api.CodeInvalid, "is of subnet", api.OpCreate, w.mine(api.KindRouterInterface, "x", "router: '"+P+"r', subnet: '"+P+"n:beside', address: '"+P+"n:free2'")},
		{api.CodeInvalid, "is not of network", api.OpCreate, w.mine(api.KindRouter, "x", "gateway: {network: '"+P+"m', addresses: ['"+P+"n:free2']}")},
		{api.CodeConflict, "the use of address", api.OpCreate, w.mine(api.KindLoadBalancer, "x", "addresses: ['"+P+"n:free']")},
		{api.CodeConflict, "is held by port", api.OpCreate, w.mine(api.KindLoadBalancer, "x", "addresses: ['"+P+"n:held']")},
		{api.CodeConflict, "is held by port", api.OpCreate, w.mine(api.KindSourceNAT, "x", "network: '"+P+"m', addresses: ['"+P+"n:held']")},
		{api.CodeConflict, "the use of address", api.OpCreate, w.mine(api.KindSourceNAT, "x", "network: '"+P+"m', addresses: ['"+P+"n:free']")},
		{api.CodeInvalid, "is of network", api.OpCreate, w.mine(api.KindSourceNAT, "x", "network: '"+P+"n', addresses: ['"+P+"n:free2']")},
		{api.CodeInvalid, "several networks", api.OpCreate, w.mine(api.KindLoadBalancer, "x", "addresses: ['"+P+"n:free2', '"+P+"m:other']")},
		{api.CodeConflict, "the tier tag of", api.OpCreate, w.mine(api.KindTagBinding, "x", "tag: '"+P+"db', targetKind: port, target: '"+P+"p'")},
		{api.CodeInvalid, "want one of type application", api.OpCreate, w.mine(api.KindApplicationPolicySet, "x", "application: '"+P+"web'")},
		{api.CodeConflict, "tag tier=web", api.OpCreate, w.mine(api.KindTag, "x", "type: tier, value: web")},
		{api.CodeInvalid, "not one that pool", api.OpCreate, w.mine(api.KindFloatingIP, "x", "pool: '"+P+"pool', address: '"+P+"m:other'")},
		{api.CodeInvalid, "is not of network", api.OpCreate, w.mine(api.KindFloatingIPPool, "x", "network: '"+P+"m', subnets: ['"+P+"n:s']")},
		{api.CodeConflict, "used by transport port", api.OpCreate, w.mine(api.KindFloatingIPAssociation, "x", "floatingIP: '"+P+"f', port: '"+P+"p'")},
		{api.CodeConflict, "overlap with 20-30", api.OpCreate, object(t, api.KindPortForwarding, "x", P+"f", "protocol: '6', external: {from: 30}, internal: {from: 22}, port: '"+P+"p'")},
		{api.CodeInvalid, "is not an address of port", api.OpCreate, object(t, api.KindPortForwarding, "x", P+"f", "protocol: tcp, external: {from: 40}, internal: {from: 22}, port: '"+P+"q', address: '"+P+"n:held'")},
		{api.CodeConflict, "cannot change while port-forwarding", api.OpUpdate, moved},
		{api.CodeConflict, "cannot change while floating-ip", api.OpUpdate, taken},
		{api.CodeConflict, "a rule that says the same", api.OpCreate, object(t, api.KindSecurityGroupRule, "x", P+"g", "direction: ingress, family: IPv4, match: {protocol: '6', ports: {from: 443, to: 443}}, remoteRange: 10.1.2.3/8")},
		{api.CodeConflict, "TCP port 80", api.OpCreate, object(t, api.KindListener, "x", P+"lb", "protocol: TCP, port: 80")},
		{api.CodeInvalid, "is of load-balancer", api.OpCreate, object(t, api.KindListener, "x", P+"lb2", "protocol: TCP, port: 80, pool: '"+P+"lb:a'")},
		{api.CodeConflict, "in a trunk", api.OpCreate, object(t, api.KindSubPort, "x", P+"t", "vlan: 8, port: '"+P+"p'")},
		{api.CodeConflict, "VLAN 7", api.OpCreate, object(t, api.KindSubPort, "x", P+"t", "vlan: 7, port: '"+P+"z'")},
		{api.CodeInvalid, "is named twice", api.OpCreate, w.mine(api.KindPort, "x", "network: '"+P+"n', securityGroups: ['"+P+"g', '"+w.Latest().Lookup(api.KindSecurityGroup, named(P+"g")).Head().Meta.UUID+"']")},
	} {
		w.refused(c.code, c.text, admin, c.op, c.object)
	}
	w.create(admin, object(t, api.KindProject, "theirs", "default-domain", ""), object(t, api.KindTag, "db", "default-domain:theirs", "type: tier, value: db"))
	w.create(admin, w.mine(api.KindTagBinding, "theirs", "tag: 'default-domain:theirs:db', targetKind: port, target: '"+P+"p'")) // takes nobody's place
	w.create(admin, w.mine(api.KindTagBinding, "red", "tag: '"+P+"red', targetKind: port, target: '"+P+"p'"))
	w.create(admin, w.mine(api.KindRouterInterface, "beside", "router: '"+P+"r', subnet: '"+P+"n:beside'"))
	if b := w.Latest().Lookup(api.KindTagBinding, named(P+"web")).(*api.TagBinding); b.Spec.TagType != api.TagTier || b.Spec.TagProject == "" {
		t.Errorf("the type of the bound tag is %q, its project %q", b.Spec.TagType, b.Spec.TagProject)
	}
}

// A floating-ip moves, and an address becomes free and is used, in one
// transaction each.
func TestRelationsMoveInOneTransaction(t *testing.T) {
	w := newWorld(t)
	w.plant()
	const P = inProject
	w.create(admin,
		w.mine(api.KindFloatingIP, "f", "pool: '"+P+"pool', address: '"+P+"n:free'"),
		w.mine(api.KindFloatingIPAssociation, "a", "floatingIP: '"+P+"f', port: '"+P+"p', address: '"+P+"n:held'"))
	_, err := w.Commit(t.Context(), admin, []api.Operation{
		{Op: api.OpDelete, Object: w.mine(api.KindFloatingIPAssociation, "a", "")},
		{Op: api.OpUpdate, Object: address("held", named(P+"n"), "10.0.0.7")},
		{Op: api.OpCreate, Object: w.mine(api.KindFloatingIPAssociation, "b", "floatingIP: '"+P+"f', port: '"+P+"q'")},
		{Op: api.OpUpdate, Object: w.mine(api.KindLoadBalancer, "lb", "addresses: ['"+P+"n:held']")},
	}, CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	grouped := w.mine(api.KindPort, "g", "network: '"+P+"n', securityGroups: ['"+P+"g']")
	w.create(admin, grouped)
	w.refused(api.CodeConflict, "cannot change while port", admin, api.OpUpdate, w.mine(api.KindSecurityGroup, "g", "stateless: true"))
	w.remove(admin, grouped)
	w.update(admin, w.mine(api.KindSecurityGroup, "g", "stateless: true"))
}

// Relations between objects of two owners need a share with the verb.
func TestRelationsAcrossOwnersNeedShares(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net, sub := named("blue-own:p:n"), named("blue-own:p:n:s")
	w.create(blue, network("n", projectOf(blue)), subnet("s", "10.0.0.0/24", net), port("p", projectOf(blue), net),
		object(t, api.KindSecurityGroup, "g", "blue-own:p", ""), object(t, api.KindRouteTarget, "rt", "blue-own:p", "target: '64512:1'"),
		object(t, api.KindTag, "web", "blue-own:p", "type: tier, value: web"), object(t, api.KindTrunk, "t", "blue-own:p", "port: 'blue-own:p:p'"))
	w.create(green, network("n", projectOf(green)), port("p", projectOf(green), named("green-own:p:n")), object(t, api.KindRouter, "r", "green-own:p", ""))
	for _, c := range []struct {
		verb   api.Verb
		kind   api.Kind
		target string
		object api.Object
	}{
		{api.VerbRoute, api.KindSubnet, sub.Name, object(t, api.KindRouterInterface, "x", "green-own:p", "router: 'green-own:p:r', subnet: '"+sub.Name+"'")},
		{api.VerbRoute, api.KindRouteTarget, "blue-own:p:rt", object(t, api.KindNetwork, "x", "green-own:p", "importTargets: ['blue-own:p:rt']")},
		{api.VerbAttach, api.KindSecurityGroup, "blue-own:p:g", object(t, api.KindPort, "x", "green-own:p", "network: 'green-own:p:n', securityGroups: ['blue-own:p:g']")},
		{api.VerbSee, api.KindTag, "blue-own:p:web", object(t, api.KindFirewallRule, "x", "green-own:p", "action: pass, source: {tags: ['blue-own:p:web']}")},
		{api.VerbAttach, api.KindTrunk, "blue-own:p:t", object(t, api.KindSubPort, "x", "blue-own:p:t", "vlan: 5, port: 'green-own:p:p'")},
		{api.VerbEdit, api.KindPort, "blue-own:p:p", object(t, api.KindMirror, "x", "green-own:p", "ports: ['blue-own:p:p'], to: {address: 192.0.2.9}")},
		{api.VerbSee, api.KindNetwork, net.Name, documentAbout(t, net.Name)},
	} {
		w.refused(api.CodeInvalid, "not shared with these credentials", green, api.OpCreate, c.object)
		if c.verb != api.VerbSee {
			seen := share("seen", projectOf(blue), c.kind, named(c.target), api.GranteeAll, api.Ref{}, api.VerbSee)
			w.create(blue, seen)
			w.refused(api.CodeForbidden, "with verb "+string(c.verb), green, api.OpCreate, c.object)
			w.remove(blue, seen)
		}
		s := share("s", projectOf(blue), c.kind, named(c.target), api.GranteeAll, api.Ref{}, c.verb)
		w.create(blue, s)
		w.create(green, c.object)
		w.refused(api.CodeConflict, "still refer to it", blue, api.OpDelete, s)
		w.remove(green, c.object)
		w.remove(blue, s)
	}
	w.refused(api.CodeForbidden, "only Weft's administrators", blue, api.OpCreate, object(t, api.KindApplicationPolicySet, "x", "blue-own:p", "scope: global"))
	w.refused(api.CodeForbidden, "only Weft's administrators", blue, api.OpCreate, object(t, api.KindSwitch, "x", "", "role: leaf"))
}

// A document is found by what its owner indexed it by, and kept as it is.
func TestForeignDocumentsAreFound(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	share := share("s", projectOf(blue), api.KindNetwork, named("blue-own:p:n"), api.GranteeAll, api.Ref{}, api.VerbSee)
	w.create(blue, network("n", projectOf(blue)), share)
	d := w.create(green, documentAbout(t, "blue-own:p:n"))
	s := w.Latest().(*Snapshot)
	if got := s.Documents("green", "a", "b"); len(got) != 1 || string(got[0].Spec.Body) != `{"any":[1,2]}` {
		t.Errorf("documents of green with a=b: %v", got)
	}
	if len(s.Documents("blue", "a", "b")) != 0 || len(s.Documents("green", "a", "c")) != 0 {
		t.Error("a document of another owner or entry was found")
	}
	if o := s.Foreign("green", "thing", "7"); o == nil || o.Head().Meta.UUID != d.Head().Meta.UUID || s.Foreign("blue", "thing", "7") != nil {
		t.Errorf("green's thing 7 is %v", o)
	}
	changed := documentAbout(t, "blue-own:p:n").(*api.ForeignDocument)
	changed.Spec.Index = map[string]string{"a": "c"}
	w.update(green, changed)
	if s := w.Latest().(*Snapshot); len(s.Documents("green", "a", "b")) != 0 || len(s.Documents("green", "a", "c")) != 1 {
		t.Error("the index did not follow")
	}
	w.refused(api.CodeNotFound, "not shared with these credentials", blue, api.OpUpdate, changed)
}

func documentAbout(t *testing.T, network string) api.Object {
	d := object(t, api.KindForeignDocument, "x", "green-own:p", "targetKind: network, target: '"+network+"', index: {a: b}, body: {any: [1, 2]}")
	d.Head().Meta.Foreign = &api.Foreign{Kind: "thing", ID: "7"}
	return d
}

// Hosts route what a network in the underlay has as its range to its
// workloads. A tenant could take anybody's address so.
func TestTenantsBringNothingIntoTheUnderlay(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	tenant := blue
	tenant.Name, tenant.Scope = "tenant", &api.Scope{Projects: []api.Ref{api.RefTo(w.Latest().Lookup(api.KindProject, named("blue-own:p")))}}
	fabric := func(name string) *api.Network {
		n := network(name, projectOf(blue))
		n.Spec.Encapsulation = []string{api.EncapsulationNone}
		return n
	}
	visible := network("visible", projectOf(blue))
	visible.Spec.HostVisible = true
	w.refused(api.CodeForbidden, "hosts' own routing", tenant, api.OpCreate, fabric("f"))
	w.refused(api.CodeForbidden, "hosts' own routing", tenant, api.OpCreate, visible)

	w.create(tenant, network("f", projectOf(blue)), subnet("s", "10.0.0.0/24", api.Ref{Name: "blue-own:p:f"}))
	w.refused(api.CodeForbidden, "hosts' own routing", tenant, api.OpUpdate, fabric("f"))
	w.update(blue, fabric("f"))
	w.refused(api.CodeForbidden, "hosts' own routing", tenant, api.OpCreate, subnet("more", "192.0.2.0/24", api.Ref{Name: "blue-own:p:f"}))
	described := fabric("f")
	described.Meta.Description = "the tenant may still say this"
	w.update(tenant, described)
	w.create(blue, subnet("more", "192.0.2.0/24", api.Ref{Name: "blue-own:p:f"}))
}

// A segment is a way into the physical network: only Weft's administrators give
// their networks one.
func TestOnlyAdministratorsWriteSegments(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	at := func(parent api.Ref, vlan int) *api.Network {
		n := network("n", parent)
		n.Spec.External = true
		if vlan != 0 {
			n.Spec.Segments = []api.Segment{{Type: "vlan", PhysicalNetwork: "lab", VLAN: vlan}}
		}
		return n
	}
	const why = "only Weft's administrators"
	w.refused(api.CodeForbidden, why, blue, api.OpCreate, at(projectOf(blue), 100))
	w.create(blue, at(projectOf(blue), 0))
	w.refused(api.CodeForbidden, why, blue, api.OpUpdate, at(projectOf(blue), 100))
	w.create(admin, at(project, 100))
	w.update(admin, at(project, 101))
}

// A label of a gateway outside leads into whatever network the gateway means by
// it, and its address may send into the network that names the route: only Weft's
// administrators say so, and others use what they share.
func TestOnlyAdministratorsRouteByTunnels(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	table := func(name string, parent api.Ref, tunnel bool) *api.RouteTable {
		r := &api.RouteTable{Header: head(api.KindRouteTable, name, parent)}
		r.Spec.Routes = []api.StaticRoute{{Prefix: netip.MustParsePrefix("10.8.0.0/16"), Discard: true}}
		if tunnel {
			r.Spec.Routes = append(r.Spec.Routes, api.StaticRoute{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Tunnel: &api.StaticTunnel{Address: netip.MustParseAddr("192.0.2.99"), Label: 17}})
		}
		return r
	}
	narrowed, reader := admin, admin
	narrowed.Name, narrowed.Scope = "narrowed", &api.Scope{Projects: []api.Ref{api.RefTo(w.Latest().Lookup(api.KindProject, project))}}
	reader.Role = api.RoleMember
	const why = "only Weft's administrators"
	w.refused(api.CodeForbidden, why, blue, api.OpCreate, table("wan", projectOf(blue), true))
	w.refused(api.CodeForbidden, why, narrowed, api.OpCreate, table("wan", project, true))
	w.refused(api.CodeForbidden, why, reader, api.OpCreate, table("wan", project, true))
	w.create(blue, table("own", projectOf(blue), false))
	w.refused(api.CodeForbidden, why, blue, api.OpUpdate, table("own", projectOf(blue), true))

	w.create(admin, table("wan", project, true))
	n := network("n", projectOf(blue))
	n.Spec.RouteTables = []api.Ref{{Name: project.Name + ":wan"}}
	w.refused(api.CodeInvalid, "not shared", blue, api.OpCreate, n)
	w.create(admin, share("wan", project, api.KindRouteTable, named(project.Name+":wan"), api.KindOrchestrator, named("blue"), api.VerbAttach))
	w.create(blue, n)
}
