// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/weft-network/weft/api"
)

// RandomEdit returns a line that changes a small world of hosts h1 to h3: it
// adds, changes, moves or removes a host, network, subnet, port, address,
// reservation, binding, policy, attachment, route-target, route-table, trunk or sub-port. Names are few, so that edits meet.
func RandomEdit(r *rand.Rand) string {
	network := fmt.Sprintf("n%d", r.IntN(4))
	port := fmt.Sprintf("p%d", r.IntN(8))
	host := fmt.Sprintf("h%d", 1+r.IntN(3))
	policy := fmt.Sprintf("pol%d", r.IntN(2))
	ip := fmt.Sprintf("10.0.0.%d", 1+r.IntN(6))
	if r.IntN(2) == 0 {
		ip = fmt.Sprintf("2001:db8::%d", 1+r.IntN(6))
	}
	lines := append(slices.Concat(randomRouting(r, network, port), randomServices(r, network, port), randomTrunks(r, port)), []string{
		"network " + network + " " + fmt.Sprint(1+int(network[1]-'0')),
		"network " + network + " " + fmt.Sprint(11+int(network[1]-'0')) + " 1400",
		"host " + host + " 192.0.2." + fmt.Sprint(r.IntN(3)*10+int(host[1]-'0')),
		"host " + host + " 192.0.2." + fmt.Sprint(int(host[1]-'0')) + " mtu=" + fmt.Sprint(1400+100*r.IntN(3)),
		"host " + host + " 192.0.2." + fmt.Sprint(int(host[1]-'0')) + " can=mplsudp,vxlan",
		"network " + network + " " + fmt.Sprint(21+int(network[1]-'0')), // a VNI that is a label
		"disable-port " + port,
		"disable-network " + network,
		"port " + network + " silent" + network + "\nbind silent" + network + " " + host,
		"subnet " + network + " 10.0.0.0/24",
		"subnet " + network + " 2001:db8::/64",
		"port " + network + " " + port,
		"port n" + fmt.Sprint(int(port[1]-'0')%4) + " " + port,
		"address " + network + " " + ip + " " + port,
		"address n" + fmt.Sprint(int(port[1]-'0')%4) + " " + ip + " " + port,
		"address " + network + " " + ip, // reserved for nobody, or given back
		"reserve " + network + " " + ip + " " + host + " s",
		"reserve " + network + " " + ip + " " + host + " s releasing",
		"bind " + port + " " + host,
		"bind " + port + " " + host,
		"standby " + port + " " + host,
		"policy " + policy + " any " + network,
		"policy " + policy + " any any",
		randomRule(r, policy),
		"attach " + policy + " " + network,
		"attach " + policy + " " + network,
		fmt.Sprintf("remove %s %s", api.KindNetwork, network),
		fmt.Sprintf("remove %s %s", api.KindPort, port),
		fmt.Sprintf("remove %s %s", api.KindHost, host),
		fmt.Sprintf("remove %s %s:%s", api.KindAddress, network, ip),
		fmt.Sprintf("remove %s %s:%s", api.KindBinding, port, host),
		fmt.Sprintf("remove %s %s-%s", api.KindNetworkPolicyAttachment, policy, network),
	}...)
	return lines[r.IntN(len(lines))]
}

// randomRule returns a line that gives a policy a further rule.
func randomRule(r *rand.Rand, policy string) string {
	side := func() string {
		return []string{"any", "local", "10.0.0.0/30", "policy=pol0", "policy=pol1", fmt.Sprintf("n%d", r.IntN(4)), fmt.Sprintf("subnet=n%d:10.0.0.0/24", r.IntN(4))}[r.IntN(7)]
	}
	action := []string{"pass", "pass", "deny"}[r.IntN(3)]
	direction := []string{"<>", ">"}[r.IntN(2)]
	service := []string{"", " tcp", " tcp/80-90", " udp/53 log", " icmp", " tcp audit", " tcp/=http"}[r.IntN(7)]
	return "rule " + policy + " " + action + " " + side() + " " + direction + " " + side() + service
}
