// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
	"github.com/weft-network/weft/vrouter/rules"
)

// place is an address of a test's networks, in a family: x and y say in which prefix of
// 16 and 24 bits, or of IPv6 48 and 64.
func place(family, x, y, z int) netip.Addr {
	if family == 4 {
		return netip.AddrFrom4([4]byte{10, byte(x), byte(y), byte(z)})
	}
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 5: byte(x), 7: byte(y), 15: byte(z)})
}

// within is the prefix around a place that would be so long in IPv4.
func within(family, x, y, z, bits int) netip.Prefix {
	if family == 6 {
		bits = map[bool]int{true: bits + 96, false: 2*bits + 16}[bits > 24]
	}
	return netip.PrefixFrom(place(family, x, y, z), bits).Masked()
}

// randomBeside makes ports of two joined networks, with pairs, what lies behind them and
// subnets of whose addresses they may take some, and rules that name ranges about these.
func randomBeside(r *rand.Rand) *world.World {
	w := world.New("host h1 192.0.2.1\npolicy mesh any any")
	for n := range 2 {
		w.Do(fmt.Sprintf("network n%d %d\nsubnet n%d 10.%d.0.0/24\nsubnet n%d %v\nattach mesh n%d", n, n+1, n, n, n, within(6, n, 0, 0, 24), n))
		if r.IntN(2) == 0 {
			w.Do(fmt.Sprintf("slaac n%d %v", n, within(6, n, 0, 0, 24)))
		}
	}
	for i := range 5 {
		n := i % 2
		w.Do(fmt.Sprintf("port n%d p%d\naddress n%d 10.%d.0.%d p%d\naddress n%d %v p%d\nbind p%d h1", n, i, n, n, 5+i, i, n, place(6, n, 0, 5+i), i, i))
		w.Do(fmt.Sprintf("security-group g%d\nallow g%d out egress IPv4 udp/%d\nallow g%d out6 egress IPv6 udp/%d", i, i, 1+r.IntN(3), i, 1+r.IntN(3)))
		for rule := range 6 {
			family := 4 + rule%2*2
			direction := []string{"ingress", "egress"}[r.IntN(2)]
			remote := within(family, r.IntN(4), r.IntN(2), r.IntN(4)*64, 25+r.IntN(8)).String()
			switch r.IntN(4) {
			case 0:
				remote = fmt.Sprintf("group=g%d", r.IntN(5))
			case 1:
				remote = ""
			}
			w.Do(fmt.Sprintf("allow g%d r%d %s IPv%d udp/%d %s", i, rule, direction, family, 1+r.IntN(3), remote))
		}
		w.Do(fmt.Sprintf("secured p%d g%d", i, i))
		family := 4 + r.IntN(2)*2
		mac := []string{"", " 02:00:00:00:00:01"}[r.IntN(2)]
		one := netip.PrefixFrom(place(family, n, 0, 128+i), place(family, n, 0, 0).BitLen())
		pair := fmt.Sprintf("pair p%d %v shared%s", i, within(family, r.IntN(4), r.IntN(2), 0, 24+r.IntN(3)), mac)
		behind := fmt.Sprintf("table t%d %v - %v -\ntable-port p%d t%d", i, within(family, r.IntN(4), 0, 0, 14+r.IntN(12)), within(family, 2, 0, 0, 24), i, i)
		if r.IntN(3) == 0 {
			behind += fmt.Sprintf("\nhealth-check c icmp withdraw\ncheck p%d c\nwithdraw p%d", i, i)
		}
		switch r.IntN(6) {
		case 0:
			w.Do(pair)
		case 1:
			w.Do(fmt.Sprintf("pair p%d %v%s\nspeak p%d %v 1%s", i, one, mac, i, one.Addr(), mac))
		case 2:
			w.Do(fmt.Sprintf("pair p%d %v%s", i, within(family, n, 0, 64*r.IntN(4), 26), mac))
		case 3:
			w.Do(behind)
		case 4:
			w.Do(pair + "\n" + behind)
		}
	}
	return w
}

// lasting is one of the prefixes that a host lets a port send from, see the agent's.
type lasting struct {
	mac           api.MAC
	prefix        netip.Prefix
	behind, asked bool
}

// prefixesOf are those: what is in a pair of the port's own MAC besides is left out.
func prefixesOf(m *Model, p *routing.Port) (all []lasting) {
	add := func(l lasting) {
		for _, o := range all {
			if o.mac == l.mac && o.prefix.Overlaps(l.prefix) && o.prefix.Bits() <= l.prefix.Bits() && (!o.behind && !o.asked || o.prefix == l.prefix) {
				return
			}
		}
		all = append(all, l)
	}
	for _, pair := range p.Pairs {
		all = append(all, lasting{pair.MAC, pair.Range, false, false})
	}
	for _, source := range p.Sources {
		add(lasting{p.MAC, source, true, false})
	}
	for _, s := range m.routing.Network(p.Network.Ref.UUID).Subnets {
		if s.Services.Mode() == api.ModeSLAAC && s.CIDR.Addr().Is6() {
			add(lasting{p.MAC, s.CIDR, false, true}) // each port here has an address in each subnet
		}
	}
	return all
}

