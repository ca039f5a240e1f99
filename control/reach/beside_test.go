// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
	"github.com/weft-network/weft/vrouter/rules"
)

// randomBeside makes ports of two joined networks, with pairs and what lies behind
// them, and rules that name ranges about these.
func randomBeside(r *rand.Rand) *world.World {
	w := world.New("host h1 192.0.2.1\npolicy mesh any any")
	for n := range 2 {
		w.Do(fmt.Sprintf("network n%d %d\nsubnet n%d 10.%d.0.0/24\nattach mesh n%d", n, n+1, n, n, n))
	}
	for i := range 5 {
		n := i % 2
		w.Do(fmt.Sprintf("port n%d p%d\naddress n%d 10.%d.0.%d p%d\nbind p%d h1", n, i, n, n, 5+i, i, i))
		w.Do(fmt.Sprintf("security-group g%d\nallow g%d out egress IPv4 udp/%d", i, i, 1+r.IntN(3)))
		for rule := range 4 {
			direction := []string{"ingress", "egress"}[r.IntN(2)]
			remote := fmt.Sprintf("10.%d.%d.%d/%d", r.IntN(4), r.IntN(2), r.IntN(4)*64, 26+r.IntN(7))
			if r.IntN(3) == 0 {
				remote = fmt.Sprintf("group=g%d", r.IntN(5))
			}
			w.Do(fmt.Sprintf("allow g%d r%d %s IPv4 udp/%d %s", i, rule, direction, 1+r.IntN(5), remote))
		}
		w.Do(fmt.Sprintf("secured p%d g%d", i, i))
		switch r.IntN(4) {
		case 0:
			w.Do(fmt.Sprintf("pair p%d 10.%d.%d.0/%d shared", i, r.IntN(4), r.IntN(2), 24+r.IntN(3)))
		case 1:
			w.Do(fmt.Sprintf("pair p%d 10.%d.0.%d/32\nspeak p%d 10.%d.0.%d 1", i, n, 128+i, i, n, 128+i))
		case 2:
			w.Do(fmt.Sprintf("table t%d 10.%d.0.0/%d -\ntable-port p%d t%d", i, 2+r.IntN(2), 16+r.IntN(10), i, i))
		}
	}
	return w
}

// maySend is doc/packet-path.md, spoof, for a port that is checked and its own MAC.
func maySend(m *Model, p *routing.Port, a netip.Addr) bool {
	for _, own := range addresses(p) {
		if own == a {
			return true
		}
	}
	for _, pair := range p.Pairs {
		if pair.Range.Contains(a) {
			return true
		}
	}
	for _, source := range p.Sources {
		if r := m.table(p.Network.Ref.UUID).find(a); source.Contains(a) && r != nil && r.Prefix.Bits() == source.Bits() {
			return true
		}
	}
	return false
}

// TestBesideIsAllThereIs: whatever a workload may send, from any address to any other
// by which routes lead to the other workload, is in one of the ways; and each way is
// one by which that is so.
func TestBesideIsAllThereIs(t *testing.T) {
	tried, further := 0, 0
	for seed := range 40 {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		m := New(policy.Derive(routing.Derive(randomBeside(r))))
		var all []netip.Addr // every fourth of those that anything names, and those around
		for x := range 4 {
			for y := range 2 {
				for z := range 64 {
					all = append(all, netip.AddrFrom4([4]byte{10, byte(x), byte(y), byte(4*z + r.IntN(4))}), netip.AddrFrom4([4]byte{10, byte(x), byte(y), byte(z)}))
				}
			}
		}
		for _, from := range m.routing.Ports() {
			for _, to := range m.routing.Ports() {
				if from == to {
					continue
				}
				ways := m.waysOf(t, from, to)
				egress, ingress := m.endsOf(t, from, to)
				passes := func(a, b netip.Addr) rules.Set {
					return rules.Allowed(egress, ingress, rules.Peer{Identity: m.seen(to.Network.Ref.UUID, a), Address: a}, rules.Peer{Identity: m.seen(from.Network.Ref.UUID, b), Address: b})
				}
				leads := func(b netip.Addr) bool {
					route := m.table(from.Network.Ref.UUID).find(b)
					return route != nil && route.leadsTo(to)
				}
				known := rules.Nothing(4)
				for _, w := range ways {
					known = known.Union(*w.Allowed)
					if p := passes(w.From.Address, w.To.Address); !maySend(m, from, w.From.Address) || !leads(w.To.Address) || !p.Equal(*w.Allowed) {
						t.Fatalf("seed %d: %v to %v: there is no way from %v to %v", seed, from.Ref, to.Ref, w.From.Address, w.To.Address)
					}
				}
				sources, targets := some(r, all, func(a netip.Addr) bool { return maySend(m, from, a) }), some(r, all, leads)
				for _, a := range sources {
					for _, b := range targets {
						tried++
						if p := passes(a, b); !p.Contained(known) {
							t.Fatalf("seed %d: %v to %v: from %v to %v %+v passes, which no way has", seed, from.Ref, to.Ref, a, b, p.Minus(known).Flows())
						}
					}
				}
				own, _, _ := m.Between(from, to)
				if u := unionOf(own); !known.Equal(u) {
					further++
				}
			}
		}
	}
	t.Logf("%d pairs of addresses; of %d pairs of ports more passes than by their own addresses", tried, further)
	if tried < 10_000 || further < 15 {
		t.Error("too few")
	}
}

func unionOf(ways []Way) rules.Set {
	u := rules.Nothing(4)
	for _, w := range ways {
		u = u.Union(*w.Allowed)
	}
	return u
}

func (m *Model) waysOf(t *testing.T, from, to *routing.Port) []Way {
	t.Helper()
	own, _, err := m.Between(from, to)
	if err != nil {
		t.Fatal(err)
	}
	more, err := m.Beside(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return append(own, more...)
}

func (m *Model) endsOf(t *testing.T, from, to *routing.Port) (egress, ingress rules.End) {
	t.Helper()
	e, err := m.endOf(from.Ref.UUID, policy.Egress)
	if err != nil {
		t.Fatal(err)
	}
	i, err := m.endOf(to.Ref.UUID, policy.Ingress)
	if err != nil {
		t.Fatal(err)
	}
	return e.End, i.End
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

// TestKinds: each address of a range has the same prefixes around it as one of the
// kinds, and no two kinds have.
func TestKinds(t *testing.T) {
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
		for _, a := range kinds(whole, by) {
			s := around(a, by)
			if found[s] || !whole.Contains(a) {
				t.Fatalf("%v of %v by %v is no kind of its own", a, whole, by)
			}
			found[s] = true
		}
		for b := range 256 {
			if a := netip.AddrFrom4([4]byte{10, 0, 0, byte(b)}); !found[around(a, by)] {
				t.Fatalf("nobody stands for %v of %v by %v", a, whole, by)
			}
		}
	}
	six := netip.MustParsePrefix("::/0")
	if all := kinds(six, []netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}); len(all) != 2 {
		t.Errorf("of two halves there are the kinds %v", all)
	}
}
