// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/weft-network/weft/agent/desired"
)

// RuleHash stands for where a rule comes from. Its lower half is the number that
// the rule has if no other one has it.
func RuleHash(c desired.Cause) uint64 {
	return xxhash.Sum64String(strings.Join(append([]string{c.Object, c.Kind, c.Name, c.Owner, strconv.Itoa(c.Index)}, c.Via...), "\x00"))
}

// ruleNumbers gives rules the numbers by which the packet path counts and
// records what they decide. A number follows from where the rule comes from, so
// it stays when other rules come and go, and after a restart. Of two rules that
// would have the same one, who came first keeps it, and the other has the next
// that is free; of those that come together, the one with the lower hash is first.
type ruleNumbers struct {
	owners map[uint32]uint64
	moved  map[uint64]uint32 // of rules whose first choice was taken
}

// keptNumbers is how many numbers of rules that are gone stay theirs: their
// counts are still there, and so may be rulesets that have them.
const keptNumbers = 1 << 16

func firstNumber(hash uint64) uint32 { return max(1, uint32(hash)) }

// of returns the number of a rule that was added.
func (n *ruleNumbers) of(hash uint64) uint32 {
	if number, moved := n.moved[hash]; moved {
		return number
	}
	return firstNumber(hash)
}

// add gives numbers to the rules of rulesets that are new.
func (n *ruleNumbers) add(sets []desired.Ruleset) {
	var hashes []uint64
	for _, set := range sets {
		for cause := range set.Causes {
			if h := RuleHash(cause); n.owners[n.of(h)] != h {
				hashes = append(hashes, h)
			}
		}
	}
	slices.Sort(hashes)
	for _, h := range slices.Compact(hashes) {
		number := firstNumber(h)
		for n.taken(number) {
			number = max(1, number+1)
		}
		n.owners[number] = h
		if number != firstNumber(h) {
			n.moved[h] = number
		}
	}
}

func (n *ruleNumbers) taken(number uint32) bool {
	_, taken := n.owners[number]
	return taken
}

// forget takes the numbers of rules that are in none of these rulesets, if they are many.
func (n *ruleNumbers) forget(sets map[desired.Digest]desired.Ruleset) {
	rules := 0
	for _, set := range sets {
		rules += len(set.Rules)
	}
	if len(n.owners) <= rules+keptNumbers {
		return
	}
	here := make(map[uint64]bool, rules)
	for _, set := range sets {
		for cause := range set.Causes {
			here[RuleHash(cause)] = true
		}
	}
	maps.DeleteFunc(n.owners, func(_ uint32, h uint64) bool { return !here[h] })
	maps.DeleteFunc(n.moved, func(h uint64, _ uint32) bool { return !here[h] })
}

// RuleNumber is the number of a rule that ports of this host ask.
func (p *Programmer) RuleNumber(c desired.Cause) uint32 { return p.numbers.of(RuleHash(c)) }
