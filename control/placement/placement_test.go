// SPDX-License-Identifier: Apache-2.0

package placement_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/health"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

var rewrite = flag.Bool("rewrite", false, "write the answers into testdata instead of comparing")

func TestWorlds(t *testing.T) {
	world.Transcripts(t, *rewrite, func(w *world.World, words []string) string {
		if words[0] != "rows" {
			t.Fatalf("%q is not a table", words)
		}
		plan := placement.New(1, routing.Derive(w), nil)
		return placement.Print(plan.For(world.UUID(api.KindHost, words[1])))
	})
}

// editAny changes anything of a world.
func editAny(w *world.World, r *rand.Rand, step int) {
	if step%20 == 0 { // chance alone seldom makes one whose groups are asked
		w.Do("network n0 1\nport n0 p0\nbind p0 h1\nsecured p0 g0")
		w.Do("address n0 10.0.0.1 p0\nbalancer lb0\npool lb0 po0\nmember po0 me0 80 port=p0\nmonitor po0 tcp")
		w.Do("network n1 2\nport n1 p1\nbind p1 h2\naddress n1 10.0.0.2 p1\naddress n0 10.0.0.9\nbalancer lb0 address=n0:10.0.0.9\nlistener lb0 li0 TCP 80 pool=po0\nmember po0 me1 80 port=p1")
		w.Do("address n1 10.0.0.20\nfloating f0 n1:10.0.0.20\nassociate a0 f0 port=p0")
		w.Do("address n1 10.0.0.30\nsnat s0 n0 n1:10.0.0.30\nblock n1:10.0.0.30 1024-2047 h1")
	}
	if r.IntN(4) == 0 {
		w.Do(world.RandomHealth(r))
	}
	if r.IntN(40) == 0 {
		w.Do(fmt.Sprintf("held d %d", r.IntN(3)))
	}
	if r.IntN(4) == 0 {
		w.Do(world.RandomBalance(r))
	}
	if r.IntN(4) == 0 {
		w.Do(world.RandomFloating(r))
	}
	if r.IntN(4) == 0 {
		w.Do(world.RandomSourceNAT(r))
	}
	if r.IntN(3) > 0 {
		w.Do(world.RandomEdit(r))
	} else {
		w.Do(world.RandomSecurity(r))
	}
}

// A plan made from an earlier one says the same as one made from nothing, after
// any edits, and rows are keyed and hashed as the agent expects.
func TestReuseNeverShows(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3\nsecurity-group g0 default\nallow g0 r0 ingress IPv4 group=g0")
	before := w.Snapshot()
	plan := placement.New(1, routing.Derive(before), nil)
	same, reserved, rulesets, checks, served, mapped, shared := 0, 0, 0, 0, 0, 0, 0
	// More steps until chance has made some of what is rare.
	for step := 0; step < 400 || step < 8000 && (reserved == 0 || rulesets == 0 || checks == 0 || served == 0 || mapped == 0 || shared < 100); step++ {
		editAny(w, r, step)
		snapshot := w.Snapshot()
		earlier := plan
		if r.IntN(4) > 0 {
			events := world.Changes(before, snapshot)
			routes := routing.Update(earlier.Derived, snapshot, events)
			plan = placement.With(1, policy.Update(earlier.Policy, routes, events), health.Update(earlier.Health, routes, events), balance.Update(earlier.Balance, routes, events), earlier)
		} else {
			plan = placement.New(1, routing.Derive(snapshot), earlier)
		}
		before = snapshot
		fresh := placement.New(1, routing.Derive(snapshot), nil)
		for _, h := range []string{"h1", "h2", "h3"} {
			id := world.UUID(api.KindHost, h)
			got, want := placement.Print(plan.For(id)), placement.Print(fresh.For(id))
			if got != want {
				t.Fatalf("seed %d step %d: %s has\n%s\nwant\n%s", seed, step, h, w.Names(got), w.Names(want))
			}
			if plan.Same(id, earlier) {
				same++
				if before := placement.Print(earlier.For(id)); got != before {
					t.Fatalf("seed %d step %d: %s counts as the same, but has\n%s\nhad\n%s", seed, step, h, w.Names(got), w.Names(before))
				}
			}
			checkRows(t, fmt.Sprintf("seed %d step %d host %s", seed, step, h), plan.For(id))
			reserved += strings.Count(got, "reservation")
			rulesets += strings.Count(got, " ruleset ")
			checks += strings.Count(got, "check/")
			served += strings.Count(got, "member/")
			mapped += strings.Count(got, "mapped to ")
			shared += strings.Count(got, "shared for VRF")
			for _, table := range tablesOf(plan, id) {
				if sum := sumOf(slices.Concat(slices.Collect(table.Rows(placement.Sources, id)), slices.Collect(table.Rows(placement.Routes, id)))); sum != table.Sum(id) {
					t.Errorf("seed %d step %d: rows of table %d of %s do not sum up to what it says", seed, step, table.VRF, h)
				}
			}
		}
	}
	if reserved == 0 {
		t.Errorf("seed %d: nothing was ever reserved", seed)
	}
	if mapped == 0 {
		t.Errorf("seed %d: no floating address ever led anywhere", seed)
	}
	if served == 0 {
		t.Errorf("seed %d: nobody ever served a virtual address", seed)
	}
	if rulesets == 0 {
		t.Errorf("seed %d: nothing was ever asked at a port", seed)
	}
	if checks == 0 {
		t.Errorf("seed %d: nobody was ever tried", seed)
	}
	if same < 200 {
		t.Errorf("seed %d: only %d of 1200 turns were found to change nothing", seed, same)
	}
}

