// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/vrouter/rules"
)

// decoder makes of what hosts are sent what the model of the kernel decides by.
type decoder struct {
	*policy.Derived
	known map[*policy.Ruleset]*rules.Ruleset
}

func (d decoder) end(t *testing.T, layers [policy.Layers]*policy.Ruleset) (e rules.End) {
	for layer, r := range layers {
		if r == nil {
			continue
		}
		if d.known[r] == nil {
			d.known[r] = d.ruleset(t, r.Message())
		}
		e.Rulesets[layer] = d.known[r]
	}
	return e
}

func (d decoder) ruleset(t *testing.T, m *hoststream.Ruleset) *rules.Ruleset {
	r := &rules.Ruleset{Outside: action(t, m.Outside), Identified: action(t, m.Identified)}
	for _, from := range m.Rules {
		rule := rules.Rule{Name: from.Name, Action: action(t, from.Action), Log: from.Log, Audit: from.Audit}
		switch remote := from.Remote.(type) {
		case *hoststream.Rule_Selected:
			rule.Remote = rules.Workloads
			for _, id := range remote.Selected.Selectors {
				for _, i := range d.Selector(id).Identities {
					rule.Identities = append(rule.Identities, rules.Identity(i))
				}
			}
		case *hoststream.Rule_Ranges:
			rule.Remote, rule.Ranges, rule.Except = rules.Addresses, prefixes(remote.Ranges.Ranges), prefixes(remote.Ranges.Except)
		}
		for _, s := range from.Services {
			service := rules.Service{Family: uint8(s.Family), Protocol: uint8(s.GetProtocol()), AnyProtocol: s.Protocol == nil}
			service.Ports, service.SourcePorts = portRange(s.Ports), portRange(s.SourcePorts)
			service.ICMPType, service.ICMPCode = octet(s.IcmpType), octet(s.IcmpCode)
			rule.Services = append(rule.Services, service)
		}
		r.Rules = append(r.Rules, rule)
	}
	return r
}