// maySend is doc/packet-path.md, spoof, for a port that is checked: with some MAC, the
// longest prefix of which decides alone.
func maySend(m *Model, p *routing.Port, a netip.Addr) bool {
	if slices.Contains(addresses(p), a) {
		return true
	}
	longest := map[api.MAC]lasting{}
	for _, l := range prefixesOf(m, p) {
		if was, is := longest[l.mac]; l.prefix.Contains(a) && (!is || l.prefix.Bits() > was.prefix.Bits()) {
			longest[l.mac] = l
		}
	}
	for _, l := range longest {
		r := m.table(p.Network.Ref.UUID).find(a)
		if !l.asked && (!l.behind || r != nil && r.Prefix.Bits() == l.prefix.Bits()) {
			return true
		}
	}
	return false
}

// spoken is what is so once ports, each before its address if it is to have one, have
// spoken for these, by the MAC by which they may.
func spoken(w *world.World, all ...any) *Model {
	for i := 0; i < len(all); i += 2 {
		p, a := all[i].(*routing.Port), all[i+1].(netip.Addr)
		if !a.IsValid() {
			continue
		}
		words := fmt.Sprintf("speak %s %v %d", p.Ref.Name[len("d:p:"):], a, 90+i)
		for _, pair := range p.Pairs {
			if pair.Standby && pair.Range.Contains(a) {
				words += " " + string(pair.MAC)
				break
			}
		}
		before := w.Get(api.KindPort, p.Ref.UUID)
		defer w.SetStatus(before)
		w.Do(words)
	}
	return New(policy.Derive(routing.Derive(w)))
}

// pairOf are two ports in a state, and what the one may say to the other.
type pairOf struct {
	*Model
	from, to *routing.Port
	known    [2]rules.Set // by family
	ways     []Way
	own      [2]rules.Set // by their own addresses
}

