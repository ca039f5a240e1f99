// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// A port gets this many ICMP errors at once and then one each interval: enough
// for a traceroute of many probes at a time, and for every connection of a
// busy workload to learn a new path MTU within a second; a loop of packets
// that are refused costs little.
const (
	errorBurst    = 100
	errorInterval = 10 * time.Millisecond
)

// A port may ask the agent this often: a workload that starts with several
// addresses asks a dozen times within a second, and then hardly ever.
const (
	requestBurst    = 30
	requestInterval = 100 * time.Millisecond
)

// A port may have this many copies made of what it floods: three hundred frames a
// second to the largest list there can be and thousands to a small one, which is
// more than hosts announce and ask, and what a core copies in a part of its time.
const (
	floodBurst    = 25_600 // a hundred frames to the largest list
	floodInterval = 10 * time.Microsecond
)

// A port may send this much to services of its host: five thousand packets of UDP a
// second within conversations, or a thousand that begin one, as most questions of
// DNS do; some clouds give a fifth of it. Connections that are open cost nothing.
const (
	serviceBurst    = 5000
	serviceInterval = 200 * time.Microsecond
)

// Local is what this host has for its workloads: the host path, and the ports
// at which its services listen; 0 for one that it does not have.
type Local struct {
	HostDevice  int
	HostMAC     vrouter.MAC
	LabelDevice int    // of the label path
	DNS         uint16 // UDP and TCP
	Metadata    uint16 // TCP
	Fabric      map[Fabric]uint16
	// Ways are the host's own routes, none of them ours, and Own its addresses.
	Ways []Way
	Own  []netip.Addr
	// Balances says that the host serves the virtual addresses of load-balancers;
	// else there is nobody behind them here.
	Balances bool
}

// Fabric is what a host offers of a service of the fabric.
type Fabric struct {
	Name string
	UDP  bool // else TCP
}

// WorkloadMTU is the MTU of a workload's interface that asks for none: what
// every tunnel this host may use can carry.
func (u Underlay) WorkloadMTU() int {
	var addresses []netip.Addr
	if u.IPv6.IsValid() {
		addresses = append(addresses, u.IPv6)
	}
	mtu, _ := api.WorkloadMTU(u.MTU, api.EncapsulationVXLAN, addresses)
	return mtu
}

// Config is what the packet path must know of the underlay.
func (u Underlay) Config(tunnelDevice int, local Local) vrouter.Config {
	return vrouter.Config{
		TunnelDevice: tunnelDevice, LabelDevice: local.LabelDevice, Local4: u.IPv4, Local6: u.IPv6,
		ErrorInterval: errorInterval, ErrorBurst: errorBurst,
		HostDevice: local.HostDevice, HostMAC: local.HostMAC,
		RequestInterval: requestInterval, RequestBurst: requestBurst,
		FloodInterval: floodInterval, FloodBurst: floodBurst, ServiceInterval: serviceInterval, ServiceBurst: serviceBurst,
		TunnelMTU4: u.tunnelMTU(netip.IPv4Unspecified(), api.EncapsulationVXLAN, 0), TunnelMTU6: u.tunnelMTU(netip.IPv6Unspecified(), api.EncapsulationVXLAN, 0),
	}
}

// destinationMTU is what the workload's interface takes that a route leads to:
// what its network says, else what its host gives to workloads. 0: not known.
func destinationMTU(r desired.Route, rows desired.Rows) int {
	if r.MTU != 0 || r.Host == "" {
		return r.MTU
	}
	e := rows.Endpoints[r.Host]
	mtu, _ := api.WorkloadMTU(e.MTU, api.EncapsulationVXLAN, e.Addresses)
	return mtu
}

// Attachment is the interface of a port on this host.
type Attachment struct {
	Ifindex      int  // for a sub-port the number that stands for it
	RedirectPeer bool // a veth whose other end is in another namespace
	MTU          int  // of an interface that somebody else made; 0: not known
	Device       int  // of a sub-port: the interface that carries its frames
	VLAN         uint16
}