func action(t *testing.T, word string) rules.Action {
	a, err := rules.ParseAction(word)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func prefixes(from []*hoststream.Prefix) (all []netip.Prefix) {
	for _, p := range from {
		a, _ := netip.AddrFromSlice(p.Address)
		all = append(all, netip.PrefixFrom(a, int(p.Length)))
	}
	return all
}

func portRange(r *hoststream.NumberRange) *rules.Range {
	if r == nil {
		return nil
	}
	return &rules.Range{First: uint16(r.First), Last: uint16(r.Last)}
}

func octet(n *uint32) *uint8 {
	if n == nil {
		return nil
	}
	o := uint8(*n)
	return &o
}

// route is how a port's network reaches an address of another port, if it does.
func route(d *policy.Derived, from *routing.Port, to *routing.Port, a netip.Addr) (identity uint64, ok bool) {
	for i := range d.Routing.Network(from.Network.Ref.UUID).Routes {
		if r := &d.Routing.Network(from.Network.Ref.UUID).Routes[i]; r.Prefix == netip.PrefixFrom(a, a.BitLen()) && r.Port == to.Ref {
			return d.Owner(r, nil), true
		}
	}
	return 0, false
}

// randomPacket is a first packet between two ports.
func randomPacket(r *rand.Rand, from, to *routing.Port, objects func(*routing.Port) *api.Port) (p Packet, ok bool) {
	if len(from.Addresses) == 0 || len(to.Addresses) == 0 {
		return p, false
	}
	p = Packet{From: objects(from), To: objects(to), Source: from.Addresses[r.IntN(len(from.Addresses))].IP, Destination: to.Addresses[r.IntN(len(to.Addresses))].IP}
	if p.Source.Is4() != p.Destination.Is4() {
		return p, false
	}
	switch p.Protocol = []int{6, 6, 6, 17, 17, 132, 47, 1}[r.IntN(8)]; p.Protocol {
	case 1:
		p.Type, p.Code = 8, 0
		if r.IntN(3) == 0 {
			p.Type, p.Code = 13, 1
		}
		if p.Source.Is6() {
			p.Protocol, p.Type = probe.ProtocolICMPv6, 120+p.Type
		}
	case 47:
	default:
		p.SourcePort, p.Port = []int{999, 1000, 2000, 2001, 40000}[r.IntN(5)], []int{53, 79, 80, 81, 82, 90, 91}[r.IntN(7)]
	}
	return p, true
}

// decide asks both ends as the kernel does.
func (d decoder) decide(t *testing.T, p Packet, from, to *routing.Port) (decision rules.Decision, ok bool) {
	receiver, there := route(d.Derived, from, to, p.Destination)
	sender, back := route(d.Derived, to, from, p.Source)
	if !there || !back {
		return decision, false
	}
	packet := rules.Packet{Identity: rules.Identity(receiver), Remote: p.Destination, Protocol: uint8(p.Protocol), SourcePort: uint16(p.SourcePort), Port: uint16(p.Port)}
	if p.icmp() {
		packet.Port = rules.ICMPPort(uint8(p.Type), uint8(p.Code))
	}
	decision = d.end(t, d.Port(from.Ref.UUID).Rulesets[policy.Egress]).Decide(packet)
	if decision.Action != rules.Pass {
		return decision, true
	}
	packet.Identity, packet.Remote = rules.Identity(sender), p.Source
	return d.end(t, d.Port(to.Ref.UUID).Rulesets[policy.Ingress]).Decide(packet), true
}

// randomPolicies is a line about network-policies, or about anything else.
func randomPolicies(r *rand.Rand, firewall, networks bool) string {
	side := func() string {
		return []string{"any", "any", "local", "10.0.0.0/30", "policy=pol0", "n0", "n1", "n2", "n3", "subnet=n0:10.0.0.0/24"}[r.IntN(10)]
	}
	n := r.IntN(10)
	switch {
	case firewall:
		n = 9
	case networks:
		n = r.IntN(4)
	}
	switch policy := fmt.Sprintf("pol%d", r.IntN(2)); n {
	case 0, 1:
		return fmt.Sprintf("rule %s %s %s %s %s %s", policy, []string{"pass", "pass", "deny"}[r.IntN(3)], side(), []string{"<>", ">"}[r.IntN(2)], side(), []string{"", "", "tcp", "tcp/80-90", "udp/53 log", "tcp/=http"}[r.IntN(6)])
	case 2:
		return fmt.Sprintf("attach %s n%d", policy, r.IntN(4))
	case 3:
		return fmt.Sprintf("policy %s any any", policy)
	}
	for {
		line := world.RandomSecurity(r)
		word, _, _ := strings.Cut(strings.TrimPrefix(line, "remove "), " ")
		if strings.HasPrefix(line, "security-group ") && strings.Contains(line, "default") {
			continue // a project has one, and it is made below
		}
		if firewall && !slices.Contains([]string{"firewall-rule", "firewall-policy", "policy-set", "tagged", "named", "addresses", "services"}, word) {
			continue
		}
		if strings.Contains(line, "match=") && (strings.Contains(line, "addresses=") || strings.Contains(line, "0/") || strings.Contains(line, "::")) {
			continue // the API admits no rule with matchTags and addresses
		}
		// What others refer to the store keeps.
		if !strings.HasPrefix(line, "remove ") || slices.Contains([]string{"security-group-rule", "tag-binding", "application-policy-set"}, word) {
			return line
		}
	}
}

// referents are there before anything refers to them.
const referents = `host h1 192.0.2.1
host h2 192.0.2.2
host h3 192.0.2.3
machine m0 a
machine m1 b
security-group g0 project=q0 default
security-group g1 project=q0
security-group g2 project=q1
addresses a0 10.0.0.0/29
addresses a1 10.0.0.4/31
services s0 tcp/80
services s1 udp
tag t0 application=shop
tag t1 tier=web project=q0
tag t2 tier=db project=q1
tag t3 label=x
tag t4 label=y project=q0
policy pol0 any any
policy pol1
firewall-policy f0
firewall-policy f1
firewall-policy f2
`

// retyped has the lines of a world say another type of tags for tier, so that each is
// met of which the nearest counts.
func retyped(lines string, number int) string {
	kind := []string{api.TagTier, api.TagDeployment, api.TagSite}[number/3%3]
	return strings.NewReplacer("tier=web", kind+"=web", "tier=db", kind+"=db", "tier:", kind+":", "match=tier", "match="+kind).Replace(lines)
}

// layers are what decides, and how, of which enough must have been seen.
var layers = []string{"pass network-policy", "pass security-group", "pass firewall", "deny network-policy", "deny security-group", "deny firewall", "reject firewall"}

// What control compiles, asked at both ends, is what the model says that walks
// the objects: in random worlds, for conversations between any two ports that
// have routes to each other.
func TestCompiledPolicyIsTheModel(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 6))
	t.Logf("seed %d", seed)
	counts, total := map[string]int{}, 0
	enough := func() bool {
		return !slices.ContainsFunc(layers, func(layer string) bool { return counts[layer] < 100 })
	}
	for round := 0; round < 90 || round < 1000 && !enough(); round++ {
		w, firewall, networks := world.New(retyped(referents, round)), round%3 == 0, round%3 == 1
		for i := range 8 {
			n := i % 4
			w.Do(fmt.Sprintf("network n%d %d\nsubnet n%d 10.0.0.0/24\nport n%d p%d q%d\naddress n%d 10.0.0.%d p%d\naddress n%d 2001:db8::%d p%d\nbind p%d h%d\nruns m%d p%d",
				n, n+1, n, n, i, r.IntN(2), n, i+1, i, n, i+1, i, i, 1+r.IntN(3), r.IntN(2), i))
			if firewall || networks { // and nothing else
				w.Do(fmt.Sprintf("secure p%d off\ntagged t%d port p%d\ntagged t%d port p%d\nnamed p%d http tcp %d", i, r.IntN(3), i, 3+r.IntN(2), i, i, 80+r.IntN(3)))
			}
		}
		var lines []string
		for range 4 {
			for range 30 {
				line := retyped(randomPolicies(r, firewall, networks), round)
				lines = append(lines, line)
				w.Do(line)
			}
			total += compareWorld(t, r, w, counts, func() string { return fmt.Sprintf("seed %d: after\n%s\n", seed, strings.Join(lines, "\n")) })
		}
	}
	t.Logf("%d conversations: %v", total, counts)
	for _, layer := range layers {
		if counts[layer] < 100 {
			t.Errorf("seed %d: only %d of %s", seed, counts[layer], layer)
		}
	}
}

