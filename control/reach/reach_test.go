// SPDX-License-Identifier: Apache-2.0

package reach_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/reach"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

var rewrite = flag.Bool("rewrite", false, "write the answers into testdata instead of comparing")

// named gives the words of a transcript the names that objects have.
func named(text string) string {
	if strings.HasPrefix(text, "cidr/") {
		return text
	}
	kind, name, slashed := strings.Cut(text, "/")
	if !slashed {
		return world.UUID(api.KindPort, text)
	}
	return kind + "/" + world.UUID(api.Kind(kind), name)
}

// TestReach prints what ports may say to each other. The words are "reach FROM
// TO", or "check never FROM TO [PROTOCOL [PORT]]", likewise allows.
func TestReach(t *testing.T) {
	world.Transcripts(t, *rewrite, func(w *world.World, words []string) string {
		m := reach.New(policy.Derive(routing.Derive(w)))
		if words[0] == "reach" {
			from, err := m.Find(w, named(words[1]))
			if err != nil {
				return err.Error() + "\n"
			}
			to, err := m.Find(w, named(words[2]))
			if err != nil {
				return err.Error() + "\n"
			}
			rows, err := m.Rows(t.Context(), from, to)
			if err != nil {
				return err.Error() + "\n"
			}
			return w.Names(printNotExact(reach.NotExact(from, to)) + printRows(rows))
		}
		e := &api.Encounter{From: named(words[2]), To: named(words[3])}
		if len(words) > 4 {
			e.Protocol = api.Protocol(words[4])
		}
		if len(words) > 5 {
			fmt.Sscan(words[5], &e.Port)
		}
		a := api.Assertion{Never: e}
		if words[1] == "allows" {
			a = api.Assertion{Allows: e}
		}
		c, err := m.Check(t.Context(), w, a)
		if err != nil {
			return w.Names(err.Error()) + "\n"
		}
		return w.Names(printChecked(c))
	})
}

func printRows(rows []api.ReachRow) string {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%v to %v: %v %s\n", r.From, r.To, r.Allowed, r.Reason)
	}
	return b.String()
}

func printNotExact(all []string) string {
	var b strings.Builder
	for _, text := range all {
		fmt.Fprintf(&b, "not exact: %s\n", text)
	}
	return b.String()
}

func printChecked(c api.Checked) string {
	var b strings.Builder
	fmt.Fprintf(&b, "holds %v, %d pairs\n%s", c.Holds, c.Pairs, printNotExact(c.NotExact))
	if c.Counter != nil {
		fmt.Fprintf(&b, "%s to %s: %s, allowed %v\n", c.Counter.From, c.Counter.To, c.Counter.Packet, c.Counter.Allowed)
		for _, v := range c.Counter.Verdicts {
			fmt.Fprintf(&b, "  %s\n", v)
		}
	}
	return b.String()
}

// What was remembered of other pairs changes nothing, and what is shown of all
// pairs is what is found for each by itself.
func TestPairsAreWorkedOutAsIfAlone(t *testing.T) {
	some, empty := 0, 0
	for seed := range 60 {
		r := rand.New(rand.NewPCG(uint64(seed), 0))
		w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3")
		for i := range 8 {
			n := i % 3
			w.Do(fmt.Sprintf("network n%d %d\nsubnet n%d 10.0.0.0/24\nport n%d p%d q%d\naddress n%d 10.0.0.%d p%d\naddress n%d 2001:db8::%d p%d\nbind p%d h%d", n, n+1, n, n, i, r.IntN(2), n, i+1, i, n, i+1, i, i, 1+r.IntN(3)))
		}
		for range 60 {
			w.Do(world.RandomSecurity(r))
		}
		d := policy.Derive(routing.Derive(w))
		all := reach.New(d)
		for _, a := range d.Routing.Ports() {
			for _, b := range d.Routing.Ports() {
				together, why, err := all.Between(a, b)
				if err != nil {
					t.Fatal(err)
				}
				alone, whyAlone, _ := reach.New(d).Between(a, b)
				if len(together) != len(alone) || why != whyAlone {
					t.Fatalf("seed %d: %d ways with others, %d alone", seed, len(together), len(alone))
				}
				for i := range alone {
					if !together[i].Allowed.Equal(*alone[i].Allowed) {
						t.Fatalf("seed %d: %v to %v: %+v with others, %+v alone", seed, a.Ref, b.Ref, together[i].Allowed.Flows(), alone[i].Allowed.Flows())
					}
					if alone[i].Allowed.Empty() {
						empty++
					} else {
						some++
					}
				}
			}
		}
	}
	t.Logf("%d ways on which something is allowed, %d on which nothing is", some, empty)
	if some < 500 || empty < 500 {
		t.Error("too few of one kind")
	}
}
