// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// dump prints all that anybody reads of what was derived.
func dump(d *policy.Derived) string {
	var b strings.Builder
	b.WriteString(d.String())
	for _, h := range d.Routing.Hosts {
		needs := d.Host(h.Ref.UUID)
		if needs == nil {
			continue
		}
		fmt.Fprintf(&b, "host %s\n", h.Ref)
		for i, r := range h.Reserved {
			asked := needs.Reserved[i]
			fmt.Fprintf(&b, "  reserved %v is %x asks %t\n", r.Address, asked.Workload.Identity, asked.Rulesets != policy.Rulesets{})
		}
		for _, r := range needs.Rulesets {
			fmt.Fprintf(&b, "  ruleset %s %x of %v needs %v, found %t\n", r.ID, r.Hash, r.Of, r.Selectors, d.Ruleset(r.ID) == r)
		}
		for _, s := range needs.Selectors {
			fmt.Fprintf(&b, "  selector %s %x %x, found %t\n", s.ID, s.Hash, s.Identities, d.Selector(s.ID) == s)
		}
	}
	for _, n := range d.Routing.Networks {
		for i := range n.Own {
			var equal []routing.Route
			for _, e := range n.OwnEqual {
				if e.Prefix == n.Own[i].Prefix {
					equal = append(equal, e)
				}
			}
			owner := d.Owner(&n.Own[i], equal)
			known := "nobody"
			if w := d.Workload(owner); w != nil {
				known = fmt.Sprintf("%s %s %v %v %v, %d together", w.Project, w.Network, w.Groups, w.Tags, w.Named, len(w.Several))
			}
			fmt.Fprintf(&b, "%s %v is %x: %s\n", n.Ref, n.Own[i].Prefix, owner, known)
		}
	}
	return b.String()
}

// difference are the lines that only one of two texts has.
func difference(got, want string) string {
	var b strings.Builder
	for _, pair := range [][3]string{{"Update ", got, want}, {"Derive ", want, got}} {
		for line := range strings.Lines(pair[1]) {
			if !strings.Contains(pair[2], line) {
				b.WriteString(pair[0] + line)
			}
		}
	}
	return b.String()
}

// story is a random world as it goes on.
type story struct {
	*world.World
	r     *rand.Rand
	lines []string
}

func newStory(r *rand.Rand) *story {
	return &story{World: world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3"), r: r}
}

// begin makes it large enough for rules to meet workloads.
func (s *story) begin() {
	for i := range 8 {
		n := i % 4
		s.do(fmt.Sprintf("network n%d %d\nsubnet n%d 10.0.0.0/24\nport n%d p%d q%d\naddress n%d 10.0.0.%d p%d\naddress n%d 2001:db8::%d p%d\nbind p%d h%d", n, n+1, n, n, i, s.r.IntN(2), n, i+1, i, n, i+1, i, i, 1+s.r.IntN(3)))
	}
	s.do("address n1 10.0.0.9\nbalancer lb1 address=n1:10.0.0.9")
	s.do("reserve n0 10.0.0.20 h1 s\nsecurity-group g0 default")
	s.do("firewall-rule r0 reject from=network=n0 tcp/80 log\nfirewall-rule r1 deny audit\nfirewall-policy f0 r0 r1\npolicy-set s0 f0 project=q0 global") // chance seldom makes these meet a workload
}

func (s *story) do(line string) {
	s.lines = append(s.lines, line)
	s.Do(line)
}

func (s *story) edit() {
	switch s.r.IntN(6) {
	case 0:
		switch s.r.IntN(3) {
		case 0:
			s.do(world.RandomFloating(s.r))
			return
		case 1:
			s.do(world.RandomSourceNAT(s.r))
			return
		}
		s.do(world.RandomBalance(s.r))
	case 1, 2:
		s.do(world.RandomEdit(s.r))
	default:
		s.do(world.RandomSecurity(s.r))
	}
}

// What Update makes of an earlier outcome and the events since is what Derive
// makes of the objects alone, after any edits, few or many at a time.
func TestUpdateEqualsDerive(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 5))
	t.Logf("seed %d", seed)
	counts := map[string]int{}
	words := []string{"asks true", "selected", "ranges", "anybody", " together", "stateless", "limit", "log", "audit", "network-policy", "security-group", "firewall-admin", "firewall-baseline", "reject"}
	unseen := func() []string {
		return slices.DeleteFunc(slices.Clone(words), func(word string) bool { return counts[word] > 0 })
	}
	// More rounds until chance has made one of each.
	for round := 0; round < 12 || round < 120 && len(unseen()) > 0; round++ {
		s := newStory(r)
		s.begin()
		before := s.Snapshot()
		derived := policy.Derive(routing.Derive(before))
		for step := range 150 {
			for range 1 + r.IntN(3)*r.IntN(3) {
				s.edit()
			}
			after := s.Snapshot()
			events := world.Changes(before, after)
			first := dump(derived)
			routes := routing.Update(derived.Routing, after, events)
			next := policy.Update(derived, routes, events)
			if now := dump(derived); now != first {
				t.Fatalf("seed %d round %d step %d: the earlier outcome was changed after\n%s", seed, round, step, strings.Join(s.lines, "\n"))
			}
			got, want := dump(next), dump(policy.Derive(routing.Derive(after)))
			if got != want {
				t.Fatalf("seed %d round %d step %d: after\n%s\nUpdate and Derive differ in\n%s", seed, round, step, strings.Join(s.lines, "\n"), s.Names(difference(got, want)))
			}
			for _, word := range words {
				counts[word] += strings.Count(got, word)
			}
			before, derived = after, next
		}
	}
	t.Logf("seen: %v", counts)
	if left := unseen(); len(left) > 0 {
		t.Errorf("seed %d: never seen: %q", seed, left)
	}
}
