// SPDX-License-Identifier: Apache-2.0

package routing_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

var rewrite = flag.Bool("rewrite", false, "write the answers into testdata instead of comparing")

func TestWorlds(t *testing.T) {
	world.Transcripts(t, *rewrite, func(w *world.World, words []string) string {
		if words[0] != "derived" {
			t.Fatalf("%q is not a table", words)
		}
		return routing.Derive(w.Snapshot()).String()
	})
}

// The derived tables are a function of the objects: neither the order in
// which they were made nor that of maps shows in them.
func TestOrderOfWritesDoesNotShow(t *testing.T) {
	lines := strings.Split(`host h1 192.0.2.1
host h2 192.0.2.2
network n1 1
network n2 2
network n3 3
subnet n1 10.0.0.0/24
subnet n2 10.0.0.0/24
subnet n3 10.0.3.0/24
port n1 a
port n2 b
port n3 c
address n1 10.0.0.5 a
address n2 10.0.0.5 b
address n3 10.0.3.5 c
bind a h1
bind b h2
bind c h1
policy p1 any any
policy p2 n1 n3
attach p1 n1
attach p1 n2
attach p1 n3
attach p2 n1
attach p2 n3
target t1 64512:1
target t2 64512:2
table out 10.9.0.0/16 10.0.0.5 10.9.0.0/16 discard 0.0.0.0/0 10.0.3.5
table behind 10.9.0.0/16 -`, "\n")
	const edits = "\nimport n1 t2\nimport n1 t1\nexport n2 t1\nexport n2 t2\nexport n3 t2\ntable-network n1 out\ntable-network n3 out\ntable-port a behind"
	want := routing.Derive(world.New(strings.Join(lines, "\n") + edits)).String()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for range 50 {
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		if got := routing.Derive(world.New(strings.Join(lines, "\n") + edits)).String(); got != want {
			t.Fatalf("seed %d: order\n%s\ngives\n%s\nwant\n%s", seed, strings.Join(lines, "\n"), got, want)
		}
	}
}

// Every subset of objects has a defined outcome: whatever is missing, Derive
// neither fails nor invents a route whose port, host or network is not there.
func TestMissingReferences(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 2))
	for round := range 200 {
		w := world.New(`host h1 192.0.2.1
network n1 1
network n2 2
subnet n1 10.0.0.0/24
subnet n2 2001:db8::/64
port n1 a
port n2 b
address n1 10.0.0.5 a
address n2 2001:db8::5 b
bind a h1
bind b h1
policy p any any
attach p n1
attach p n2
target t 64512:1
import n1 t
export n2 t
table out 10.9.0.0/16 10.0.0.5 2001:db8:9::/48 2001:db8::5
table behind 10.8.0.0/16 -
table-network n1 out
table-network n2 out
table-port a behind
table-port b behind`)
		w.Each(func(kind api.Kind, name string) {
			if r.IntN(4) == 0 {
				w.Remove(kind, name)
			}
		})
		for _, n := range routing.Derive(w).Networks {
			for _, route := range append(slices.Clone(n.Routes), n.Equal...) {
				for kind, ref := range map[api.Kind]api.Ref{
					api.KindPort: route.Port, api.KindHost: route.Host, api.KindNetwork: route.OriginNetwork,
					route.LeakKind: route.LeakedBy, route.OriginKind: route.Origin,
				} {
					if !ref.IsZero() && w.Get(kind, ref.UUID) == nil {
						t.Fatalf("seed %d round %d: route %v refers to the missing %s %s", seed, round, route.Prefix, kind, ref)
					}
				}
			}
		}
	}
}

// The fast way to find joined pairs says what the policy itself says. Rules
// that deny join nothing, nor do one of audit and one that names a range.
func TestJoinsAgreeWithThePolicy(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 3))
	sides := []string{"n1", "n2", "n3", "n4", "any", "local", "policy=q", "policy=p", "subnet=n1:10.0.0.0/24", "subnet=n2:2001:db8::/64", "10.0.0.0/8"}
	joined, refused := 0, 0
	for range 300 {
		rules := ""
		for range 1 + r.IntN(3) {
			action := []string{"pass", "pass", "deny"}[r.IntN(3)]
			direction := []string{"<>", ">"}[r.IntN(2)]
			audit := []string{"", "", "audit"}[r.IntN(3)]
			rules += fmt.Sprintf("\nrule p %s %s %s %s tcp/80 %s", action, sides[r.IntN(len(sides))], direction, sides[r.IntN(len(sides))], audit)
		}
		w := world.New("network n1 1\nnetwork n2 2\nnetwork n3 3\nnetwork n4 4\npolicy q\nattach q n2\nattach q n3\nattach q n4" + rules)
		for _, n := range []string{"n1", "n2", "n3"} { // n4 is not attached
			w.Do("attach p " + n)
		}
		attached := func(policy, network string) bool {
			return slices.ContainsFunc(api.ListOf[*api.NetworkPolicyAttachment](w, api.KindNetworkPolicyAttachment), func(a *api.NetworkPolicyAttachment) bool {
				return a.Spec.Policy.UUID == policy && a.Spec.Network.UUID == network
			})
		}
		policy := w.Get(api.KindNetworkPolicy, world.UUID(api.KindNetworkPolicy, "p")).(*api.NetworkPolicy)
		d := routing.Derive(w)
		for _, a := range d.Networks {
			for _, b := range d.Networks {
				imported := slices.ContainsFunc(a.Imports, func(i routing.Import) bool { return i.Network == b.Ref })
				under := attached(policy.Meta.UUID, a.Ref.UUID) && attached(policy.Meta.UUID, b.Ref.UUID)
				want := a != b && under && policy.Joins(a.Ref, b.Ref, attached)
				if imported != want {
					t.Fatalf("seed %d: rules%s: %s imports %s: %t, the policy says %t", seed, rules, a.Ref, b.Ref, imported, want)
				}
				if want {
					joined++
				} else if a != b && under {
					refused++
				}
			}
		}
	}
	if joined < 100 || refused < 100 {
		t.Errorf("seed %d: %d pairs joined and %d not: want 100 of both", seed, joined, refused)
	}
}
