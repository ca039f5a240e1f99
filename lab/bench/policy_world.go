// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// Of the hosts the first three have Weft and the last two forward.
const (
	policyHosts = 5
	weftHosts   = 3
	sender      = 4
	receiver    = 5
)

// admitted is an address and a port that a rule lets in.
type admitted struct {
	from netip.Addr
	port int
}

// admits are rules of both families in turn, of which none but the last two
// meets a client.
func admits(count int, clients ...netip.Addr) (all []admitted) {
	for i := range max(0, count-len(clients)) {
		a := netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)})
		if i%2 == 1 {
			a = netip.AddrFrom16([16]byte{0xfd, 0, 0, 9, 14: byte(i >> 8), 15: byte(i)})
		}
		all = append(all, admitted{a, 10000 + i})
	}
	for _, c := range clients {
		all = append(all, admitted{c, exchangePort})
	}
	return all
}

// The networks behind the plain hosts.
func plainNetwork(host int) []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", host)), netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", host))}
}

func wirePolicy(ctx context.Context, l *topology.Lab, rules int) ([]ruledPath, error) {
	if err := l.WireUnderlay(); err != nil {
		return nil, err
	}
	plain, err := wireForwarding(l, rules)
	if err != nil {
		return nil, err
	}
	weft, err := wirePoliced(ctx, l, rules)
	if err != nil {
		return nil, err
	}
	return append(plain, weft...), steer(l)
}

// wireForwarding makes two hosts that forward, a workload behind each.
func wireForwarding(l *topology.Lab, rules int) ([]ruledPath, error) {
	for _, n := range []int{sender, receiver} {
		host, workload := l.Namespace(topology.HostName(n)), l.Namespace(fmt.Sprintf("n%d", n))
		if err := namespace.Create(workload); err != nil {
			return nil, err
		}
		here, there := namespace.End{Namespace: host, Name: "inside"}, namespace.End{Namespace: workload, Name: "eth0"}
		for _, p := range plainNetwork(n) {
			here.Addresses, there.Addresses = append(here.Addresses, hostAt(p, 1)), append(there.Addresses, hostAt(p, 2))
		}
		if err := namespace.Veth(here, there, innerMTU); err != nil {
			return nil, err
		}
		other := sender + receiver - n
		v4, v6 := topology.HostAddresses(other)
		for i, via := range []netip.Addr{v4, v6} {
			if _, err := namespace.Run(host, "ip", "route", "add", plainNetwork(other)[i].String(), "via", via.String(), "dev", topology.UplinkName); err != nil {
				return nil, err
			}
			if _, err := namespace.Run(workload, "ip", "route", "add", "default", "via", hostAt(plainNetwork(n)[i], 1).Addr().String()); err != nil {
				return nil, err
			}
		}
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := namespace.Sysctl(host, key, "1"); err != nil {
				return nil, err
			}
		}
	}
	var clients, servers []netip.Addr
	for i, p := range plainNetwork(sender) {
		clients, servers = append(clients, hostAt(p, 2).Addr()), append(servers, hostAt(plainNetwork(receiver)[i], 2).Addr())
	}
	var paths []ruledPath
	const none = "forwarding"
	for _, kind := range []struct{ name, rules string }{
		{none, ""}, {"forwarding, nftables, 2 rules", chain(admits(0, clients...))},
		{fmt.Sprintf("forwarding, nftables, %d rules", rules), chain(admits(rules, clients...))},
		{fmt.Sprintf("forwarding, nftables, %d in sets", rules), sets(admits(rules, clients...))},
	} {
		paths = append(paths, ruledPath{name: kind.name, client: fmt.Sprintf("n%d", sender), server: fmt.Sprintf("n%d", receiver), v4: servers[0], v6: servers[1], without: none,
			prepare: func() error { return filter(l, kind.rules) }})
	}
	return paths, nil
}

