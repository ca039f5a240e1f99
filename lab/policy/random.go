// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/probe"
)

// Editor makes random changes of policy. What it makes can be written one by one
// or together, in any order.
type Editor struct {
	Rand *rand.Rand
	next int
	busy map[string]bool // objects that a change of this turn is about
}

// projects that have groups of their own.
var projects = []string{"red:shop", "red:test", "blue:shop"}

const (
	groupsEach    = 3 // of a project
	stateless     = "stateless"
	addressGroups = 2 // of a project
)

func header(kind api.Kind, parent, name string) api.Header {
	return api.Header{Kind: kind, Meta: api.Meta{Name: name, Parent: api.Ref{Name: parent}}}
}

func create(o api.Object) api.Operation { return api.Operation{Op: api.OpCreate, Object: o} }

// update writes a copy of an object that f has changed.
func update[T api.Object](o T, f func(T)) api.Operation {
	c := api.Clone(o)
	c.Head().Meta.Revision = 0
	f(c)
	return api.Operation{Op: api.OpUpdate, Object: c}
}

// Groups makes the groups, each with what a new one has: whatever its ports send passes.
func (e *Editor) Groups() (operations []api.Operation) {
	for _, p := range projects {
		for i := range addressGroups {
			g := &api.AddressGroup{Header: header(api.KindAddressGroup, p, fmt.Sprintf("a%d", i))}
			e.addresses(g)
			operations = append(operations, create(g))
		}
		for i := range groupsEach + 1 {
			g := &api.SecurityGroup{Header: header(api.KindSecurityGroup, p, groupName(i))}
			g.Spec.Stateless = i == groupsEach
			operations = append(operations, create(g))
			for _, f := range []api.Family{api.IPv4, api.IPv6} {
				r := e.newRule(p + ":" + groupName(i))
				r.Spec.Direction, r.Spec.Family = api.Egress, f
				operations = append(operations, create(r))
			}
		}
	}
	return operations
}

func groupName(i int) string {
	if i == groupsEach {
		return stateless
	}
	return fmt.Sprintf("g%d", i)
}

func (e *Editor) newRule(group string) *api.SecurityGroupRule {
	e.next++
	return &api.SecurityGroupRule{Header: header(api.KindSecurityGroupRule, group, fmt.Sprintf("r%d", e.next))}
}

// pick returns one of some values.
func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// GroupEdits are some changes of security-groups, their rules and members.
func (e *Editor) GroupEdits(m *Model, number int) (operations []api.Operation) {
	e.busy = map[string]bool{}
	for len(operations) < number {
		switch e.Rand.IntN(11) {
		case 0, 1, 2, 3, 4:
			operations = append(operations, create(e.groupRule(m)))
		case 5:
			if o, is := e.choose(m, api.KindSecurityGroup); is && o.Head().Meta.Name == groupName(0) {
				operations = append(operations, update(o.(*api.SecurityGroup), func(g *api.SecurityGroup) { g.Spec.Default = !g.Spec.Default }))
			}
		case 6:
			if o, is := e.choose(m, api.KindSecurityGroupRule); is {
				operations = append(operations, api.Operation{Op: api.OpDelete, Object: o})
			}
		case 7, 8:
			if o, is := e.choose(m, api.KindPort); is {
				operations = append(operations, update(o.(*api.Port), e.groupsOf))
			}
		default:
			if o, is := e.choose(m, api.KindAddressGroup); is {
				operations = append(operations, update(o.(*api.AddressGroup), e.addresses))
			}
		}
	}
	return operations
}

// choose returns an object that nothing of this turn is about.
func (e *Editor) choose(m *Model, kind api.Kind) (api.Object, bool) {
	list := m.kinds[kind]
	if len(list) == 0 {
		return nil, false
	}
	o := list[e.Rand.IntN(len(list))]
	id := o.Head().Meta.UUID
	if e.busy[id] {
		return nil, false
	}
	e.busy[id] = true
	return o, true
}

// groupsOf gives a port other groups: some of one kind, or none.
func (e *Editor) groupsOf(p *api.Port) {
	p.Spec.SecurityGroups, p.Spec.PortSecurity = nil, ""
	parent := project(p).Name
	switch e.Rand.IntN(12) {
	case 0:
		return
	case 1:
		p.Spec.PortSecurity = api.PortSecurityOff
	case 2:
		p.Spec.SecurityGroups = []api.Ref{{Name: parent + ":" + stateless}}
	default:
		for _, i := range e.Rand.Perm(groupsEach)[:1+e.Rand.IntN(2)] {
			p.Spec.SecurityGroups = append(p.Spec.SecurityGroups, api.Ref{Name: parent + ":" + groupName(i)})
		}
	}
}

