// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// applySecurity reads the lines about who may talk to whom:
//
//	security-group web [default] [stateless] [log] [project=q]
//	allow web NAME ingress IPv4 [SERVICE] [RANGE | group=db | addresses=a]
//	secured a web db                (the security-groups of port a; none without)
//	addresses a 10.0.0.0/8 -10.1.0.0/16 (address-group; what begins with - is excepted)
//	services s tcp/80 udp           (service-group)
//	tag t tier=web [project=q]      (tag t)
//	tagged t port a                 (binds it; to a project, network, host, virtual-machine or port)
//	named a http tcp 8080           (port a calls its TCP port 8080 http; repeatable)
//	limit a 100                     (connections)
//	held d 30                       (draft d holds a change for so many seconds; 0 none)
//	firewall-rule r deny [<>] [from=SIDE] [to=SIDE] [SERVICE]... [services=s] [match=TYPE]... [project=q] [disabled] [audit] [log]
//	firewall-policy f [r]... [for=SIDE] [isolates=ingress] [project=q] [audit] [log]
//	policy-set s [f]... [project=q] [global] [application=t] [tier=admin] [priority=5]
//
// A SERVICE is tcp, tcp/80, tcp/80-90, tcp/=http, tcp/80/1000-2000 (source ports last) or icmp/8/0. A SIDE is
// what holds, joined by +: tag=t, network=blue, project=q, addresses=a, a RANGE, -RANGE for an exception,
// TYPE:in:VALUE:..., TYPE:not-in:VALUE:..., TYPE:exists or TYPE:not-exists, with @LEVEL at the end, and %PROJECT after that.
func (w *World) applySecurity(f []string) {
	switch f[0] {
	case "security-group":
		g := &api.SecurityGroup{}
		g.Meta.Parent = projectOf(f[2:])
		for _, word := range f[2:] {
			g.Spec.Default = g.Spec.Default || word == "default"
			g.Spec.Stateless = g.Spec.Stateless || word == "stateless"
			g.Spec.Log = g.Spec.Log || word == "log"
		}
		w.Put(g, api.KindSecurityGroup, f[1])
	case "allow":
		w.allow(f)
	case "held":
		d := &api.Draft{}
		if seconds := int(number(f[2])); seconds > 0 {
			d.Spec.Hold = &api.Hold{Seconds: seconds}
		}
		w.Put(d, api.KindDraft, f[1])
	case "secured":
		change(w, api.KindPort, f[1], func(p *api.Port) {
			p.Spec.SecurityGroups = nil
			for _, g := range f[2:] {
				addRef(&p.Spec.SecurityGroups, api.KindSecurityGroup, g)
			}
		})
	case "addresses":
		a := &api.AddressGroup{}
		for _, word := range f[2:] {
			if except, ok := strings.CutPrefix(word, "-"); ok {
				a.Spec.Except = append(a.Spec.Except, netip.MustParsePrefix(except))
			} else {
				a.Spec.Ranges = append(a.Spec.Ranges, netip.MustParsePrefix(word))
			}
		}
		w.Put(a, api.KindAddressGroup, f[1])
	case "services":
		s := &api.ServiceGroup{}
		for _, word := range f[2:] {
			s.Spec.Services = append(s.Spec.Services, spoken(word))
		}
		w.Put(s, api.KindServiceGroup, f[1])
	case "named":
		change(w, api.KindPort, f[1], func(p *api.Port) {
			p.Spec.NamedPorts = slices.DeleteFunc(slices.Clone(p.Spec.NamedPorts), func(n api.NamedPort) bool { return n.Name == f[2] && n.Protocol == api.Protocol(f[3]) })
			p.Spec.NamedPorts = append(p.Spec.NamedPorts, api.NamedPort{Name: f[2], Protocol: api.Protocol(f[3]), Port: int(number(f[4]))})
		})
	case "limit":
		change(w, api.KindPort, f[1], func(p *api.Port) { p.Spec.ConnectionLimit = int(number(f[2])) })
	case "tag":
		t := &api.Tag{}
		t.Meta.Parent = projectOf(f[3:])
		t.Spec.Type, t.Spec.Value, _ = strings.Cut(f[2], "=")
		w.Put(t, api.KindTag, f[1])
	case "tagged":
		b := &api.TagBinding{}
		b.Spec.Tag, b.Spec.TargetKind, b.Spec.Target = Ref(api.KindTag, f[1]), api.Kind(f[2]), Ref(api.Kind(f[2]), f[3])
		if b.Spec.TargetKind == api.KindProject {
			b.Spec.Target = projectOf([]string{"project=" + f[3]})
		}
		w.Put(b, api.KindTagBinding, strings.Join(f[1:], "-"))
	default:
		w.applyFirewall(f)
	}
}