// filter gives the receiving host rules, and the sending one a rule that passes
// all; no rules: neither tracks connections nor filters.
func filter(l *topology.Lab, rules string) error {
	passes := ""
	if rules != "" {
		passes = table("ct state new accept\n", "")
	}
	for n, text := range map[int]string{sender: passes, receiver: rules} {
		file := filepath.Join(l.Dir, fmt.Sprintf("h%d.nft", n))
		if err := os.WriteFile(file, []byte("flush ruleset\n"+text), 0o600); err != nil {
			return fmt.Errorf("write rules for nft: %w", err)
		}
		if _, err := namespace.Run(l.Namespace(topology.HostName(n)), "nft", "-f", file); err != nil {
			return err
		}
	}
	return nil
}

func table(rules, sets string) string {
	return "table inet bench {\n" + sets + "chain forward {\ntype filter hook forward priority 0; policy drop;\nct state established,related accept\n" + rules + "}\n}\n"
}

func familyWord(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}

// chain is a rule for each.
func chain(all []admitted) string {
	var b strings.Builder
	for _, a := range all {
		fmt.Fprintf(&b, "%s saddr %v tcp dport %d accept\n", familyWord(a.from), a.from, a.port)
	}
	return table(b.String(), "")
}

// sets is one rule and set for each family: all rules are of one form.
func sets(all []admitted) string {
	elements := map[string][]string{}
	for _, a := range all {
		elements[familyWord(a.from)] = append(elements[familyWord(a.from)], fmt.Sprintf("%v . %d", a.from, a.port))
	}
	var rules, sets string
	for family, kind := range map[string]string{"ip": "ipv4_addr", "ip6": "ipv6_addr"} {
		sets += fmt.Sprintf("set %s_in { type %s . inet_service; elements = { %s } }\n", family, kind, strings.Join(elements[family], ", "))
		rules += fmt.Sprintf("%s saddr . tcp dport @%s_in accept\n", family, family)
	}
	return table(rules, sets)
}

// policed are the workloads of Weft, by pairs: who sends and who asks how many rules.
var policed = []struct{ name, group string }{{"a", ""}, {"b", "one"}, {"c", "many"}}

// probed is the workloads that probe changes, one a host.
const probed = "e"

// wirePoliced starts Weft on its hosts and plugs the workloads.
func wirePoliced(ctx context.Context, l *topology.Lab, rules int) ([]ruledPath, error) {
	for _, step := range []func(context.Context) error{l.StartController, l.JoinToken} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	for n := 1; n <= weftHosts; n++ {
		if err := l.StartAgent(ctx, n); err != nil {
			return nil, err
		}
	}
	c, err := l.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := describePolicy(ctx, c, rules); err != nil {
		return nil, err
	}
	var paths []ruledPath
	names := []string{"Weft", "Weft, 2 rules", fmt.Sprintf("Weft, %d rules", rules)}
	for i, pair := range policed {
		for host := 1; host <= 2; host++ {
			if err := plugOn(ctx, l, fmt.Sprint(pair.name, host), host); err != nil {
				return nil, err
			}
		}
		p := ruledPath{name: names[i], client: pair.name + "1", server: pair.name + "2", without: names[0], prepare: func() error { return nil }}
		p.v4, p.v6 = workloadAddresses(pair.name, 2)
		paths = append(paths, p)
	}
	for host := 1; host <= weftHosts; host++ {
		if err := plugOn(ctx, l, fmt.Sprint(probed, host), host); err != nil {
			return nil, err
		}
	}
	return paths, l.WaitPortsUp(ctx)
}

func plugOn(ctx context.Context, l *topology.Lab, name string, host int) error {
	if err := l.AddWorkload(name); err != nil {
		return err
	}
	return l.Plug(ctx, host, project+":"+name, name)
}

func workloadAddresses(name string, host int) (v4, v6 netip.Addr) {
	n := 10*int(name[0]-'a'+1) + host
	return hostAt(inner4, n).Addr(), hostAt(inner6, n).Addr()
}

// operationsAtOnce is what the API takes in a transaction.
const operationsAtOnce = 100

