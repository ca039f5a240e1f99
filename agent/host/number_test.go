// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
)

// twins are the objects of two rules that would have the same number, the one
// with the lower hash first.
func twins(t *testing.T) (first, second string) {
	t.Helper()
	seen := map[uint32]string{}
	hash := func(object string) uint64 {
		return datapath.RuleHash(desired.Cause{Object: object, Kind: "security-group-rule", Name: "acme:" + object})
	}
	for n := range 1 << 20 { // of as many, some hundred have
		object := fmt.Sprint("object ", n)
		other, met := seen[uint32(hash(object))]
		if met && hash(other) < hash(object) {
			return other, object
		}
		if met {
			return object, other
		}
		seen[uint32(hash(object))] = object
	}
	t.Fatal("no two rules would have the same number")
	return "", ""
}

// ruled is a port that asks rules of these objects.
func ruled(objects ...string) map[string]*hoststream.Row {
	var ports []uint32
	for i := range objects {
		ports = append(ports, uint32(80+i))
	}
	rows := policedRows("r", ports...)
	for i, rule := range rows[desired.RulesetRow("r")].GetRuleset().Rules {
		rule.Object, rule.Name = objects[i], "acme:"+objects[i]
	}
	return rows
}

// numbersOf are the numbers of the rules that verdicts in the kernel name, and
// fails if one stands for two rules.
func (p *policed) numbersOf(t *testing.T) (all []uint32) {
	t.Helper()
	for n, rules := range p.c.Rules() {
		if len(rules) != 1 || p.c.RuleNumber(rules[0].Cause) != n {
			t.Errorf("number %08x stands for %v", n, rules)
		}
		all = append(all, n)
	}
	slices.Sort(all)
	var inKernel []uint32
	for _, v := range p.m.Verdicts.Rows {
		if v.Rule != 0 {
			inKernel = append(inKernel, v.Rule)
		}
	}
	slices.Sort(inKernel)
	if inKernel = slices.Compact(inKernel); !slices.Equal(all, inKernel) {
		t.Errorf("rules are %08x, and in the kernel %08x", all, inKernel)
	}
	return all
}

// No two rules of a host are counted together, in whatever order they come, and
// who has a number keeps it.
func TestNoTwoRulesHaveOneNumber(t *testing.T) {
	first, second := twins(t)
	together := newPoliced(t)
	together.apply(ruled(second, first, "a third"))
	if got := together.numbersOf(t); len(got) != 3 {
		t.Errorf("three rules have the numbers %08x", got)
	}
	later := newPoliced(t)
	later.apply(ruled(second))
	had := later.numberOf(second)
	later.apply(ruled(first, second))
	if got := later.numbersOf(t); len(got) != 2 || had == 0 || later.numberOf(second) != had {
		t.Errorf("the rule that was there had %08x, and both now have %08x", had, got)
	}
	moved := later.numberOf(first)
	later.apply(ruled(first))
	later.apply(ruled(first, second))
	if later.numbersOf(t); later.numberOf(first) != moved || later.numberOf(second) != had {
		t.Errorf("a rule came back, and %08x and %08x are %08x and %08x", moved, had, later.numberOf(first), later.numberOf(second))
	}
}

// numberOf is that of the rule of an object, 0 if it has none.
func (p *policed) numberOf(object string) uint32 {
	for n, rules := range p.c.Rules() {
		if rules[0].Object == object {
			return n
		}
	}
	return 0
}