func projectOf(words []string) api.Ref {
	name := "p"
	for _, word := range words {
		if q, ok := strings.CutPrefix(word, "project="); ok {
			name = q
		}
	}
	return api.Ref{UUID: "project-" + name, Name: "d:" + name}
}

func (w *World) allow(f []string) {
	r := &api.SecurityGroupRule{}
	r.Meta.Parent = Ref(api.KindSecurityGroup, f[1])
	r.Spec.Direction, r.Spec.Family = api.Side(f[3]), api.Family(f[4])
	for _, word := range f[5:] {
		if g, ok := strings.CutPrefix(word, "group="); ok {
			r.Spec.RemoteGroup = Ref(api.KindSecurityGroup, g)
		} else if a, ok := strings.CutPrefix(word, "addresses="); ok {
			r.Spec.RemoteAddressGroup = Ref(api.KindAddressGroup, a)
		} else if p, err := netip.ParsePrefix(word); err == nil {
			r.Spec.RemoteRange = p
		} else {
			r.Spec.Match = spoken(word)
		}
	}
	w.Put(r, api.KindSecurityGroupRule, f[1]+":"+f[2])
}

// spoken reads a SERVICE.
func spoken(word string) (m api.Match) {
	parts := strings.Split(word, "/")
	m.Protocol = api.Protocol(parts[0])
	ports := func(word string) *api.PortRange {
		from, to, _ := strings.Cut(word, "-")
		r := &api.PortRange{From: int(number(from))}
		if to != "" {
			r.To = int(number(to))
		}
		return r
	}
	for i, part := range parts[1:] {
		if part == "" {
			continue
		}
		name, named := strings.CutPrefix(part, "=")
		switch {
		case named:
			m.PortName = name
		case strings.HasPrefix(parts[0], "icmp"):
			n := int(number(part))
			if i == 0 {
				m.ICMPType = &n
			} else {
				m.ICMPCode = &n
			}
		case i == 0:
			m.Ports = ports(part)
		default:
			m.SourcePorts = ports(part)
		}
	}
	return m
}

func (w *World) applyFirewall(f []string) {
	switch f[0] {
	case "firewall-rule":
		w.firewallRule(f)
	case "firewall-policy":
		p := &api.FirewallPolicy{}
		p.Meta.Parent = projectOf(f[2:])
		for _, word := range f[2:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "project":
			case "for":
				p.Spec.Workloads = side(value)
			case "isolates":
				p.Spec.Isolates = append(p.Spec.Isolates, api.Side(value))
			case "audit":
				p.Spec.Audit = true
			case "log":
				p.Spec.Log = true
			default:
				addRef(&p.Spec.Rules, api.KindFirewallRule, word)
			}
		}
		w.Put(p, api.KindFirewallPolicy, f[1])
	case "policy-set":
		s := &api.ApplicationPolicySet{}
		s.Meta.Parent = projectOf(f[2:])
		for _, word := range f[2:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "project":
			case "global":
				s.Spec.Scope = "global"
			case "application":
				s.Spec.Application = Ref(api.KindTag, value)
			case "tier":
				s.Spec.Tier = value
			case "priority":
				s.Spec.Priority = int(number(value))
			default:
				addRef(&s.Spec.Policies, api.KindFirewallPolicy, word)
			}
		}
		w.Put(s, api.KindApplicationPolicySet, f[1])
	default:
		if w.applyBalance(f) || w.applyHealth(f) || w.applyFloating(f) || w.applySourceNAT(f) {
			return
		}
		panic(fmt.Sprintf("world: %q is not a line", strings.Join(f, " ")))
	}
}