// describePolicy creates the network, the groups and the ports.
func describePolicy(ctx context.Context, c *client.Client, rules int) error {
	network := project + ":net"
	ops := []api.Operation{
		created(api.KindDomain, "", "bench", func(api.Object) {}), created(api.KindProject, "bench", "bench", func(api.Object) {}),
		created(api.KindNetwork, project, "net", func(o api.Object) { o.(*api.Network).Spec.MTU = innerMTU }),
		created(api.KindSubnet, network, "v4", func(o api.Object) { o.(*api.Subnet).Spec.CIDR = inner4 }),
		created(api.KindSubnet, network, "v6", func(o api.Object) { o.(*api.Subnet).Spec.CIDR = inner6 }),
	}
	var in []api.Operation
	for _, group := range []string{"out", "one", "many", "gate"} {
		ops = append(ops, created(api.KindSecurityGroup, project, group, func(api.Object) {}))
		for _, f := range []api.Family{api.IPv4, api.IPv6} {
			ops = append(ops, ruleOf(group, "out-"+string(f), func(s *api.SecurityGroupRuleSpec) { s.Direction, s.Family = api.Egress, f }))
		}
	}
	for _, pair := range policed[1:] {
		v4, v6 := workloadAddresses(pair.name, 1)
		for i, a := range admits(map[string]int{"many": rules}[pair.group], v4, v6) {
			in = append(in, admit(pair.group, i, a))
		}
	}
	for _, pair := range policed {
		ops = append(ops, policedPort(network, pair.name, 1, "out")...)
		ops = append(ops, policedPort(network, pair.name, 2, pair.group)...)
	}
	for host := 1; host <= weftHosts; host++ {
		ops = append(ops, policedPort(network, probed, host, "gate")...)
	}
	for len(in) > 0 {
		n := min(len(in), operationsAtOnce-len(ops))
		ops, in = append(ops, in[:n]...), in[n:]
		if _, err := c.Transaction(ctx, ops, false); err != nil {
			return fmt.Errorf("create the benchmark's policy: %w", err)
		}
		ops = nil
	}
	return nil
}

func ruleOf(group, name string, fill func(*api.SecurityGroupRuleSpec)) api.Operation {
	return created(api.KindSecurityGroupRule, project+":"+group, name, func(o api.Object) { fill(&o.(*api.SecurityGroupRule).Spec) })
}

func admit(group string, i int, a admitted) api.Operation {
	return ruleOf(group, fmt.Sprintf("in-%05d", i), func(s *api.SecurityGroupRuleSpec) {
		s.Direction, s.Family = api.Ingress, api.IPv4
		if a.from.Is6() {
			s.Family = api.IPv6
		}
		s.Match, s.RemoteRange = api.Match{Protocol: api.TCP, Ports: &api.PortRange{From: a.port}}, netip.PrefixFrom(a.from, a.from.BitLen())
	})
}

// policedPort is the port of a workload on a host, with its addresses; without
// a group, or where the pair has none, nothing is asked.
func policedPort(network, pair string, host int, group string) []api.Operation {
	name := fmt.Sprint(pair, host)
	port := project + ":" + name
	ops := []api.Operation{created(api.KindPort, project, name, func(o api.Object) {
		s := &o.(*api.Port).Spec
		s.Network = api.ParseRef(network)
		if group != "" && pair != policed[0].name {
			s.SecurityGroups = []api.Ref{api.ParseRef(project + ":" + group)}
		}
	})}
	v4, v6 := workloadAddresses(pair, host)
	for family, a := range map[string]netip.Addr{"v4": v4, "v6": v6} {
		ops = append(ops, created(api.KindAddress, network, name+"-"+family, func(o api.Object) {
			o.(*api.Address).Spec = api.AddressSpec{Subnet: api.ParseRef(network + ":" + family), IP: a, Port: api.ParseRef(port)}
		}))
	}
	return append(ops, created(api.KindBinding, port, topology.HostName(host), func(o api.Object) {
		o.(*api.Binding).Spec = api.BindingSpec{Host: api.ParseRef(topology.HostName(host)), Active: true}
	}))
}

// gate is the rule by which changes are probed.
func gate() api.Operation {
	return ruleOf("gate", "probes", func(s *api.SecurityGroupRuleSpec) {
		s.Direction, s.Family, s.Match = api.Ingress, api.IPv4, api.Match{Protocol: api.UDP, Ports: &api.PortRange{From: effectPort}}
	})
}