// groupRule is a random rule of a random group that says what no other does.
func (e *Editor) groupRule(m *Model) *api.SecurityGroupRule {
	for {
		group := e.Rand.IntN(groupsEach + 1)
		p := pick(e.Rand, projects...)
		r := e.newRule(p + ":" + groupName(group))
		r.Spec.Direction = pick(e.Rand, api.Ingress, api.Ingress, api.Egress)
		r.Spec.Family = pick(e.Rand, api.IPv4, api.IPv6)
		r.Spec.Match = e.match(r.Spec.Family, true)
		switch e.Rand.IntN(10) {
		case 0, 1, 2:
			r.Spec.RemoteRange = e.rangeOf(r.Spec.Family)
		case 3, 4, 5:
			r.Spec.RemoteGroup = api.Ref{Name: e.domainProject(p) + ":" + groupName(e.Rand.IntN(groupsEach+1))}
		case 6:
			r.Spec.RemoteAddressGroup = api.Ref{Name: p + fmt.Sprintf(":a%d", e.Rand.IntN(addressGroups))}
		}
		says := fmt.Sprint(r.Meta.Parent.Name, key(r))
		same := slices.ContainsFunc(all[*api.SecurityGroupRule](m, api.KindSecurityGroupRule), func(o *api.SecurityGroupRule) bool {
			return o.Meta.Parent.Name == r.Meta.Parent.Name && key(o) == key(r)
		})
		if !same && !e.busy[says] {
			e.busy[says] = true
			return r
		}
	}
}

// key is what a rule says, whatever its references are written by.
func key(r *api.SecurityGroupRule) string {
	s := r.Spec
	number, _ := s.Match.Protocol.Number()
	text := fmt.Sprint(s.Direction, s.Family, number, s.Match.Protocol == "", s.RemoteRange.Masked(), s.RemoteGroup.Name, s.RemoteAddressGroup.Name)
	if p := s.Match.Ports; p != nil {
		text += p.String()
	}
	for _, n := range []*int{s.Match.ICMPType, s.Match.ICMPCode} {
		if n != nil {
			text += fmt.Sprint(" icmp ", *n)
		}
	}
	return text
}

// domainProject is a project of the same domain, as a rule may name.
func (e *Editor) domainProject(p string) string {
	if p == "blue:shop" {
		return p
	}
	return pick(e.Rand, "red:shop", "red:test")
}

var portRanges = []api.PortRange{{From: 80}, {From: 80, To: 443}, {From: 443, To: 6000}, {From: 5432}, {From: 1, To: 65535}, {From: 50, To: 60}}

// match is packets that attempts are of, more often than not. Rules of security-groups
// say nothing of source ports and of names.
func (e *Editor) match(f api.Family, group bool) api.Match {
	sources := !group
	switch e.Rand.IntN(9) {
	case 0, 1, 2:
		return api.Match{}
	case 3:
		return e.icmp(f)
	case 4:
		if !group {
			return pick(e.Rand, api.Match{Protocol: api.TCP, PortName: "web"}, api.Match{Protocol: "6", PortName: "web"}, api.Match{Protocol: api.UDP, PortName: "ask"})
		}
	}
	m := api.Match{Protocol: pick(e.Rand, api.TCP, "6", api.UDP, "17", api.SCTP, "47")}
	if !m.Protocol.HasPorts() {
		return m
	}
	if e.Rand.IntN(3) > 0 {
		m.Ports = new(pick(e.Rand, portRanges...))
	}
	if sources && e.Rand.IntN(6) == 0 {
		m.SourcePorts = &api.PortRange{From: 1024, To: 65535}
	}
	return m
}

// icmp is all of it, a type, or a type with a code; requests have code 0.
func (e *Editor) icmp(f api.Family) api.Match {
	m, kind := api.Match{Protocol: "icmp"}, pick(e.Rand, probe.EchoRequest4, probe.TimestampRequest)
	if f == api.IPv6 {
		m.Protocol, kind = pick(e.Rand, api.Protocol("icmpv6"), "58"), probe.EchoRequest6
	}
	if e.Rand.IntN(2) == 0 {
		m.ICMPType = &kind
		if e.Rand.IntN(2) == 0 {
			m.ICMPCode = new(pick(e.Rand, 0, 0, 1))
		}
	}
	return m
}

// addresses gives an address-group others.
func (e *Editor) addresses(g *api.AddressGroup) {
	g.Spec.Ranges, g.Spec.Except = e.ranges(), nil
	if e.Rand.IntN(2) == 0 {
		g.Spec.Except = []netip.Prefix{e.rangeOf(pick(e.Rand, api.IPv4, api.IPv6))}
	}
}

// rangeOf is one that some workloads are in.
func (e *Editor) rangeOf(f api.Family) netip.Prefix {
	if f == api.IPv6 {
		return netip.MustParsePrefix(pick(e.Rand, "::/0", "fd00:1::/64", "fd00:2::/64", "fd00:1::11/128", "fd00:1::10/127", "fd00::/16", "2001:db8::/32"))
	}
	return netip.MustParsePrefix(pick(e.Rand, "0.0.0.0/0", "10.0.1.0/24", "10.0.2.0/24", "10.0.1.11/32", "10.0.1.12/31", "10.0.0.0/8", "192.0.2.0/24"))
}

func (e *Editor) ranges() (ranges []netip.Prefix) {
	for _, f := range []api.Family{api.IPv4, api.IPv6} {
		for range e.Rand.IntN(3) {
			if r := e.rangeOf(f); !slices.Contains(ranges, r) {
				ranges = append(ranges, r)
			}
		}
	}
	return ranges
}
