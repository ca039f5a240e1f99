// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/maglev"
)

var (
	virtual     = netip.MustParseAddr("10.96.0.10")
	virtual6    = netip.MustParseAddr("fd00:96::10")
	theBalancer = desired.BalancerKey{VRF: 7, ID: "lb"}
)

// balancedBy is what this host, with ports a and b, makes of a pool with a, b and
// c, which is at h2.
func balancedBy(change func(l *desired.Listener, members map[string]*desired.Member)) datapath.Tables {
	return balancedIf(true, change)
}

// balancedIf is the same of a host that serves virtual addresses, or does not.
func balancedIf(balances bool, change func(l *desired.Listener, members map[string]*desired.Member)) datapath.Tables {
	rows := rowsOf(four)
	attached := map[string]datapath.Attachment{"a": {Ifindex: 3}, "b": {Ifindex: 4}}
	l := desired.Listener{Name: "d:p:http", Addresses: []netip.Addr{virtual}, Protocol: 6, Port: 80, Pool: "p", Locality: "any"}
	members := map[string]*desired.Member{}
	for i, id := range []string{"a", "b", "c"} {
		m := desired.Member{Name: id, Pool: "p", Port: id, Host: "here", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 5)})}, Target: 8080, MAC: [6]byte{10, 0, 0, 0, 0, byte(i)}, State: desired.MemberActive, Weight: 1, Workload: 9}
		if id == "c" {
			m.Host = "h2"
		} else {
			rows.Ports[id] = desired.Port{ID: id, VRF: 30}
		}
		members[id] = &m
	}
	change(&l, members)
	b := &desired.Balancer{Listeners: map[string]desired.Listener{"i": l}, Members: map[string]desired.Member{}}
	for id, m := range members {
		b.Members[id] = *m
	}
	rows.Balancers = map[desired.BalancerKey]*desired.Balancer{theBalancer: b}
	for _, a := range []netip.Addr{virtual, virtual6} {
		rows.Routes[desired.RouteKey{VRF: 7, Prefix: netip.PrefixFrom(a, a.BitLen())}] = desired.Route{Balancer: 7, Proxied: true}
	}
	return datapath.Compute(rows, attached, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{Balances: balances})
}

// A host that does not serve virtual addresses has nobody behind them: it neither
// answers for them nor refuses what is for them, whatever its rows say.
func TestHostThatDoesNotBalance(t *testing.T) {
	for balances, want := range map[bool]vrouter.NextHop{true: {Kind: vrouter.NextHopBalancer, VNI: 7}, false: {Kind: vrouter.NextHopNone}} {
		got := balancedIf(balances, func(*desired.Listener, map[string]*desired.Member) {})
		for _, a := range []netip.Addr{virtual, virtual6} {
			prefix := netip.PrefixFrom(a, a.BitLen())
			why := got.Problems[desired.RouteRow(desired.RouteKey{VRF: 7, Prefix: prefix})]
			if r := got.Routes[vrouter.RouteKey{VRF: 7, Prefix: prefix}]; r.NextHop != want || why != "" {
				t.Errorf("balances %t: %v leads to %+v, want %+v; problem %q", balances, a, r.NextHop, want, why)
			}
		}
		if has := len(got.Balanced.Of) > 0; has != balances {
			t.Errorf("balances %t: tables of load-balancers %t", balances, has)
		}
	}
}

