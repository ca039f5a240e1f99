// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// The networks of a storm, by VRF. Ports have one each in turn.
const (
	plainVRF   = 1 + iota // with services and equal next hops, and routes from the next
	bridgedVRF            // frames and packets
	framesVRF             // frames alone
	fabricVRF             // without encapsulation
	labelsVRF             // MPLS over UDP, with a gateway outside
	visibleVRF            // seen by hosts
)

const (
	stormHosts    = 4  // others
	stormRulesets = 8  // of a version
	stormGroups   = 6  // of equal next hops
	stormRemotes  = 30 // workloads elsewhere, of each network
	stormSubPorts = 0x10000
	subPortEvery  = 10 // ports carry one
)

func hostID(n int) string { return fmt.Sprintf("00000000-0000-4000-9000-%012d", n) }

func subnetID(vrf uint32, six bool) string {
	return fmt.Sprintf("00000000-0000-4000-a000-%06d%06t", vrf, six)
}

func stormMAC(n int) []byte { return []byte{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)} }

// stormAddresses are equal in all networks.
func stormAddresses(n int) [2]netip.Prefix {
	i := n / stormNetworks
	return [2]netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(1 + i>>8), byte(i)}), 12),
		netip.MustParsePrefix(fmt.Sprintf("fd00::1:%x/64", i+n>>16<<12)),
	}
}

func stormVRF(n int) uint32 { return uint32(n%stormNetworks) + 1 }

func stormMTU(n int) int {
	if stormVRF(n) == fabricVRF {
		return stormUnderlay.MTU
	}
	return stormUnderlay.WorkloadMTU()
}

// rowSet is rows by their keys.
type rowSet map[string]*hoststream.Row

// stormRows is all that a controller says of a version, of every kind of row. Who
// is plugged where stays; what else there is of ports changes.
func stormRows(version int) rowSet {
	r := rowSet{}
	r.networks(version)
	r.hosts(version)
	r.policy(version)
	for n := range *stormPorts {
		r.port(version, n)
		if n%subPortEvery == 0 {
			r.port(version, n+stormSubPorts)
		}
	}
	r.elsewhere(version)
	r.groups(version)
	r.balancer(version)
	r.floating(version)
	if version%4 == 1 || version%4 == 2 {
		h := &hoststream.Hold{Hold: hostID(99), Seconds: 300}
		r[desired.HoldRow(h.Hold)] = &hoststream.Row{Body: &hoststream.Row_Hold{Hold: h}}
	}
	return r
}

func prefixOf(text string) *hoststream.Prefix {
	p := netip.MustParsePrefix(text)
	return &hoststream.Prefix{Address: p.Addr().AsSlice(), Length: uint32(p.Bits())}
}