// tablesOf are a host's, none of one that is not there.
func tablesOf(p *placement.Plan, host string) []*placement.Table {
	if v := p.View(host); v != nil {
		return v.Tables()
	}
	return nil
}

// sumOf is the sum of rows of one table, as a host makes it.
func sumOf(rows []placement.Row) (sum uint64) {
	for _, r := range rows {
		sum += hoststream.SumOf(r.Key, r.Hash)
	}
	return sum
}

// here tells whether a host is the one that rows are of, whose endpoint it needs not.
func here(where, host string) bool {
	name := where[strings.LastIndex(where, " ")+1:]
	return world.UUID(api.KindHost, name) == host
}

// checkRows checks what holds for the rows of any host: no key twice, hashes
// of the bytes, and what is referred to comes before what refers to it.
func checkRows(t *testing.T, where string, rows []placement.Row) {
	t.Helper()
	seen := map[string]bool{}
	order := []string{"hold", "tunnel-endpoint", "tunnel-source", "vrf", "mac", "subnet", "name", "member", "listener", "selector", "ruleset", "port", "check", "reservation", "route"}
	last := 0
	for _, r := range rows {
		class, rest, _ := strings.Cut(r.Key, "/")
		at := slices.Index(order, class)
		if seen[r.Key] || r.Hash != xxhash.Sum64(r.Body) || at < last {
			t.Fatalf("%s: row %s is double, wrongly hashed or out of order", where, r.Key)
		}
		seen[r.Key], last = true, at
		text := placement.Describe(r.Body)
		if _, sender, _ := strings.Cut(rest, "/"); class == "tunnel-source" && !seen["tunnel-endpoint/"+sender] {
			t.Fatalf("%s: %s without the host's addresses", where, r.Key)
		}
		if words := strings.Fields(text); (class == "mac" || class == "member") && !seen["tunnel-endpoint/"+words[1]] && !here(where, words[1]) {
			t.Fatalf("%s: %s without the host's addresses", where, r.Key)
		}
		if class == "ruleset" || class == "port" {
			for _, needed := range needs(t, r) {
				if !seen[needed] {
					t.Fatalf("%s: %s without %s", where, r.Key, needed)
				}
			}
		}
		if class != "route" {
			continue
		}
		vrf, _, _ := strings.Cut(rest, "/")
		if !seen["vrf/"+vrf] {
			t.Fatalf("%s: route %s without its VRF", where, r.Key)
		}
		words := strings.Fields(text)
		if words[0] == "host" && !seen["tunnel-endpoint/"+words[1]] || words[0] == "port" && !seen["port/"+words[1]] {
			t.Fatalf("%s: route %s refers to a row that is not there: %s", where, r.Key, text)
		}
	}
}

// needs are the keys of the selectors that a ruleset names, or of the rulesets
// that a port does.
func needs(t *testing.T, r placement.Row) (keys []string) {
	var row hoststream.Row
	if err := proto.Unmarshal(r.Body, &row); err != nil {
		t.Fatal(err)
	}
	for _, rule := range row.GetRuleset().GetRules() {
		for _, id := range rule.GetSelected().GetSelectors() {
			keys = append(keys, placement.SelectorKey(id))
		}
	}
	for _, asked := range row.GetPort().GetRulesets() {
		keys = append(keys, placement.RulesetKey(asked.Ruleset))
	}
	return keys
}