// Who gets new conversations, from this host.
func TestWhoIsChosen(t *testing.T) {
	type of = map[string]*desired.Member
	for _, c := range []struct {
		what   string
		change func(l *desired.Listener, m of)
		want   string
	}{
		{"all alike", func(*desired.Listener, of) {}, "a 341, b 340, c 340"},
		{"weights", func(_ *desired.Listener, m of) { m["a"].Weight = 2; m["b"].Weight = 0 }, "a 681, c 340"},
		{"one is drained", func(_ *desired.Listener, m of) { m["a"].State = desired.MemberDraining }, "b 511, c 510"},
		{"one is down", func(_ *desired.Listener, m of) { m["c"].State = desired.MemberDown }, "a 511, b 510"},
		{"a backup waits", func(_ *desired.Listener, m of) { m["a"].Backup = true }, "b 511, c 510"},
		{"and serves when no other can", func(_ *desired.Listener, m of) {
			m["a"].Backup, m["b"].State, m["c"].State = true, desired.MemberDown, desired.MemberDraining
		}, "a 1021"},
		{"those that are drained when nobody else is there", func(_ *desired.Listener, m of) {
			m["a"].State, m["b"].State, m["c"].State = desired.MemberDown, desired.MemberDown, desired.MemberDraining
		}, "c 1021"},
		{"nobody", func(_ *desired.Listener, m of) {
			m["a"].State, m["b"].State, m["c"].State = desired.MemberDown, desired.MemberDown, desired.MemberDown
		}, ""},
		{"this host's only", func(l *desired.Listener, _ of) { l.Locality = "only-host" }, "a 511, b 510"},
		{"this host's only, and none is", func(l *desired.Listener, m of) {
			l.Locality = "only-host"
			m["a"].State, m["b"].State = desired.MemberDown, desired.MemberDown
		}, ""},
		{"this host's first", func(l *desired.Listener, m of) { l.Locality, m["b"].State = "prefer-host", desired.MemberDown }, "a 1021"},
		{"this host's first, and none is active", func(l *desired.Listener, m of) {
			l.Locality = "prefer-host"
			m["a"].State, m["b"].State = desired.MemberDown, desired.MemberDraining
		}, "c 1021"},
		{"one is on a host that is not known", func(_ *desired.Listener, m of) { m["c"].Host = "nowhere" }, "a 511, b 510"},
		{"one is not plugged", func(_ *desired.Listener, m of) { m["b"].Port = "unplugged" }, "a 511, c 510"},
		{"no pool", func(l *desired.Listener, _ of) { l.Pool = "" }, ""},
	} {
		tables := balancedBy(c.change)
		l, there := tables.Balanced.Of[theBalancer].Listeners[vrouter.ListenerKey{VRF: 7, Address: virtual, Protocol: 6, Port: 80}]
		choice := tables.Balanced.Of[theBalancer].Choices[l.Choice]
		got := ""
		if l.Choice != "" {
			got = bucketsOf(&choice)
		}
		if !there || shares(got) != shares(c.want) {
			t.Errorf("%s: %q, want %q (problems %v)", c.what, got, c.want, tables.Problems)
		}
	}
}

// bucketsOf says who has how many, by key.
func bucketsOf(c *datapath.Choice) string {
	of := map[string]int{}
	for _, number := range c.Fill().Buckets {
		if number != maglev.None {
			of[c.Members[number].Key]++
		}
	}
	var words []string
	for _, key := range slices.Sorted(maps.Keys(of)) {
		words = append(words, fmt.Sprintf("%s %d", key, of[key]))
	}
	return strings.Join(words, ", ")
}

// shares forgets who has the bucket that is left over.
func shares(text string) string {
	var words []string
	for _, word := range strings.Split(text, ", ") {
		var name string
		var n int
		if _, err := fmt.Sscan(word, &name, &n); err == nil {
			words = append(words, fmt.Sprintf("%s %d", name, (n+2)/10))
		}
	}
	return strings.Join(words, ", ")
}

// Each member has its place; those here have a mapping, which is the same whatever
// becomes of the others.
func TestMappings(t *testing.T) {
	first := balancedBy(func(*desired.Listener, map[string]*desired.Member) {})
	drained := balancedBy(func(_ *desired.Listener, m map[string]*desired.Member) {
		m["a"].State = desired.MemberDraining
		delete(m, "c")
	})
	key := func(n byte) vrouter.PoolMemberKey {
		return vrouter.PoolMemberKey{ListenerKey: vrouter.ListenerKey{VRF: 7, Address: virtual, Protocol: 6, Port: 80}, MAC: vrouter.MAC{10, 0, 0, 0, 0, n}}
	}
	a, c := first.Balanced.Of[theBalancer].Members[key(0)], first.Balanced.Of[theBalancer].Members[key(2)]
	if a.NextHop.Kind != vrouter.NextHopPort || a.Mapping == 0 || !a.Chosen || a.Identity != 9 {
		t.Errorf("the member here is %+v", a)
	}
	if c.NextHop.Kind != vrouter.NextHopTunnel || c.NextHop.VNI != 7 || c.Mapping != 0 || c.Internal != netip.MustParseAddrPort("10.0.0.7:8080") {
		t.Errorf("the member elsewhere is %+v", c)
	}
	want := vrouter.Mapping{Ifindex: 3, VRF: 7, Protocol: 6, External: netip.AddrPortFrom(virtual, 80), Internal: netip.MustParseAddrPort("10.0.0.5:8080")}
	if got := first.Balanced.Of[theBalancer].Mappings[a.Mapping]; got != want || len(first.Balanced.Of[theBalancer].Mappings) != 2 {
		t.Errorf("the mapping is %+v of %d", got, len(first.Balanced.Of[theBalancer].Mappings))
	}
	if after := drained.Balanced.Of[theBalancer].Members[key(0)]; after.Mapping != a.Mapping || after.Chosen {
		t.Errorf("once drained it is %+v", after)
	}
	if _, there := drained.Balanced.Of[theBalancer].Members[key(2)]; there {
		t.Error("the member that is gone is still there")
	}
	if hop := first.Routes[vrouter.RouteKey{VRF: 7, Prefix: netip.PrefixFrom(virtual, 32)}].NextHop; hop.Kind != vrouter.NextHopBalancer || hop.VNI != 7 {
		t.Errorf("the route leads to %+v", hop)
	}
}