func (r rowSet) networks(version int) {
	for n := range stormNetworks {
		v := &hoststream.Vrf{
			Vrf: stormVRF(n), Vni: stormVRF(n), Network: hostID(1000 + n), NetworkName: fmt.Sprint("d:p:n", n), SourcesListed: n%2 == 0,
			Managed: []*hoststream.Prefix{prefixOf("10.0.0.0/12"), prefixOf("fd00::/64"), prefixOf(fmt.Sprintf("172.%d.0.0/16", 16+version%4))},
		}
		switch v.Vrf {
		case plainVRF:
			v.Services = []*hoststream.FabricService{
				{Name: "time", Address: []byte{169, 254, 1, byte(1 + version%3)}, Port: 123, Udp: true},
				{Name: "files", Address: netip.MustParseAddr("fd00:f::1").AsSlice(), Port: 2049},
				{Name: "no such", Address: []byte{169, 254, 1, 9}, Port: 1},
			}
		case bridgedVRF:
			v.Forwarding, v.Flooding = api.ForwardingBoth, true
		case framesVRF:
			v.Forwarding, v.Flooding = api.ForwardingFrames, version%2 == 0
		case fabricVRF:
			v.Fabric = true
		case labelsVRF:
			v.Labelled, v.Disabled = true, version%2 == 1
		case visibleVRF:
			v.HostVisible = version%4 != 3
		}
		r[desired.VRFRow(v.Vrf)] = &hoststream.Row{Body: &hoststream.Row_Vrf{Vrf: v}}
		for _, s := range []*hoststream.Subnet{
			{PrefixAddress: []byte{10, 0, 0, 0}, PrefixLength: 12, Gateway: []byte{10, 15, 255, 254}, Dhcp: version%3 != 1, LeaseSeconds: 600},
			{
				PrefixAddress: netip.MustParseAddr("fd00::").AsSlice(), PrefixLength: 64, Gateway: netip.MustParseAddr("fd00::1").AsSlice(),
				AddressMode: string([]api.AddressMode{api.ModeStateful, api.ModeStateless, api.ModeSLAAC, api.ModeNone}[(n+version)%4]),
			},
		} {
			six := len(s.Gateway) == 16
			s.Vrf, s.Subnet, s.SubnetName, s.SearchDomains = v.Vrf, subnetID(v.Vrf, six), "d:p:n:s", []string{"weft.example"}
			r[desired.SubnetRow(desired.SubnetKey{VRF: v.Vrf, ID: s.Subnet})] = &hoststream.Row{Body: &hoststream.Row_Subnet{Subnet: s}}
		}
	}
}

func (r rowSet) hosts(version int) {
	for n := range stormHosts {
		e := &hoststream.TunnelEndpoint{Host: hostID(n), HostName: fmt.Sprint("host", n), UnderlayMtu: uint32(1500 + 100*(version%2)), Encapsulations: stormUnderlay.Encapsulations}
		e.Addresses = [][]byte{{192, 0, 2, byte(10*(1+version%3) + n)}, netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", 16+n)).AsSlice()}
		if n == 0 {
			e.Addresses = e.Addresses[1:]
		}
		r[desired.EndpointRow(e.Host)] = &hoststream.Row{Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: e}}
		for vni := uint32(1); vni <= stormNetworks; vni++ {
			if (int(vni)+n+version)%3 > 0 {
				s := &hoststream.TunnelSource{Vni: vni, Host: e.Host}
				r[desired.SourceRow(desired.SourceKey{VNI: vni, Host: e.Host})] = &hoststream.Row{Body: &hoststream.Row_TunnelSource{TunnelSource: s}}
			}
		}
	}
}

// port adds a port with all that belongs to it. Those from stormSubPorts on are
// carried by the one so many before.
func (r rowSet) port(version, n int) {
	id := portID(n)
	p := &hoststream.Port{
		Port: id, PortName: fmt.Sprint("d:p:", n), Vrf: stormVRF(n), Mac: stormMAC(n), HostName: fmt.Sprint("w", n), Domain: "weft.example",
		Project: hostID(2000), Machine: hostID(3000 + n), Options: []*hoststream.DhcpOption{{Code: 67, Value: []byte("boot")}},
		Disabled: n%11 == 0 && version%2 == 1, Unchecked: n%17 == 0, Stateless: (n+version)%5 == 0, Identity: stormIdentity(n, version),
	}
	if n >= stormSubPorts {
		p.Trunk, p.Vlan = portID(n-stormSubPorts), uint32(5+version%2)
	}
	if p.Vrf == framesVRF {
		p.MacLimit = uint32(4 + version%2)
	}
	for i, a := range stormAddresses(n) {
		gateway := netip.MustParseAddr([]string{"10.15.255.254", "fd00::1"}[i])
		p.Addresses = append(p.Addresses, &hoststream.PortAddress{
			Ip: a.Addr().AsSlice(), PrefixLength: uint32(a.Bits()), Gateway: gateway.AsSlice(), Subnet: subnetID(p.Vrf, a.Addr().Is6()),
		})
		r.route(&hoststream.Route{
			Vrf: p.Vrf, PrefixAddress: a.Addr().AsSlice(), PrefixLength: uint32(a.Addr().BitLen()), Mac: p.Mac, NextHop: &hoststream.Route_Port{Port: id}, Workload: p.Identity,
		})
	}
	r.limits(p, version, n)
	r.further(p, version, n)
	for i, layer := range []string{"security-group", "network-policy", "firewall-admin", "firewall", "firewall-baseline"} {
		if (n+i)%4 != 0 { // a port in four has none
			continue
		}
		for _, ingress := range []bool{false, true} {
			p.Rulesets = append(p.Rulesets, &hoststream.PortRuleset{Layer: layer, Ingress: ingress, Ruleset: rulesetID((n+i)%stormRulesets, version)})
		}
	}
	if n%6 == 1 {
		p.ConnectionLimit = uint32(100 + version)
	}
	r[desired.PortRow(id)] = &hoststream.Row{Body: &hoststream.Row_Port{Port: p}}
	if (n+version)%5 == 0 { // its name is gone, or not there yet
		return
	}
	name := &hoststream.Name{Project: p.Project, Port: id, Name: p.HostName + "." + p.Domain, Addresses: [][]byte{p.Addresses[version%2].Ip}}
	r[desired.NameRow(desired.NameKey{Project: p.Project, Port: id})] = &hoststream.Row{Body: &hoststream.Row_Name{Name: name}}
}