func compareWorld(t *testing.T, r *rand.Rand, w *world.World, counts map[string]int, story func() string) (compared int) {
	t.Helper()
	var objects []api.Object
	for _, kind := range read {
		objects = append(objects, w.List(kind)...)
	}
	model := NewModel(objects)
	derived := policy.Derive(routing.Derive(w.Snapshot()))
	d := decoder{derived, map[*policy.Ruleset]*rules.Ruleset{}}
	ports := derived.Routing.Ports()
	object := func(p *routing.Port) *api.Port { return w.Get(api.KindPort, p.Ref.UUID).(*api.Port) }
	for range 300 {
		from, to := ports[r.IntN(len(ports))], ports[r.IntN(len(ports))]
		if from == to {
			continue
		}
		p, ok := randomPacket(r, from, to, object)
		if !ok {
			continue
		}
		got, reachable := d.decide(t, p, from, to)
		if !reachable {
			continue
		}
		want := model.Decide(p)
		if got.Action.String() != string(want.Action) {
			t.Fatalf("%s%s to %s, %v to %v, protocol %d, ports %d to %d, type %d: compiled %s by %s, the model says %s\n%s", story(), from.Ref, to.Ref, p.Source, p.Destination, p.Protocol, p.SourcePort, p.Port, p.Type, got.Action, got.Layer, want, w.Names(derived.String()))
		}
		layer, _, _ := strings.Cut(got.Layer.String(), "-admin")
		if got.Action == rules.Pass && len(got.Asked) == 0 {
			layer = "nothing"
		}
		if layer, _, _ = strings.Cut(layer, "-baseline"); got.Action != rules.Pass && !slices.Contains([]string{layer, ""}, want.Layer) {
			t.Fatalf("%s%s to %s: compiled %s by %s, the model says %s", story(), from.Ref, to.Ref, got.Action, got.Layer, want)
		}
		counts[got.Action.String()+" "+layer]++
		compared++
	}
	return compared
}