func TestSCTPIsNotMapped(t *testing.T) {
	tables := balancedBy(func(l *desired.Listener, m map[string]*desired.Member) {
		l.Protocol = 132
		m["a"].Target = 80
	})
	if problem := tables.Problems["listener/7/lb/i"]; len(tables.Balanced.Of[theBalancer].Members) != 1 || !strings.Contains(problem, "target port 80") {
		t.Errorf("%d members serve: %q", len(tables.Balanced.Of[theBalancer].Members), problem)
	}
}

// many is load-balancers of ten members each, on hosts that are known.
func many(balancers int) desired.Rows {
	rows := rowsOf(four)
	rows.Balancers = map[desired.BalancerKey]*desired.Balancer{}
	for i := range balancers {
		rows.Balancers[desired.BalancerKey{VRF: 7, ID: fmt.Sprintf("lb-%d", i)}] = balancerOf(i, 1)
	}
	return rows
}

func balancerOf(i int, weight uint32) *desired.Balancer {
	b := &desired.Balancer{Members: map[string]desired.Member{}, Listeners: map[string]desired.Listener{
		"i": {Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}, Protocol: 6, Port: 80, Pool: "p"},
	}}
	for m := range 10 {
		b.Members[fmt.Sprintf("m-%d-%d", i, m)] = desired.Member{
			Pool: "p", Port: "elsewhere", Host: "h2", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i), byte(m)})}, Target: 8080, MAC: [6]byte{10, byte(m)}, State: desired.MemberActive, Weight: weight,
		}
	}
	return b
}

// What is known of before never shows, whatever changes.
func TestEarlierTablesNeverShow(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 8))
	rows, attached, underlay := many(5), map[string]datapath.Attachment{}, datapath.Underlay{IPv4: here4, MTU: 1500}
	var earlier datapath.Balanced
	for step := range 300 {
		key := desired.BalancerKey{VRF: 7, ID: fmt.Sprintf("lb-%d", r.IntN(5))}
		switch r.IntN(7) {
		case 0:
			delete(rows.Balancers, key)
		case 1, 2:
			rows.Balancers[key] = balancerOf(r.IntN(9), r.Uint32N(3))
		case 3:
			rows.Ports["elsewhere"] = desired.Port{ID: "elsewhere", VRF: 7}
		case 4:
			delete(rows.Ports, "elsewhere")
		case 5:
			attached["elsewhere"] = datapath.Attachment{Ifindex: 1 + r.IntN(2)}
		case 6:
			underlay.MTU = 1500 + r.IntN(2)*100
		}
		got, want := datapath.ComputeAfter(earlier, rows, attached, underlay, datapath.Local{Balances: true}), datapath.Compute(rows, attached, underlay, datapath.Local{Balances: true})
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d step %d: with what was known\n%+v\nwithout\n%+v", seed, step, got, want)
		}
		earlier = got.Balanced
	}
}

// BenchmarkBalanced is what a host makes of all rows, and of one member that
// changed.
func BenchmarkBalanced(b *testing.B) {
	for _, balancers := range []int{1000, 10_000} {
		rows, underlay := many(balancers), datapath.Underlay{IPv4: here4, MTU: 1500}
		b.Run(fmt.Sprintf("%d-load-balancers/all", balancers), func(b *testing.B) {
			for b.Loop() {
				datapath.Compute(rows, nil, underlay, datapath.Local{Balances: true})
			}
		})
		earlier := datapath.Compute(rows, nil, underlay, datapath.Local{Balances: true}).Balanced
		b.Run(fmt.Sprintf("%d-load-balancers/one", balancers), func(b *testing.B) {
			n := uint32(1)
			for b.Loop() {
				n++
				rows.Balancers[desired.BalancerKey{VRF: 7, ID: "lb-5"}] = balancerOf(5, n%100)
				earlier = datapath.ComputeAfter(earlier, rows, nil, underlay, datapath.Local{Balances: true}).Balanced
			}
		})
	}
}