func (r rowSet) limits(p *hoststream.Port, version, n int) {
	switch (n + version) % 4 {
	case 1:
		p.EgressLimit = &hoststream.Limit{Rate: uint32(1000 * (1 + version)), Burst: 100}
	case 2:
		p.EgressLimit = &hoststream.Limit{Mark: true, Dscp: uint32(version)}
		p.IngressLimit = &hoststream.Limit{PacketRate: uint32(1 + version), PacketBurst: 3}
	}
}

// further adds what a port has beside its addresses: pairs, prefixes behind it,
// announced addresses, and who asks whether it is well.
func (r rowSet) further(p *hoststream.Port, version, n int) {
	if n%5 == version%2 {
		p.Pairs = []*hoststream.AllowedPair{
			{Range: prefixOf(fmt.Sprintf("10.8.%d.0/24", version)), Mac: p.Mac},
			{Range: prefixOf("fd00::fffe:0/112"), Mac: []byte{2, 1, 0, 0, 0, byte(version)}, Standby: true},
		}
	}
	if n%7 == 0 && n < stormSubPorts {
		behind := fmt.Sprintf("10.%d.%d.0/24", 32+version%4, n/7)
		p.Sources = []*hoststream.Prefix{prefixOf(behind)}
		r.route(&hoststream.Route{Vrf: p.Vrf, PrefixAddress: prefixOf(behind).Address, PrefixLength: 24, Mac: p.Mac, NextHop: &hoststream.Route_Port{Port: p.Port}, Routed: true})
	}
	if n%9 == 0 {
		a := netip.MustParseAddr(fmt.Sprintf("fd00::2:%x:%x", n>>16, n&0xffff))
		p.Announced = [][]byte{a.AsSlice()}
		r.route(&hoststream.Route{Vrf: p.Vrf, PrefixAddress: a.AsSlice(), PrefixLength: 128, Mac: p.Mac, NextHop: &hoststream.Route_Port{Port: p.Port}, Proxied: version%2 == 0, Announced: 1})
	}
	if n%10 == 1+version%3 {
		c := &hoststream.Check{Id: hostID(5000 + n), Name: "d:p:pool:m", Port: p.Port, Address: p.Addresses[0].Ip, Type: "tcp", TransportPort: 80, Interval: 1000, Timeout: 500, Rise: 1, Fall: uint32(1 + version)}
		r[desired.CheckRow(c.Id)] = &hoststream.Row{Body: &hoststream.Row_Check{Check: c}}
	}
}

