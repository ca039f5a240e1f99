// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// Transport protocols and ports of services.
const (
	tcp          = 6
	udp          = 17
	dnsPort      = 53
	metadataPort = 80
)

// MetadataAddresses are where workloads ask who they are.
var MetadataAddresses = []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fe80::a9fe:a9fe")}

// Aliases numbers interfaces. A number follows from the interface's index, so
// that it is the same after a restart, when conversations go on; of two that
// would have the same, the one with the higher index has the next that is free.
func Aliases(attached map[string]Attachment) map[uint32]int {
	var all []int
	for _, a := range attached {
		all = append(all, a.Ifindex)
	}
	slices.Sort(all)
	const numbers = vrouter.MaxAlias - vrouter.MinAlias + 1
	named := make(map[uint32]int, len(all))
	for _, ifindex := range slices.Compact(all) {
		for try := range numbers {
			n := uint32(vrouter.MinAlias + (ifindex+try)%numbers)
			if _, taken := named[n]; !taken {
				named[n] = ifindex
				break
			}
		}
	}
	return named
}

// nameAliases gives ports their numbers; interfaces that are no port lose theirs.
func (t *Tables) nameAliases() {
	for n, ifindex := range maps.Clone(t.Aliases) {
		if p, is := t.Ports[ifindex]; is {
			p.Alias = n
			t.Ports[ifindex] = p
		} else {
			delete(t.Aliases, n)
		}
	}
}

func first(addresses []netip.Addr, six bool) netip.Addr {
	for _, a := range addresses {
		if a.Is6() == six {
			return a
		}
	}
	return netip.Addr{}
}

// addServices says where this host listens for the workloads of a port's
// network: DNS at every gateway, metadata at its own addresses, and services of
// the fabric where the network wants them. One that the host does not have is a
// problem of the network's row.
func (t *Tables) addServices(p desired.Port, v desired.VRF, local Local) {
	for _, a := range p.Addresses {
		if !a.Gateway.IsValid() || local.DNS == 0 {
			continue
		}
		for _, protocol := range []byte{tcp, udp} {
			t.Services[vrouter.Service{VRF: p.VRF, Address: a.Gateway, Protocol: protocol, Port: dnsPort}] = local.DNS
		}
	}
	if local.Metadata != 0 {
		for _, a := range MetadataAddresses {
			t.addService(p.VRF, tcp, netip.AddrPortFrom(a, metadataPort), local.Metadata)
		}
	}
	var missing []string
	for _, s := range v.Services {
		protocol, word := byte(tcp), "tcp"
		if s.UDP {
			protocol, word = udp, "udp"
		}
		switch listener, known := local.Fabric[Fabric{s.Name, s.UDP}]; {
		case listener != 0:
			t.addService(p.VRF, protocol, s.At, listener)
		case known:
			missing = append(missing, fmt.Sprintf("%s by %s: the agent cannot listen for it now, its log says why", s.Name, word))
		default:
			missing = append(missing, fmt.Sprintf("%s by %s: this host knows no such service: run its weft-agent with --service %s=…", s.Name, word, s.Name))
		}
	}
	if len(missing) > 0 {
		t.Problems[desired.VRFRow(p.VRF)] = fmt.Sprintf("network %s has no service %s", v.Name, strings.Join(missing, "; nor "))
	}
}

// addService makes an address the vRouter's own in a VRF and leads it to
// a listener. A route that the network has for the address itself prevails.
func (t *Tables) addService(vrf uint32, protocol byte, at netip.AddrPort, listener uint16) {
	hop := vrouter.NextHop{Kind: vrouter.NextHopGateway}
	t.Services[vrouter.Service{VRF: vrf, Address: at.Addr(), Protocol: protocol, Port: at.Port()}] = listener
	t.NextHops[hop] = struct{}{}
	t.Routes[vrouter.RouteKey{VRF: vrf, Prefix: netip.PrefixFrom(at.Addr(), at.Addr().BitLen())}] = Route{NextHop: hop}
}