func (w *World) firewallRule(f []string) {
	r := &api.FirewallRule{}
	r.Spec.Action = api.Action(f[2])
	r.Meta.Parent = projectOf(f[3:])
	for _, word := range f[3:] {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case key == "project":
		case word == "<>":
			r.Spec.Direction = api.DirectionBoth
		case key == "from":
			r.Spec.Source = side(value)
		case key == "to":
			r.Spec.Destination = side(value)
		case key == "match":
			r.Spec.MatchTags = append(r.Spec.MatchTags, value)
		case key == "services":
			r.Spec.ServiceGroup = Ref(api.KindServiceGroup, value)
		case word == "disabled":
			r.Spec.Disabled = true
		case word == "audit":
			r.Spec.Audit = true
		case word == "log":
			r.Spec.Log = true
		default:
			r.Spec.Services = append(r.Spec.Services, spoken(word))
		}
	}
	w.Put(r, api.KindFirewallRule, f[1])
}

// side reads a SIDE.
func side(text string) (e api.Endpoint) {
	for _, word := range strings.Split(text, "+") {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "":
			continue
		case "tag":
			addRef(&e.Tags, api.KindTag, value)
			continue
		case "network":
			e.Network = Ref(api.KindNetwork, value)
			continue
		case "project":
			e.Project = projectOf([]string{word})
			continue
		case "addresses":
			e.AddressGroup = Ref(api.KindAddressGroup, value)
			continue
		}
		if except, ok := strings.CutPrefix(word, "-"); ok {
			e.Except = append(e.Except, netip.MustParsePrefix(except))
		} else if p, err := netip.ParsePrefix(word); err == nil {
			e.Range = p
		} else {
			e.Expressions = append(e.Expressions, expression(word))
		}
	}
	return e
}

// expression reads TYPE:OPERATOR:VALUE:...@LEVEL%PROJECT.
func expression(word string) (x api.TagExpression) {
	word, project, named := strings.Cut(word, "%")
	if named {
		x.Project = projectOf([]string{"project=" + project})
	}
	word, level, _ := strings.Cut(word, "@")
	parts := strings.Split(word, ":")
	x.Type, x.Operator, x.Values, x.Level = parts[0], parts[1], parts[2:], api.Kind(level)
	return x
}