func (r rowSet) route(v *hoststream.Route) {
	a, _ := netip.AddrFromSlice(v.PrefixAddress)
	r[desired.RouteRow(desired.RouteKey{VRF: v.Vrf, Prefix: netip.PrefixFrom(a, int(v.PrefixLength))})] = &hoststream.Row{Body: &hoststream.Row_Route{Route: v}}
}

// elsewhere adds workloads of other hosts, and where else routes lead.
func (r rowSet) elsewhere(version int) {
	for vrf := uint32(1); vrf <= stormNetworks; vrf++ {
		for n := range stormRemotes - version%5 {
			remote := &hoststream.Remote{Host: hostID((n + version) % stormHosts), Vni: vrf}
			if vrf == labelsVRF {
				remote.Encapsulations = []string{[]string{api.EncapsulationMPLSUDP, api.EncapsulationVXLAN}[(n+version)%2]}
			}
			mac := []byte{2, 2, 0, 0, byte(vrf), byte(n)}
			if vrf == framesVRF { // without addresses
				m := &hoststream.Mac{Vrf: vrf, Mac: mac, Port: portID(900_000 + n), Host: remote.Host}
				r[desired.MACRow(desired.MACKey{VRF: vrf, MAC: [6]byte(mac)})] = &hoststream.Row{Body: &hoststream.Row_Mac{Mac: m}}
				continue
			}
			r.route(&hoststream.Route{
				Vrf: vrf, PrefixAddress: []byte{10, 12, byte(version % 3), byte(n)}, PrefixLength: 32, Mac: mac, NextHop: &hoststream.Route_Remote{Remote: remote},
				Workload: stormIdentity(n, version), Mtu: uint32(1400 + n%3), PortName: fmt.Sprint("d:q:", n),
			})
		}
		r.route(&hoststream.Route{Vrf: vrf, PrefixAddress: []byte{10, 15, 255, 254}, PrefixLength: 32, NextHop: &hoststream.Route_Gateway{Gateway: &hoststream.Gateway{}}})
		r.route(&hoststream.Route{Vrf: vrf, PrefixAddress: []byte{10, 14, byte(version), 0}, PrefixLength: 24, NextHop: &hoststream.Route_Discard{Discard: &hoststream.Discard{}}})
	}
	r.route(&hoststream.Route{Vrf: labelsVRF, PrefixAddress: []byte{0, 0, 0, 0}, NextHop: &hoststream.Route_Outside{Outside: &hoststream.Outside{
		Address: []byte{192, 0, 2, byte(200 + version%3)}, Encapsulation: api.EncapsulationMPLSUDP, Label: uint32(100 + version),
	}}})
	for n := range *stormPorts { // what the network next to it leaks
		if stormVRF(n) == bridgedVRF && n%4 == version%2 {
			a := stormAddresses(n)[0].Addr().As4()
			a[0] = 11
			r.route(&hoststream.Route{
				Vrf: plainVRF, PrefixAddress: a[:], PrefixLength: 32, Mac: stormMAC(n), NextHop: &hoststream.Route_Port{Port: portID(n)}, Routed: true, LeakedBy: "d:p:join",
			})
		}
	}
	for n := range 3 + version%4 {
		v := &hoststream.Reservation{
			Address: hostID(6000 + n), Vrf: plainVRF, NetworkName: "d:p:n0", Mac: []byte{2, 3, 0, 0, byte(version), byte(n)}, Identity: stormIdentity(n, version),
			Ip: &hoststream.PortAddress{Ip: []byte{10, 13, 0, byte(n)}, PrefixLength: 12},
		}
		r[desired.ReservationRow(v.Address)] = &hoststream.Row{Body: &hoststream.Row_Reservation{Reservation: v}}
	}
}