// Route is a route whose next hop is named by what it is.
type Route struct {
	NextHop vrouter.NextHop
	MAC     vrouter.MAC
	Routed  bool
	MTU     int
	Fabric  bool // of the underlay's VRF: uplinks may lead there
	Proxied bool
	Who     rules.Identity // who has the prefix
}

// Tables are the contents that the vRouter's tables should have.
type Tables struct {
	// TunnelSources are the addresses that may send into each VNI, sorted. A VNI
	// that checks them has a row here even if nobody may.
	TunnelSources map[uint32][]netip.Addr
	VNIs          map[uint32]vrouter.VNI
	PortAddresses map[int][]netip.Addr // by interface, sorted
	PortPrefixes  map[int][]PortPrefix // by interface, sorted; a port without has a row too
	Ports         map[int]vrouter.Port
	SubPorts      map[vrouter.SubPort]int // interface by device and VLAN
	Limits        map[int]vrouter.Limits  // by interface, of ports that have any
	NextHops      map[vrouter.NextHop]struct{}
	Groups        map[string]Group // by the name in a next hop
	Routes        map[vrouter.RouteKey]Route
	Services      map[vrouter.Service]uint16
	Aliases       map[uint32]int // interface by number
	MACs          map[vrouter.MACKey]vrouter.NextHop
	Floods        map[uint32]Flood // by VRF; a network that does not flood has none
	Asked
	Balanced Balanced // virtual addresses
	Floating Floating // floating addresses
	// Problems are desired rows that cannot be turned into table rows.
	Problems map[string]string
}

// Compute returns the tables for these desired rows and interfaces. It depends
// on nothing that happened before.
func Compute(rows desired.Rows, attached map[string]Attachment, underlay Underlay, local Local) Tables {
	return ComputeAfter(Balanced{}, rows, attached, underlay, local)
}

// ComputeAfter is Compute with what is known already of virtual addresses, which
// may be very many: it saves time and never shows.
func ComputeAfter(earlier Balanced, rows desired.Rows, attached map[string]Attachment, underlay Underlay, local Local) Tables {
	t := Tables{
		TunnelSources: make(map[uint32][]netip.Addr, len(rows.VRFs)),
		VNIs:          make(map[uint32]vrouter.VNI, len(rows.VRFs)),
		PortAddresses: make(map[int][]netip.Addr, len(attached)),
		PortPrefixes:  make(map[int][]PortPrefix, len(attached)),
		Ports:         make(map[int]vrouter.Port, len(attached)),
		SubPorts:      map[vrouter.SubPort]int{},
		Limits:        map[int]vrouter.Limits{},
		NextHops:      map[vrouter.NextHop]struct{}{},
		Groups:        map[string]Group{},
		Routes:        make(map[vrouter.RouteKey]Route, len(rows.Routes)),
		Services:      map[vrouter.Service]uint16{},
		Aliases:       Aliases(attached),
		MACs:          map[vrouter.MACKey]vrouter.NextHop{},
		Floods:        map[uint32]Flood{},
		Asked:         newAsked(rows),
		Problems:      map[string]string{},
	}
	for key, why := range rows.Bad {
		t.Problems[key] = why
	}
	for _, v := range rows.VRFs {
		t.VNIs[v.VNI] = vrouter.VNI{VRF: v.ID, CheckSources: v.SourcesListed, Bridge: v.Bridges(), Frames: v.Frames(), Label: v.Labelled}
	}
	local.Ways = within(local.Ways, rows.ToldMTU())
	t.addSources(rows)
	for id, p := range rows.Ports {
		if a, ok := attached[id]; ok {
			t.addPort(p, a, rows, underlay)
			if v := rows.VRFs[p.VRF]; !v.Frames() {
				t.addRouter(p)
				t.addServices(p, v, local)
			}
		}
	}
	t.addFloating(floatingOf(rows, attached))
	t.nameAliases()
	for key, r := range rows.Routes {
		t.addRoute(key, r, rows, attached, underlay, local)
	}
	t.addUnderlay(rows, attached, local)
	if local.Balances {
		t.addReached(places{rows: rows, attached: attached, underlay: underlay})
		t.addBalanced(balancedOf(places{rows: rows, attached: attached, underlay: underlay}, earlier))
	}
	t.addBridging(places{rows: rows, attached: attached, underlay: underlay})
	return t
}