// Rows that read the same on several hosts are the same bytes in memory.
func TestRowsAreShared(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
host h2 192.0.2.2
host h3 192.0.2.3
network n 1
port n a
port n b
port n c
address n 10.0.0.1 a
bind a h1
bind b h2
bind c h3`)
	first := placement.New(1, routing.Derive(w), nil)
	w.Do("network other 2")
	second := placement.New(1, routing.Derive(w), first)
	body := func(p *placement.Plan, host string) *byte {
		for _, r := range p.For(world.UUID(api.KindHost, host)) {
			if strings.HasPrefix(r.Key, "route/") {
				return &r.Body[0]
			}
		}
		t.Fatalf("%s has no route", host)
		return nil
	}
	if body(first, "h2") != body(first, "h3") || body(first, "h2") != body(second, "h2") {
		t.Error("the remote route was encoded more than once")
	}
	if body(first, "h1") == body(first, "h2") {
		t.Error("the port's own host has the remote route")
	}
}

func TestVersionsAreOrderedByEpochFirst(t *testing.T) {
	old, restored := placement.Version{Epoch: 1, Revision: 900}, placement.Version{Epoch: 2, Revision: 5}
	if !old.Before(restored) || restored.Before(old) || old.Before(old) {
		t.Error("a restored store must come after all that was before it")
	}
}

// A network made again under another VNI has other rows, even if all its
// routes are leaked ones that did not change.
func TestAnotherVNIIsNotReused(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
host h2 192.0.2.2
network n 1
network m 2
port n silent
port m a
address m 10.0.0.5 a
bind silent h1
bind a h2
policy p any any
attach p n
attach p m`)
	plan := placement.New(1, routing.Derive(w.Snapshot()), nil)
	w.Do("network n 9")
	plan = placement.New(1, routing.Derive(w.Snapshot()), plan)
	text := placement.Print(plan.For(world.UUID(api.KindHost, "h1")))
	if !strings.Contains(text, "route/9/10.0.0.5/32") || strings.Contains(text, "route/1/") {
		t.Errorf("after the VNI changed from 1 to 9:\n%s", w.Names(text))
	}
}

// A port that was made again, with all that other hosts see of it as before, is
// another one for its own host.
// A floating address that stands for another address of the same port is another
// row on the port's host alone.
func TestFloatingAddressStandsForAnother(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nnetwork n 1\nport n p\nport n q\naddress n 10.0.0.1 p\naddress n 10.0.0.2 p\naddress n 10.0.0.9\nbind p h1\nbind q h2\nfloating f n:10.0.0.9\nassociate a f port=p address=n:10.0.0.1")
	before := placement.New(1, routing.Derive(w.Snapshot()), nil)
	w.Do("associate a f port=p address=n:10.0.0.2")
	after := placement.New(1, routing.Derive(w.Snapshot()), before)
	for host, want := range map[string]int{"h1": 1, "h2": 0} {
		id := world.UUID(api.KindHost, host)
		puts, deletes := placement.Difference(placement.Routes, before.View(id).Table(1), after.View(id).Table(1), id)
		if len(puts) != want || len(deletes) != 0 {
			t.Errorf("%s gets %d rows and loses %v, want %d rows", host, len(puts), deletes, want)
		}
	}
}

func TestPortMadeAgain(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nnetwork n 1\nport n a\naddress n 10.0.0.5 a\nbind a h1")
	id := world.UUID(api.KindHost, "h1")
	before := placement.New(1, routing.Derive(w.Snapshot()), nil)
	mac := w.Get(api.KindPort, world.UUID(api.KindPort, "a")).(*api.Port).Spec.MAC
	w.Do("remove port a\nremove binding a:h1\nport n b\naddress n 10.0.0.5 b\nbind b h1")
	w.Get(api.KindPort, world.UUID(api.KindPort, "b")).(*api.Port).Spec.MAC = mac
	after := placement.New(1, routing.Derive(w.Snapshot()), before)
	puts, deletes := placement.Difference(placement.Routes, before.View(id).Table(1), after.View(id).Table(1), id)
	if want := "port " + world.UUID(api.KindPort, "b"); len(deletes) > 0 || len(puts) != 1 || !strings.Contains(placement.Print(puts), want) {
		t.Errorf("its host is sent\n%s and deletes %v, want a route to %s", placement.Print(puts), deletes, want)
	}
}