// groups adds prefixes that several ports are equally good for, here and elsewhere.
func (r rowSet) groups(version int) {
	for k := range stormGroups {
		first := k * stormNetworks
		v := &hoststream.Route{
			Vrf: plainVRF, PrefixAddress: []byte{10, 11, byte(k), 0}, PrefixLength: 24, Mac: stormMAC(first), NextHop: &hoststream.Route_Port{Port: portID(first)}, Identity: portID(first), Routed: true,
		}
		if version%2 == 0 {
			v.EcmpFields = []string{"source", "destination"}
		}
		other := first + stormNetworks*(1+version%2)
		remote := &hoststream.Remote{Host: hostID((k + version) % stormHosts), Vni: plainVRF}
		v.Equal = []*hoststream.EqualHop{
			{NextHop: &hoststream.EqualHop_Port{Port: portID(other)}, Mac: stormMAC(other), Identity: portID(other)},
			{NextHop: &hoststream.EqualHop_Remote{Remote: remote}, Mac: []byte{2, 4, 0, 0, 0, byte(k)}, Identity: portID(900_000 + k)},
		}
		r.route(v)
	}
}

// stormIdentity is who a workload is; some become others.
func stormIdentity(n, version int) uint64 { return uint64(100 + (n+version/2)%10) }

func rulesetID(k, version int) string { return fmt.Sprintf("r%d-%d", k, version%3) }

// floating adds floating addresses of ports here: some go, and some go to another port.
func (r rowSet) floating(version int) {
	for k := range 12 {
		n := k * stormNetworks // its port
		if k%3 == version%3 {
			n += stormNetworks
		}
		for i, a := range stormAddresses(n) {
			ip := [][]byte{{11, 10, 0, byte(k)}, netip.MustParseAddr(fmt.Sprintf("fd00::f:%x", k)).AsSlice()}[i]
			m := &hoststream.Mapped{Port: portID(n), Internal: a.Addr().AsSlice(), Vrf: visibleVRF}
			if k%4 == 1 {
				m.Internal, m.Alias = ip, true
			}
			for _, vrf := range []uint32{visibleVRF, plainVRF}[:1+k%2] { // some are leaked
				if (k+version)%5 > 0 {
					r.route(&hoststream.Route{Vrf: vrf, PrefixAddress: ip, PrefixLength: uint32(8 * len(ip)), Mac: stormMAC(n), Proxied: true, NextHop: &hoststream.Route_Mapped{Mapped: m}})
				}
			}
		}
	}
}

// policy adds rulesets that ask in every way there is. A ruleset never changes:
// another one has another name; whom selectors mean does.
func (r rowSet) policy(version int) {
	for k := range 4 {
		s := &hoststream.Selector{Selector: fmt.Sprint("s", k)}
		for i := range 3 {
			s.Identities = append(s.Identities, uint64(100+(k+i*(1+version%3))%10))
		}
		r[desired.SelectorRow(s.Selector)] = &hoststream.Row{Body: &hoststream.Row_Selector{Selector: s}}
	}
	for k := range stormRulesets {
		number := func(first, last int) *hoststream.NumberRange {
			return &hoststream.NumberRange{First: uint32(first), Last: uint32(last)}
		}
		set := &hoststream.Ruleset{Ruleset: rulesetID(k, version), Name: fmt.Sprint("set ", k), Outside: "deny", Identified: []string{"deny", "pass", "next"}[k%3]}
		selected := func(k int) *hoststream.Rule_Selected {
			return &hoststream.Rule_Selected{Selected: &hoststream.Selected{Selectors: []string{fmt.Sprint("s", k%4)}}}
		}
		ranges := &hoststream.Ranges{Ranges: []*hoststream.Prefix{prefixOf(fmt.Sprintf("10.%d.0.0/16", version%3)), prefixOf("fd00::/64")}, Except: []*hoststream.Prefix{prefixOf(fmt.Sprintf("10.%d.7.0/24", version%3))}}
		set.Rules = []*hoststream.Rule{
			{Action: "pass", Remote: selected(k), Services: []*hoststream.RuleService{{Protocol: proto.Uint32(6), Ports: number(80, 300+k)}}, Log: k%2 == 0},
			{Action: "reject", Remote: selected(k + 1), Services: []*hoststream.RuleService{{Protocol: proto.Uint32(17), Ports: number(53, 53), SourcePorts: number(1024+version%3, 65535)}}},
			{Action: "deny", Remote: &hoststream.Rule_Anybody{Anybody: &hoststream.Anybody{}}, Services: []*hoststream.RuleService{{Family: 4, Protocol: proto.Uint32(1), IcmpType: proto.Uint32(8), IcmpCode: proto.Uint32(0)}}, Audit: k%2 == 1},
			{Action: "pass", Remote: &hoststream.Rule_Ranges{Ranges: ranges}},
		}
		for i, rule := range set.Rules {
			rule.Object, rule.Kind, rule.Name, rule.Index, rule.Owner = hostID(4000+k), "firewall-rule", set.Name, uint32(i+1), "d:p"
		}
		r[desired.RulesetRow(set.Ruleset)] = &hoststream.Row{Body: &hoststream.Row_Ruleset{Ruleset: set}}
	}
}

