// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"

	"github.com/weft-network/weft/api"
)

// scopes makes two address-scopes of blue's, with a pool in the first, and a
// network.
func (w *world) scopes() {
	w.t.Helper()
	w.orchestrators()
	w.create(blue, w.scope("campus", "IPv4"), w.scope("lab", "IPv4"), w.scope("campus6", "IPv6"),
		w.pool("north", "prefixes: [10.0.0.0/16], addressScope: 'blue-own:p:campus'"),
		w.pool("north6", "prefixes: ['2001:db8::/48'], addressScope: 'blue-own:p:campus6'"),
		network("n", projectOf(blue)), network("m", projectOf(blue)))
}

func (w *world) scope(name, family string) api.Object {
	return object(w.t, api.KindAddressScope, name, "blue-own:p", "family: "+family)
}

func (w *world) pool(name, spec string) api.Object {
	return object(w.t, api.KindSubnetPool, name, "blue-own:p", spec)
}

// from is a subnet of a pool, or of none.
func from(name, network, pool, cidr string) *api.Subnet {
	s := &api.Subnet{Header: head(api.KindSubnet, name, named("blue-own:p:"+network))}
	if pool != "" {
		s.Spec.SubnetPool = named("blue-own:p:" + pool)
	}
	if cidr != "" {
		s = subnet(name, cidr, s.Meta.Parent)
	}
	return s
}

// Pools of one scope have no address in common; those of others may.
func TestPoolsOfAScopeDoNotOverlap(t *testing.T) {
	w := newWorld(t)
	w.scopes()
	in := func(scope string) string { return ", addressScope: 'blue-own:p:" + scope + "'" }
	e := w.refused(api.CodeConflict, "10.0.8.0/24 overlaps with 10.0.0.0/16", blue, api.OpCreate, w.pool("south", "prefixes: [10.1.0.0/16, 10.0.8.0/24]"+in("campus")))
	if e.Field != "spec.prefixes" {
		t.Errorf("field %s", e.Field)
	}
	w.refused(api.CodeInvalid, "is of IPv6", blue, api.OpCreate, w.pool("south", "prefixes: [10.1.0.0/16]"+in("campus6")))
	w.create(blue, w.pool("other", "prefixes: [10.0.0.0/16]"+in("lab")), w.pool("none", "prefixes: [10.0.0.0/16]"))
	w.create(blue, w.pool("south", "prefixes: [10.1.0.0/16]"+in("campus")))
	w.refused(api.CodeConflict, "overlaps", blue, api.OpUpdate, w.pool("south", "prefixes: [10.1.0.0/16, 10.0.8.0/24]"+in("campus")))
	w.refused(api.CodeConflict, "overlaps", blue, api.OpUpdate, w.pool("none", "prefixes: [10.0.0.0/16]"+in("campus")))
	w.refused(api.CodeConflict, "refer", blue, api.OpDelete, w.scope("campus", "IPv4"))
	w.refused(api.CodeInvalid, "spec.family", blue, api.OpUpdate, w.scope("lab", "IPv6"))
	// Two in one transaction are seen too.
	w.refused(api.CodeConflict, "overlaps", blue, api.OpCreate, w.pool("x", "prefixes: [10.5.0.0/16]"+in("campus")), w.pool("y", "prefixes: [10.5.1.0/24]"+in("campus")))
	// Another owner's scope needs a share.
	theirs := object(t, api.KindSubnetPool, "g", "green-own:p", "prefixes: [10.9.0.0/16]"+in("campus"))
	w.refused(api.CodeInvalid, "there is no address-scope", green, api.OpCreate, theirs)
	w.create(blue, share("s", projectOf(blue), api.KindAddressScope, named("blue-own:p:campus"), api.GranteeAll, api.Ref{}, api.VerbAttach))
	w.create(green, theirs)
}

// A network's subnets of one family are of one scope, or of none.
func TestSubnetsOfANetworkAreOfOneScope(t *testing.T) {
	w := newWorld(t)
	w.scopes()
	w.create(blue, w.pool("south", "prefixes: [10.1.0.0/16], addressScope: 'blue-own:p:campus'"),
		w.pool("lab", "prefixes: [10.8.0.0/16], addressScope: 'blue-own:p:lab'"), w.pool("free", "prefixes: [10.16.0.0/16]"))
	w.create(blue, from("a", "n", "north", ""), from("b", "n", "south", ""), from("six", "n", "north6", ""))
	w.refused(api.CodeConflict, "address-scope blue-own:p:lab", blue, api.OpCreate, from("c", "n", "lab", ""))
	w.refused(api.CodeConflict, "no address-scope", blue, api.OpCreate, from("c", "n", "free", ""))
	w.refused(api.CodeConflict, "no address-scope", blue, api.OpCreate, from("c", "n", "", "192.0.2.0/24"))
	w.create(blue, from("d", "m", "free", ""), from("e", "m", "", "192.0.2.0/24"))
	w.refused(api.CodeConflict, "address-scope blue-own:p:campus", blue, api.OpCreate, from("f", "m", "north", ""))
	// A pool stays in its scope while subnets are from it.
	e := w.refused(api.CodeConflict, "uses it", blue, api.OpUpdate, w.pool("free", "prefixes: [10.16.0.0/16], addressScope: 'blue-own:p:lab'"))
	if e.Field != "spec.addressScope" {
		t.Errorf("field %s", e.Field)
	}
	w.remove(blue, from("d", "m", "", ""))
	w.update(blue, w.pool("free", "prefixes: [10.16.0.0/16], addressScope: 'blue-own:p:lab'"))
}

// Pairs of writes of which only one may commit, in either order.
func TestPairsOfScopesThatExcludeEachOther(t *testing.T) {
	w := newWorld(t)
	w.scopes()
	w.create(blue, w.pool("lab", "prefixes: [10.8.0.0/16], addressScope: 'blue-own:p:lab'"), w.pool("free", "prefixes: [10.16.0.0/16]"))
	w.create(blue, from("e", "m", "", "192.0.2.0/24"))
	in := ", addressScope: 'blue-own:p:campus'"
	for _, c := range []struct {
		name string
		a, b write
	}{
		{"two pools that overlap", write{blue, api.OpCreate, w.pool("x", "prefixes: [10.5.0.0/16]"+in)}, write{blue, api.OpCreate, w.pool("y", "prefixes: [10.5.1.0/24]"+in)}},
		{"a pool and one that comes into its scope", write{blue, api.OpCreate, w.pool("x", "prefixes: [10.16.1.0/24]"+in)}, write{blue, api.OpUpdate, w.pool("free", "prefixes: [10.16.0.0/16]"+in)}},
		{"subnets of two scopes", write{blue, api.OpCreate, from("x", "n", "north", "")}, write{blue, api.OpCreate, from("y", "n", "lab", "")}},
		{"a subnet and its pool's scope", write{blue, api.OpCreate, from("x", "m", "free", "")}, write{blue, api.OpUpdate, w.pool("free", "prefixes: [10.16.0.0/16]"+in)}},
	} {
		for order, pair := range [][2]write{{c.a, c.b}, {c.b, c.a}} {
			w.exclude(c.name, order, pair)
		}
	}
}
