// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// The groups that remotes of membership are in, as bits of an identity.
const (
	inOld = 1 << iota
	inNew
	inBad // of which a rule before the others says no
	groupSets
)

const firstMember = 100 // identity of a remote in no group

var groupNames = map[int]string{inOld: "old", inNew: "new", inBad: "bad"}

// memberRows is a port that hears whoever is in old or new and not in bad, and
// remotes in groups.
func memberRows(groups []int) map[string]*hoststream.Row {
	rows := policedRows("r")
	delete(rows, desired.SelectorRow("s"))
	set := rows[desired.RulesetRow("r")].GetRuleset()
	for _, bit := range []int{inBad, inOld, inNew} {
		action := "pass"
		if bit == inBad {
			action = "deny"
		}
		set.Rules = append(set.Rules, &hoststream.Rule{Object: groupNames[bit], Kind: "firewall-rule", Action: action,
			Remote: &hoststream.Rule_Selected{Selected: &hoststream.Selected{Selectors: []string{groupNames[bit]}}}})
		meant := &hoststream.Selector{Selector: groupNames[bit]}
		there := map[int]bool{}
		for _, g := range groups {
			there[g] = true
		}
		for g := range groupSets {
			if there[g] && g&bit != 0 {
				meant.Identities = append(meant.Identities, firstMember+uint64(g))
			}
		}
		rows[desired.SelectorRow(groupNames[bit])] = &hoststream.Row{Body: &hoststream.Row_Selector{Selector: meant}}
	}
	for i, g := range groups {
		m := &hoststream.Route{Vrf: 1, PrefixAddress: remote(i).AsSlice(), PrefixLength: 32, Workload: firstMember + uint64(g), NextHop: &hoststream.Route_Gateway{Gateway: &hoststream.Gateway{}}}
		rows[desired.RouteRow(desired.RouteKey{VRF: 1, Prefix: netip.PrefixFrom(remote(i), 32)})] = &hoststream.Row{Body: &hoststream.Row_Route{Route: m}}
	}
	return rows
}

func remote(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}) }

func heard(groups int) bool { return groups&(inOld|inNew) != 0 && groups&inBad == 0 }

// hears is what the kernel says now of a remote at the port.
func (p *policed) hears(i int) bool {
	who := p.m.Routes.Rows[vrouter.RouteKey{VRF: 1, Prefix: netip.PrefixFrom(remote(i), 32)}].Identity
	var id uint32
	for _, id = range p.m.PortPolicies.Rows[4].Rulesets[rules.Ingress] {
		if id != 0 {
			break
		}
	}
	verdict := p.m.Rulesets.Rows[id].Identified
	if class, named := p.m.RemoteClasses.Rows[vrouter.RemoteClassKey{Ruleset: id, Identity: who}]; named {
		verdict = class.Any
	}
	return verdict.Action == rules.Pass
}

// While remotes change groups, in as many deltas as it takes, the port hears
// at every moment whom it hears before and after, and nobody whom it hears neither
// before nor after.
func TestMembersChangeWithoutAGap(t *testing.T) {
	r := seeded(t)
	p := newPoliced(t)
	groups := make([]int, 6)
	watch := func(before, after []int) func() {
		return func() {
			for i := range groups {
				if was, will := heard(before[i]), heard(after[i]); was == will && p.hears(i) != was {
					t.Fatalf("remote %d goes from groups %b to %b, and for a moment hearing it is %t", i, before[i], after[i], !was)
				}
			}
		}
	}
	p.apply(memberRows(groups))
	routes, policies := p.m.Routes.Check, p.m.PortPolicies.Check
	for range 200 {
		before := append([]int(nil), groups...)
		for range 1 + r.IntN(len(groups)) {
			groups[r.IntN(len(groups))] = r.IntN(groupSets)
		}
		now := watch(before, groups)
		p.m.Routes.Check = func(k vrouter.RouteKey, v vrouter.Route, deleted bool) { routes(k, v, deleted); now() }
		p.m.PortPolicies.Check = func(ifindex int, v vrouter.PortPolicy, deleted bool) { policies(ifindex, v, deleted); now() }
		p.revision++
		d := delta(p.has, memberRows(groups), p.revision, true)
		for _, part := range parted(d, r.IntN) {
			if err := p.c.Apply(part); err != nil {
				t.Fatal(err)
			}
			settle(t, p.c, &p.now)
			now()
		}
		meant := map[int]bool{}
		for _, g := range groups {
			meant[g] = g != 0
		}
		delete(meant, 0)
		named := 0
		for k := range p.m.RemoteClasses.Rows {
			if k.Identity != rules.Pending {
				named++
			}
		}
		if len(p.m.Rulesets.Rows) != 1 || named != len(meant) {
			t.Fatalf("of groups %v there are %d rulesets, want 1, and %d identities\n%s", groups, len(p.m.Rulesets.Rows), named, show(p.m))
		}
	}
}

// parted is a delta in several, in the order in which a controller sends rows.
func parted(d *hoststream.Delta, chance func(int) int) (parts []*hoststream.Delta) {
	var rest []*hoststream.EncodedRow
	for _, class := range []string{"selector/", "ruleset/", "port/", "route/"} {
		for _, row := range d.Put {
			if len(row.Key) > len(class) && row.Key[:len(class)] == class {
				rest = append(rest, row)
			}
		}
	}
	if len(rest) != len(d.Put) {
		panic(fmt.Sprint("rows of other kinds in ", d.Put))
	}
	for len(rest) > 0 {
		n := 1 + chance(len(rest))
		parts = append(parts, &hoststream.Delta{Version: d.Version, Sequence: d.Sequence, Put: rest[:n]})
		rest = rest[n:]
	}
	if len(parts) == 0 {
		return []*hoststream.Delta{d}
	}
	last := parts[len(parts)-1]
	last.Delete, last.InSync = d.Delete, true
	return parts
}