// balancer adds virtual addresses with listeners and members, here and elsewhere.
func (r rowSet) balancer(version int) {
	of := desired.BalancerKey{VRF: plainVRF, ID: hostID(7000)}
	virtual := [][]byte{{10, 10, 0, byte(1 + version%2)}, netip.MustParseAddr("fd00::b:1").AsSlice()}
	for _, a := range virtual {
		r.route(&hoststream.Route{Vrf: plainVRF, PrefixAddress: a, PrefixLength: uint32(8 * len(a)), NextHop: &hoststream.Route_Balancer{Balancer: &hoststream.Balancer{Vrf: plainVRF}}})
	}
	proxy := &hoststream.Proxy{LoadBalancer: hostID(7300), LoadBalancerName: "d:p:proxied", Port: portID(0), Addresses: virtual, Priority: uint32(100 + version)}
	r[desired.ProxyRow(proxy.LoadBalancer)] = &hoststream.Row{Body: &hoststream.Row_Proxy{Proxy: proxy}}
	for k, protocol := range []uint32{6, 17, 132} {
		l := &hoststream.Listener{
			Vrf: of.VRF, LoadBalancer: of.ID, Listener: hostID(7100 + k), ListenerName: "d:p:lb:l", Addresses: virtual, Protocol: protocol, Port: 5000, Pool: hostID(7200 + k%2),
			Locality: []string{"any", "prefer-host", "only-host"}[(k+version)%3], BySource: k == 1, AffinitySeconds: uint32(60 * (version % 2)),
		}
		r[desired.ListenerRow(of, l.Listener)] = &hoststream.Row{Body: &hoststream.Row_Listener{Listener: l}}
	}
	for n := range 8 {
		at := n * stormNetworks // its port
		m := &hoststream.Member{
			Vrf: of.VRF, LoadBalancer: of.ID, Member: hostID(7300 + n), MemberName: fmt.Sprint("d:p:pool:m", n), Pool: hostID(7200 + n%2), Port: portID(at), PortName: fmt.Sprint("d:p:", at),
			Host: hostID(99), TargetPort: 5000, Mac: []byte{0x0a, 0, 0, 0, 0, byte(n)}, State: []string{"active", "draining", "down"}[(n+version)%3],
			Backup: n == 7, Weight: uint32(1 + (n+version)%2), Mtu: 1400, Workload: stormIdentity(at, version),
		}
		for _, a := range stormAddresses(at) {
			m.Addresses = append(m.Addresses, a.Addr().AsSlice())
		}
		if n%3 == 2 {
			m.Port, m.Host = portID(900_000+n), hostID((n+version)%stormHosts)
		}
		r[desired.MemberRow(of, m.Member)] = &hoststream.Row{Body: &hoststream.Row_Member{Member: m}}
	}
}