func one(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

// RandomService is a SERVICE.
func RandomService(r *rand.Rand) string {
	return one(r, "tcp", "udp", "tcp/80", "tcp/80-90", "udp/53", "tcp/=http", "udp/=http", "tcp/81/1000-2000", "icmp", "icmpv6", "icmp/8", "icmpv6/128/0", "sctp/80", "47")
}

// RandomSecurity returns a line that changes who may talk to whom in a small
// world of networks n0 to n3, ports p0 to p7 and hosts h1 to h3.
func RandomSecurity(r *rand.Rand) string {
	group, port, network := fmt.Sprintf("g%d", r.IntN(3)), fmt.Sprintf("p%d", r.IntN(8)), fmt.Sprintf("n%d", r.IntN(4))
	tag, addresses, services := fmt.Sprintf("t%d", r.IntN(5)), fmt.Sprintf("a%d", r.IntN(2)), fmt.Sprintf("s%d", r.IntN(2))
	project := one(r, "p", "q0", "q1")
	family := one(r, "IPv4", "IPv6")
	remotes := map[string][]string{"IPv4": {"10.0.0.0/30", "0.0.0.0/0"}, "IPv6": {"2001:db8::/126", "::/0"}}[family]
	service := RandomService(r)
	for strings.Contains(service, "=") || strings.Count(service, "/") > 1 && service[0] == 't' {
		service = RandomService(r)
	}
	target := one(r, "project "+project, "network "+network, fmt.Sprintf("host h%d", 1+r.IntN(3)), fmt.Sprintf("virtual-machine m%d", r.IntN(2)), "port "+port, "port "+port)
	lines := []string{
		fmt.Sprintf("security-group %s project=%s %s %s %s", group, project, one(r, "", "", "default"), one(r, "", "", "stateless"), one(r, "", "log")),
		fmt.Sprintf("allow %s r%d %s %s %s %s", group, r.IntN(4), one(r, "ingress", "egress"), family, one(r, "", service), one(r, "", remotes[0], remotes[1], "group="+group, fmt.Sprintf("group=g%d", r.IntN(3)), "addresses="+addresses)),
		fmt.Sprintf("allow %s r%d %s %s %s", group, r.IntN(4), one(r, "ingress", "egress"), family, one(r, "", "group="+group)),
		fmt.Sprintf("secured %s %s", port, group),
		fmt.Sprintf("secured %s %s g%d", port, group, r.IntN(3)),
		"secured " + port,
		"secure " + port + " " + one(r, "on", "off"),
		fmt.Sprintf("addresses %s %s", addresses, one(r, "10.0.0.0/29 -10.0.0.2/32", "0.0.0.0/0 2001:db8::/125", "::/0 -2001:db8::2/128 10.0.0.3/32", "0.0.0.0/0 ::/0", "10.0.0.4/31")),
		fmt.Sprintf("services %s %s %s", services, RandomService(r), RandomService(r)),
		fmt.Sprintf("tag %s %s", tag, []string{"application=shop", "tier=web project=q0", "tier=db project=q1", "label=x", "label=y project=q0"}[tag[1]-'0']),
		fmt.Sprintf("tagged %s %s", tag, target),
		fmt.Sprintf("tagged %s %s", tag, target),
		fmt.Sprintf("named %s http tcp %d", port, 80+r.IntN(3)),
		fmt.Sprintf("limit %s %d", port, 1+r.IntN(3)),
		fmt.Sprintf("remove %s %s", api.KindSecurityGroup, group),
		fmt.Sprintf("remove %s %s:r%d", api.KindSecurityGroupRule, group, r.IntN(4)),
		fmt.Sprintf("remove %s %s", api.KindAddressGroup, addresses),
		fmt.Sprintf("remove %s %s", api.KindServiceGroup, services),
		fmt.Sprintf("remove %s %s", api.KindTag, tag),
		fmt.Sprintf("remove %s %s", api.KindTagBinding, strings.ReplaceAll(tag+" "+target, " ", "-")),
	}
	if n := r.IntN(len(lines) + 8); n < len(lines) {
		return lines[n]
	}
	return randomFirewall(r, project, network, tag, addresses, services)
}

func randomFirewall(r *rand.Rand, project, network, tag, addresses, services string) string {
	rule, policy, set := fmt.Sprintf("r%d", r.IntN(5)), fmt.Sprintf("f%d", r.IntN(3)), fmt.Sprintf("s%d", r.IntN(3))
	workloads := func() string {
		of := one(r, "", "%p", "%q0", "%q1")
		return one(r, "tag="+tag, "network="+network, "project="+project, "tier:in:web:db"+of, "label:not-in:x"+of, "label:exists@port"+of, "tier:not-exists"+of, "tag=t1+project="+project)
	}
	anywhere := func() string {
		return one(r, "", workloads(), workloads(), workloads(), "addresses="+addresses, "10.0.0.0/29+-10.0.0.1/32", "2001:db8::/126", "0.0.0.0/0")
	}
	words := fmt.Sprintf("firewall-rule %s %s %s", rule, one(r, "pass", "pass", "deny", "reject", "next"), one(r, "", "<>"))
	if from := anywhere(); from != "" {
		words += " from=" + from
	}
	if to := anywhere(); to != "" {
		words += " to=" + to
	}
	words += " " + one(r, "", "", RandomService(r), RandomService(r)+" "+RandomService(r), "services="+services)
	words += " " + one(r, "", "", "", "match=tier", "match=label match=tier") + " " + one(r, "", "", "", "log", "audit", "disabled") + " project=" + one(r, "p", "q0", "q0", "q1")
	lines := []string{
		words, words, words,
		fmt.Sprintf("firewall-policy %s %s r%d %s %s %s", policy, rule, r.IntN(5), one(r, "", "", "for="+workloads()), one(r, "", "", "isolates=ingress", "isolates=egress isolates=ingress"), one(r, "", "", "", "audit")+one(r, "", " log")+" project="+one(r, "p", "q0", "q0", "q1")),
		fmt.Sprintf("policy-set %s %s f%d project=%s %s %s tier=%s priority=%d", set, policy, r.IntN(3), project, one(r, "", "global"), one(r, "", "application=t0"), one(r, "admin", "default", "default", "baseline"), r.IntN(2)),
		fmt.Sprintf("policy-set %s %s project=%s tier=%s", set, policy, project, one(r, "admin", "default", "baseline")),
		fmt.Sprintf("remove %s %s", api.KindFirewallRule, rule),
		fmt.Sprintf("remove %s %s", api.KindFirewallPolicy, policy),
		fmt.Sprintf("remove %s %s", api.KindApplicationPolicySet, set),
	}
	return lines[r.IntN(len(lines))]
}