func (t *Tables) addSources(rows desired.Rows) {
	for _, v := range rows.VRFs {
		if v.SourcesListed {
			t.TunnelSources[v.VNI] = nil
		}
	}
	for key := range rows.Sources {
		e, ok := rows.Endpoints[key.Host]
		if !ok {
			t.Problems[desired.SourceRow(key)] = fmt.Sprintf("tunnel endpoint of host %s is not known here", key.Host)
			continue
		}
		t.TunnelSources[key.VNI] = append(t.TunnelSources[key.VNI], e.Addresses...)
	}
	for key, r := range rows.Routes { // a gateway outside may answer into the VRF
		if v, ok := rows.VRFs[key.VRF]; ok && r.Outside.Address.IsValid() {
			t.TunnelSources[v.VNI] = append(t.TunnelSources[v.VNI], r.Outside.Address)
		}
	}
	for vni, addresses := range t.TunnelSources {
		slices.SortFunc(addresses, netip.Addr.Compare)
		t.TunnelSources[vni] = slices.Compact(addresses)
	}
}

// withAnnounced adds the addresses that a port asked for. Where the host
// reaches it stays one of its own.
func withAnnounced(own []netip.Addr, p desired.Port) []netip.Addr {
	if len(p.Announced) == 0 {
		return slices.Compact(own)
	}
	all := slices.Concat(own, p.Announced)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

func (t *Tables) addPort(p desired.Port, a Attachment, rows desired.Rows, underlay Underlay) {
	addresses := make([]netip.Addr, 0, len(p.Addresses))
	for _, x := range p.Addresses {
		addresses = append(addresses, x.Prefix.Addr())
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	t.PortAddresses[a.Ifindex] = withAnnounced(addresses, p)
	t.PortPrefixes[a.Ifindex] = prefixesOf(p, rows.Subnets)
	four, six := Gateways(p)
	answers := answersOf(p, rows.Subnets)
	if a.VLAN != 0 {
		t.SubPorts[vrouter.SubPort{Device: a.Device, VLAN: a.VLAN}] = a.Ifindex
	}
	t.addLimits(p, a)
	asks := t.Asked.add(p, a.Ifindex, rows)
	t.Ports[a.Ifindex] = vrouter.Port{
		VRF:          p.VRF,
		ID:           PortNumber(p.ID),
		MAC:          p.MAC,
		MTU:          PortMTU(p, a, rows, underlay),
		Device:       a.Device,
		VLAN:         a.VLAN,
		RedirectPeer: straight(p, a),
		Gateway4:     four,
		Gateway6:     six,
		DHCP4:        answers.dhcp4,
		DHCP6:        answers.dhcp6,
		Advertise:    answers.advertise,
		Disabled:     rows.Disabled(p) != "",
		Address4:     first(addresses, false),
		Address6:     first(addresses, true),
		Bridge:       rows.VRFs[p.VRF].Bridges(),
		Frames:       rows.VRFs[p.VRF].Frames(),
		MACLimit:     p.MACLimit,
		Unchecked:    p.Unchecked,
		Policed:      asks,
		Stateless:    asks && p.Stateless,
	}
}

// Gateways are the first ones of each family, which is where the workload's
// default routes lead: the router that its packets meet.
func Gateways(p desired.Port) (four, six netip.Addr) {
	for _, a := range p.Addresses {
		switch g := a.Gateway; {
		case g.Is4() && !four.IsValid():
			four = g
		case g.Is6() && !six.IsValid():
			six = g
		}
	}
	return four, six
}

// PortMTU is the MTU of a port: what its network takes, and no more than its
// interface does if somebody else made that, and for a sub-port than the port
// that carries it.
func PortMTU(p desired.Port, a Attachment, rows desired.Rows, underlay Underlay) int {
	mtu := NetworkMTU(p, rows, underlay)
	if a.MTU != 0 {
		mtu = min(mtu, a.MTU)
	}
	if trunk, there := rows.Ports[p.Trunk]; there {
		mtu = min(mtu, NetworkMTU(trunk, rows, underlay))
	}
	return mtu
}

// NetworkMTU is what a port's network takes, and so the MTU of an interface that
// we make. In the underlay no tunnel costs anything.
func NetworkMTU(p desired.Port, rows desired.Rows, underlay Underlay) int {
	if p.MTU != 0 {
		return p.MTU
	}
	if rows.VRFs[p.VRF].Fabric {
		return underlay.MTU
	}
	return underlay.WorkloadMTU()
}

// PortNumber is the short form of a port's UUID that the kernel carries for
// events. It is not a key: two ports may share one.
func PortNumber(uuid string) uint32 {
	if len(uuid) < 8 {
		return 0
	}
	n, _ := strconv.ParseUint(uuid[len(uuid)-8:], 16, 32) // not hexadecimal: 0, which is only less telling
	return uint32(n)
}

func (t *Tables) addRoute(key desired.RouteKey, r desired.Route, rows desired.Rows, attached map[string]Attachment, underlay Underlay, local Local) {
	if ThroughFabric(key, r, rows) {
		t.lead(key.VRF, key.Prefix, fabricRoute(key, r, rows, local))
		return
	}
	places := places{key: key, rows: rows, attached: attached, underlay: underlay, balances: local.Balances}
	var hop vrouter.NextHop
	var problem string
	if len(r.Equal) > 0 {
		hop, problem = t.addGroup(r, places)
	} else {
		hop, problem = nextHop(r, places)
	}
	if problem != "" {
		t.Problems[desired.RouteRow(key)] = problem
	}
	t.NextHops[hop] = struct{}{}
	mac := vrouter.MAC(r.MAC)
	if r.Outside.Address.IsValid() { // whoever asks a neighbour's address is sent to the router
		mac = vrouter.GatewayMAC
	}
	t.Routes[vrouter.RouteKey{VRF: key.VRF, Prefix: key.Prefix}] = Route{NextHop: hop, MAC: mac, Routed: r.Routed, MTU: destinationMTU(r, rows), Proxied: r.Proxied, Who: r.Workload}
}

// places are what next hops are found in.
type places struct {
	key      desired.RouteKey
	rows     desired.Rows
	attached map[string]Attachment
	underlay Underlay
	balances bool
}

// nextHop says where a route leads. A place that is not known (yet) is a next
// hop of its own kind: frames for it are dropped and counted as unresolved, and
// do not follow a shorter prefix elsewhere.
func nextHop(r desired.Route, p places) (hop vrouter.NextHop, problem string) {
	none := vrouter.NextHop{Kind: vrouter.NextHopNone}
	switch {
	case r.Gateway:
		return vrouter.NextHop{Kind: vrouter.NextHopGateway}, ""
	case r.Discard:
		return vrouter.NextHop{Kind: vrouter.NextHopDiscard}, ""
	case r.Mapped.Port != "":
		_, plugged := p.attached[r.Mapped.Port]
		if _, bound := p.rows.Ports[r.Mapped.Port]; !bound || !plugged {
			return none, "" // as of a port
		}
		return vrouter.NextHop{Kind: vrouter.NextHopMapped, Mapping: floatingNumber(p.key.Prefix.Addr(), r.Mapped)}, ""
	case r.Shared.Inside != 0:
		return none, "" // nobody translates yet; control says so, of the source-nat
	case r.External.Gateway.IsValid():
		return none, "" // nobody connects yet; control says so, of the network
	case r.Balancer != 0:
		if !p.balances {
			return none, "" // control says so, of the load-balancer
		}
		return vrouter.NextHop{Kind: vrouter.NextHopBalancer, VNI: r.Balancer}, ""
	case r.Outside.Address.IsValid():
		return p.underlay.toOutside(r.Outside)
	case r.Port != "":
		a, plugged := p.attached[r.Port]
		if _, bound := p.rows.Ports[r.Port]; !bound || !plugged {
			return none, "" // waiting for the workload is not an error
		}
		return vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: a.Ifindex}, ""
	}
	e, ok := p.rows.Endpoints[r.Host]
	if !ok {
		return none, fmt.Sprintf("tunnel endpoint of host %s is not known here", r.Host)
	}
	return p.underlay.toHost(p.key, r, e)
}