func (m *Model) pairOf(t *testing.T, from, to *routing.Port) pairOf {
	t.Helper()
	own, _, err := m.Between(from, to)
	if err != nil {
		t.Fatal(err)
	}
	more, err := m.Beside(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	ways := append(slices.Clone(own), more...)
	return pairOf{m, from, to, unionOf(ways), ways, unionOf(own)}
}

// passes is what the rules of both ends pass from an address to another.
func (p pairOf) passes(t *testing.T, a, b netip.Addr) rules.Set {
	t.Helper()
	egress, err := p.endOf(p.from.Ref.UUID, policy.Egress)
	if err != nil {
		t.Fatal(err)
	}
	ingress, err := p.endOf(p.to.Ref.UUID, policy.Ingress)
	if err != nil {
		t.Fatal(err)
	}
	return rules.Allowed(egress.End, ingress.End, p.peer(p.to.Network.Ref.UUID, a), p.peer(p.from.Network.Ref.UUID, b))
}

func (p pairOf) leads(b netip.Addr) bool {
	route := p.table(p.from.Network.Ref.UUID).find(b)
	return route != nil && route.leadsTo(p.to)
}

// has tells whether a way is one in this state.
func (p pairOf) has(t *testing.T, w *Way) bool {
	t.Helper()
	a, b := w.From.Address, w.To.Address
	passes := p.passes(t, a, b)
	return w.From == p.peer(p.to.Network.Ref.UUID, a) && w.To == p.peer(p.from.Network.Ref.UUID, b) && maySend(p.Model, p.from, a) && p.leads(b) && passes.Equal(*w.Allowed)
}

// will tells whether a way is one once somebody has spoken for the address of the one,
// or the other for its own, or both.
func (p pairOf) will(t *testing.T, world *world.World, w *Way) bool {
	t.Helper()
	a, b := w.From.Address, w.To.Address
	other := spoken(world, p.to, b).again(p)
	if other.has(t, w) {
		return true
	}
	for _, by := range p.routing.Ports() {
		one := spoken(world, by, a).again(p)
		if one.has(t, w) || spoken(world, by, a, p.to, b).again(p).has(t, w) {
			return true
		}
		if a == b && maySend(one.Model, one.from, a) && one.peer(p.to.Network.Ref.UUID, a) == w.From && other.leads(b) {
			return true // it stands for others beside it, of which both take one
		}
	}
	return false
}

// again are the same two ports in another state.
func (m *Model) again(p pairOf) pairOf {
	return pairOf{Model: m, from: m.routing.Port(p.from.Ref.UUID), to: m.routing.Port(p.to.Ref.UUID)}
}

// TestBesideIsAllThereIs: whatever a workload may send, from any address to any other
// by which routes lead to the other workload, is in one of the ways; and each way is
// one by which that is so, now or once they have taken an address that they may.
func TestBesideIsAllThereIs(t *testing.T) {
	var tried, further, taken [2]int
	for seed := range 60 {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		w := randomBeside(r)
		m := New(policy.Derive(routing.Derive(w)))
		var all [2][]netip.Addr // every fourth of those that anything names, and those around
		for x := range 4 {
			for y := range 2 {
				for z := range 64 {
					for at, family := range []int{4, 6} {
						all[at] = append(all[at], place(family, x, y, 4*z+r.IntN(4)), place(family, x, y, z))
					}
				}
			}
		}
		for _, from := range m.routing.Ports() {
			for _, to := range m.routing.Ports() {
				if from == to {
					continue
				}
				p := m.pairOf(t, from, to)
				for i := range p.ways {
					if way := &p.ways[i]; !p.has(t, way) && !p.will(t, w, way) {
						t.Fatalf("seed %d: %v to %v: there is no way from %v to %v", seed, from.Ref, to.Ref, way.From, way.To)
					}
				}
				for at := range all {
					sources, targets := some(r, all[at], func(a netip.Addr) bool { return maySend(m, from, a) }), some(r, all[at], p.leads)
					for _, a := range sources {
						for _, b := range targets {
							tried[at]++
							if passes := p.passes(t, a, b); !passes.Contained(p.known[at]) {
								t.Fatalf("seed %d: %v to %v: from %v to %v %+v passes, which no way has", seed, from.Ref, to.Ref, a, b, passes.Minus(p.known[at]).Flows())
							}
						}
					}
					a, b := m.oneTaken(r, from, all[at]), m.oneTaken(r, to, all[at])
					if a.IsValid() || b.IsValid() {
						taken[at]++
						then := spoken(w, from, a, to, b).again(p)
						if then = then.pairOf(t, then.from, then.to); !then.known[at].Contained(p.known[at]) {
							t.Fatalf("seed %d: %v with %v to %v with %v: %+v passes, which no way had", seed, from.Ref, a, to.Ref, b, then.known[at].Minus(p.known[at]).Flows())
						}
					}
					if !p.known[at].Equal(p.own[at]) {
						further[at]++
					}
				}
			}
		}
	}
	t.Logf("in IPv4 and IPv6: %d pairs of addresses; of %d pairs of ports more passes than by their own addresses; %d have then taken one", tried, further, taken)
	for at := range tried {
		if tried[at] < 10_000 || further[at] < 15 || taken[at] < 15 {
			t.Error("too few")
		}
	}
}

// oneTaken is one of some addresses for which a port may speak; none is invalid.
func (m *Model) oneTaken(r *rand.Rand, p *routing.Port, all []netip.Addr) netip.Addr {
	may := some(r, all, func(a netip.Addr) bool {
		return slices.ContainsFunc(p.Pairs, func(pair routing.Pair) bool { return pair.Standby && pair.Range.Contains(a) }) ||
			slices.ContainsFunc(m.routing.Network(p.Network.Ref.UUID).Subnets, func(s routing.Subnet) bool {
				return s.Services.Mode() == api.ModeSLAAC && a.Is6() && s.CIDR.Contains(a)
			})
	})
	return append(may, netip.Addr{})[0]
}

func unionOf(ways []Way) [2]rules.Set {
	u := [2]rules.Set{rules.Nothing(4), rules.Nothing(6)}
	for _, w := range ways {
		at := familyIndex(w.From.Address)
		u[at] = u[at].Union(*w.Allowed)
	}
	return u
}

// some are up to 12 of those that are meant.
func some(r *rand.Rand, all []netip.Addr, meant func(netip.Addr) bool) (found []netip.Addr) {
	for _, i := range r.Perm(len(all)) {
		if meant(all[i]) {
			found = append(found, all[i])
		}
		if len(found) == 12 {
			break
		}
	}
	return found
}

// TestPieces: each address of a range has the same prefixes around it as that of one of
// the pieces, and no two of these have; and each prefix that a range is cut into is in one.
func TestPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	around := func(a netip.Addr, by []netip.Prefix) (s string) {
		for _, p := range by {
			s += fmt.Sprint(p.Contains(a), " ")
		}
		return s
	}
	for range 2000 {
		whole := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, 0}), 24)
		var by []netip.Prefix
		for range r.IntN(9) {
			by = append(by, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(r.IntN(8) * 32)}), 20+r.IntN(13)).Masked())
		}
		found := map[string]bool{}
		pieces, err := piecesOf(whole, by)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range pieces {
			s := around(a, by)
			if found[s] || !whole.Contains(a) {
				t.Fatalf("%v of %v by %v is no piece of its own", a, whole, by)
			}
			found[s] = true
		}
		for b := range 256 {
			if a := netip.AddrFrom4([4]byte{10, 0, 0, byte(b)}); !found[around(a, by)] {
				t.Fatalf("nobody stands for %v of %v by %v", a, whole, by)
			}
		}
		prefixes, err := cut(whole, slices.Clone(by))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range prefixes {
			if around(p.Addr(), by) != around(last(p), by) {
				t.Fatalf("%v of %v by %v is in several pieces", p, whole, by)
			}
		}
	}
	six := netip.MustParsePrefix("::/0")
	if all, err := piecesOf(six, []netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}); err != nil || len(all) != 2 {
		t.Errorf("of two halves there are the pieces %v, %v", all, err)
	}
}
