// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/weft-network/weft/vrouter/rules"
)

// agree compares what was compiled with the definition.
func agree(t *testing.T, seed any, r rules.Ruleset, c *rules.Compiled, p rules.Packet) (rules.Verdict, rules.Verdict) {
	t.Helper()
	want, wantAudit := r.Decide(p)
	got, gotAudit := c.Decide(p)
	if got != want || gotAudit != wantAudit {
		t.Fatalf("seed %v: packet %+v\nrules    %+v, audit %+v\ncompiled %+v, audit %+v\nof %+v\n%+v", seed, p, want, wantAudit, got, gotAudit, r, c)
	}
	return want, wantAudit
}

func TestCompiledDecidesAsTheRulesDo(t *testing.T) {
	seen := map[string]int{}
	rulesets := 5000
	for seed := range rulesets {
		w := world{rand.New(rand.NewPCG(uint64(seed), 1))}
		r := w.ruleset()
		c, err := rules.Compile(r)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for range 60 {
			v, audit := agree(t, seed, r, c, w.packet(r))
			how := "unmatched"
			if v.Matched() {
				how = "matched"
			}
			seen[how+" "+v.Action.String()]++
			if audit.Order != 0 {
				seen["audit"]++
			}
		}
	}
	t.Logf("%d packets: %v", rulesets*60, seen)
	for _, word := range []string{"matched pass", "matched deny", "matched reject", "matched next", "matched identity-pending", "unmatched pass", "unmatched deny", "unmatched next", "unmatched identity-pending", "audit"} {
		if seen[word] < 1000 {
			t.Errorf("%s: %d packets, at least 1000 are wanted", word, seen[word])
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte("a ruleset and its packets"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := world{rand.New(&fromBytes{data, rand.NewPCG(uint64(len(data)), 2)})}
		r := w.ruleset()
		c, err := rules.Compile(r)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			agree(t, data, r, c, w.packet(r))
		}
	})
}

func TestTheSameRulesGiveTheSameEntries(t *testing.T) {
	ids := map[uint32]int{}
	for seed := range 500 {
		r := world{rand.New(rand.NewPCG(uint64(seed), 3))}.ruleset()
		a, errA := rules.Compile(r)
		b, errB := rules.Compile(r)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d: compiled twice:\n%+v\n%+v", seed, a, b)
		}
		ids[a.ID]++
	}
	if len(ids) < 400 {
		t.Errorf("500 random rulesets have %d ids", len(ids))
	}
	a, _ := rules.Compile(shop())
	if plain, _ := rules.Compile(distinct(2)); plain.Audit != nil || a.Audit == nil {
		t.Errorf("the twin of a ruleset without audit rules: %+v; of one with: %+v", plain.Audit, a.Audit)
	}
	changed := shop()
	changed.Rules[2].Identities = []rules.Identity{9, 10}
	b, _ := rules.Compile(changed)
	audit := shop()
	audit.Rules[0].Number = 99
	c, _ := rules.Compile(audit)
	if a.ID == b.ID || a.ID == c.ID || a.ID == a.Audit.ID {
		t.Errorf("ids %x, %x with one identity more, %x with another audit rule, %x of the twin: each must be another", a.ID, b.ID, c.ID, a.Audit.ID)
	}
}

// distinct is n rules, each with a range and a port of its own.
func distinct(n int) rules.Ruleset {
	r := rules.Ruleset{Outside: rules.Deny, Identified: rules.Deny}
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
		r.Rules = append(r.Rules, rules.Rule{Number: uint32(i + 1), Action: rules.Pass, Remote: rules.Addresses,
			Ranges: []netip.Prefix{netip.PrefixFrom(a, 24)}, Services: ports(uint16(1000+i), uint16(1000+i))})
	}
	return r
}

func TestEntriesGrowWithTheRules(t *testing.T) {
	for _, n := range []int{1, 100, 10_000} {
		c, err := rules.Compile(distinct(n))
		if err != nil {
			t.Fatal(err)
		}
		if most := 2*n + 4*n/256 + 8; c.Entries() > most || len(c.Verdicts) != n {
			t.Errorf("%d rules: %d entries, %d of them verdicts; want at most %d and %d", n, c.Entries(), len(c.Verdicts), most, n)
		}
		t.Logf("%d rules: %d ranges, %d services, %d pages, %d verdicts", n, len(c.Ranges), len(c.Services), len(c.Pages), len(c.Verdicts))
	}
	for name, s := range map[string]rules.Service{
		"all high ports":          {Protocol: rules.TCP, Ports: &rules.Range{First: 1024, Last: 65535}},
		"all ports but one":       {Protocol: rules.TCP, Ports: &rules.Range{First: 1, Last: 65535}},
		"any protocol with ports": {AnyProtocol: true, Ports: &rules.Range{First: 1024, Last: 65535}},
		"one type":                {Protocol: rules.ICMP, ICMPType: octet(8)},
	} {
		c, err := rules.Compile(rules.Ruleset{Outside: rules.Deny, Identified: rules.Deny, Rules: []rules.Rule{{Action: rules.Pass, Services: []rules.Service{s}}}})
		if err != nil {
			t.Fatal(err)
		}
		if c.Entries() > 60 {
			t.Errorf("%s: %d entries", name, c.Entries())
		}
	}
}

func TestWhatDoesNotFitIsNamed(t *testing.T) {
	many := distinct(3000)
	for i := range 1000 { // each around all the others
		around := netip.PrefixFrom(netip.AddrFrom4([4]byte{10}), 8)
		many.Rules = append([]rules.Rule{{Name: fmt.Sprint("around ", i), Action: rules.Pass, Remote: rules.Addresses, Ranges: []netip.Prefix{around}, Services: ports(uint16(20000+i), uint16(20000+i))}}, many.Rules...)
	}
	for words, r := range map[string]rules.Ruleset{
		`compile rule "around `: many,
		`"ports of nothing": it names ports of protocol 47, which has none`: {Outside: rules.Deny, Identified: rules.Deny, Rules: []rules.Rule{{Name: "ports of nothing", Action: rules.Pass, Services: []rules.Service{{Protocol: 47, Ports: &rules.Range{First: 1, Last: 1}}}}}},
		`identity 1, which is no workload's`:                                {Outside: rules.Deny, Identified: rules.Deny, Rules: []rules.Rule{{Action: rules.Pass, Remote: rules.Workloads, Identities: []rules.Identity{1}}}},
		`what holds if no rule matches is none`:                             {},
	} {
		if _, err := rules.Compile(r); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want an error with %q: %v", words, err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	r := distinct(10_000)
	for b.Loop() {
		if _, err := rules.Compile(r); err != nil {
			b.Fatal(err)
		}
	}
}
