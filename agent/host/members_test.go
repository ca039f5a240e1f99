// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"fmt"
	"net/netip"
	"slices"
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

// The rules that the port may have: what the groups of a remote are to it, the
// first that it is in decides.
var memberRules = [][]struct {
	in   int
	pass bool
}{
	{{inBad, false}, {inOld, true}, {inNew, true}},
	{{inOld, true}},
	{{inNew, true}},
	{{inOld, false}, {inNew, true}, {inBad, true}},
}

// memberRows is a port with rules for groups, and remotes in groups. Every second one of
// these has no route here and is behind a virtual address.
func memberRows(set int, groups []int) map[string]*hoststream.Row {
	name := fmt.Sprint("r", set)
	rows := policedRows(name)
	delete(rows, desired.SelectorRow("s"))
	for _, rule := range memberRules[set] {
		action := "deny"
		if rule.pass {
			action = "pass"
		}
		r := rows[desired.RulesetRow(name)].GetRuleset()
		r.Rules = append(r.Rules, &hoststream.Rule{Object: groupNames[rule.in], Kind: "firewall-rule", Action: action,
			Remote: &hoststream.Rule_Selected{Selected: &hoststream.Selected{Selectors: []string{groupNames[rule.in]}}}})
		meant := &hoststream.Selector{Selector: groupNames[rule.in]}
		for g := range groupSets {
			if slices.Contains(groups, g) && g&rule.in != 0 {
				meant.Identities = append(meant.Identities, firstMember+uint64(g))
			}
		}
		rows[desired.SelectorRow(groupNames[rule.in])] = &hoststream.Row{Body: &hoststream.Row_Selector{Selector: meant}}
	}
	for i, g := range groups {
		if i%2 == 1 {
			placeMember(rows, i, g)
			continue
		}
		m := &hoststream.Route{Vrf: 1, PrefixAddress: remote(i).AsSlice(), PrefixLength: 32, Workload: firstMember + uint64(g), NextHop: &hoststream.Route_Gateway{Gateway: &hoststream.Gateway{}}}
		rows[desired.RouteRow(desired.RouteKey{VRF: 1, Prefix: netip.PrefixFrom(remote(i), 32)})] = &hoststream.Row{Body: &hoststream.Row_Route{Route: m}}
	}
	return rows
}

// placeMember puts a remote behind the virtual address.
func placeMember(rows map[string]*hoststream.Row, i, groups int) {
	of := desired.BalancerKey{VRF: 1, ID: "lb"}
	l := &hoststream.Listener{Vrf: of.VRF, LoadBalancer: of.ID, Listener: "l", Pool: "p", Addresses: [][]byte{{10, 96, 0, 1}}, Protocol: 17, Port: 53}
	rows[desired.ListenerRow(of, l.Listener)] = &hoststream.Row{Body: &hoststream.Row_Listener{Listener: l}}
	mac := placeOf(i).MAC
	m := &hoststream.Member{
		Vrf: of.VRF, LoadBalancer: of.ID, Member: fmt.Sprint("m", i), Pool: l.Pool, Port: portID(1), Addresses: [][]byte{remote(i).AsSlice()}, TargetPort: 53,
		Mac: mac[:], State: "active", Weight: 1, Workload: firstMember + uint64(groups),
	}
	rows[desired.MemberRow(of, m.Member)] = &hoststream.Row{Body: &hoststream.Row_Member{Member: m}}
}

func placeOf(i int) vrouter.PoolMemberKey {
	return vrouter.PoolMemberKey{
		ListenerKey: vrouter.ListenerKey{VRF: 1, Address: netip.AddrFrom4([4]byte{10, 96, 0, 1}), Protocol: 17, Port: 53},
		MAC:         vrouter.MAC{0x0a, byte(i)},
	}
}

// who a remote is, as the kernel says now.
func (p *policed) who(i int) rules.Identity {
	if m, behind := p.m.PoolMembers.Rows[placeOf(i)]; behind {
		return m.Identity
	}
	return p.m.Routes.Rows[vrouter.RouteKey{VRF: 1, Prefix: netip.PrefixFrom(remote(i), 32)}].Identity
}

func remote(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}) }

func heard(set, groups int) bool {
	for _, rule := range memberRules[set] {
		if groups&rule.in != 0 {
			return rule.pass
		}
	}
	return false
}

// hears is what the kernel says now of a remote at the port.
func (p *policed) hears(i int) bool {
	who := p.who(i)
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

// While remotes change groups, in as many deltas as it takes, or rules change and
// groups with them in one, the port hears at every moment whom it hears before and
// after, and nobody whom it hears neither before nor after.
func TestMembersChangeWithoutAGap(t *testing.T) {
	r := seeded(t)
	p := newPoliced(t)
	set, groups := 0, make([]int, 6)
	p.apply(memberRows(set, groups))
	routes, policies := p.m.Routes.Check, p.m.PortPolicies.Check
	for range 400 {
		former, before := set, slices.Clone(groups)
		for range r.IntN(len(groups)) {
			groups[r.IntN(len(groups))] = r.IntN(groupSets)
		}
		if r.IntN(2) == 0 {
			set = r.IntN(len(memberRules))
		}
		now := func() {
			for i := range groups {
				if was, will := heard(former, before[i]), heard(set, groups[i]); was == will && p.hears(i) != was {
					t.Fatalf("from rules %d to %d, remote %d goes from groups %b to %b, and for a moment hearing it is %t", former, set, i, before[i], groups[i], !was)
				}
			}
		}
		p.m.Routes.Check = func(k vrouter.RouteKey, v vrouter.Route, deleted bool) { routes(k, v, deleted); now() }
		p.m.PortPolicies.Check = func(ifindex int, v vrouter.PortPolicy, deleted bool) { policies(ifindex, v, deleted); now() }
		p.m.PoolMembers.Check = func(vrouter.PoolMemberKey, vrouter.PoolMember, bool) { now() }
		p.revision++
		d := delta(p.has, memberRows(set, groups), p.revision, true)
		parts := []*hoststream.Delta{d}
		if set == former {
			parts = parted(d, r.IntN)
		}
		for _, part := range parts {
			if err := p.c.Apply(part); err != nil {
				t.Fatal(err)
			}
			settle(t, p.c, &p.now)
			now()
		}
		p.onlyThose(set, groups)
	}
}

// onlyThose fails the test if the kernel has more of rules than of these, and
// routes say anything else.
func (p *policed) onlyThose(set int, groups []int) {
	p.t.Helper()
	meant := map[rules.Identity]bool{}
	for i, g := range groups {
		for _, rule := range memberRules[set] {
			if g&rule.in != 0 {
				meant[firstMember+rules.Identity(g)] = true
			}
		}
		if got := p.who(i); got != firstMember+rules.Identity(g) {
			p.t.Fatalf("remote %d of groups %b is %d", i, g, got)
		}
	}
	for k := range p.m.RemoteClasses.Rows {
		if k.Identity != rules.Pending && !meant[k.Identity] {
			p.t.Fatalf("of groups %b identity %d is left\n%s", groups, k.Identity, show(p.m))
		}
	}
	if len(p.m.Rulesets.Rows) != 1 {
		p.t.Fatalf("%d rulesets are left, want 1\n%s", len(p.m.Rulesets.Rows), show(p.m))
	}
}

// parted is a delta in several, in the order in which a controller sends rows.
func parted(d *hoststream.Delta, chance func(int) int) (parts []*hoststream.Delta) {
	var rest []*hoststream.EncodedRow
	for _, class := range []string{"selector/", "ruleset/", "port/", "route/", "listener/", "member/"} {
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
