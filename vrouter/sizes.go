// SPDX-License-Identifier: Apache-2.0

package vrouter

import "maps"

// Sizes bounds the tables, in entries. A full table refuses further entries.
// Changing a size changes the layout: see [Load].
type Sizes struct {
	Ports         uint32
	PortAddresses uint32
	PortPrefixes  uint32 // of each family
	HostRoutes    uint32 // of full length, both families
	Routes4       uint32 // shorter ones
	Routes6       uint32
	NextHops      uint32
	Groups        uint32 // of equal next hops
	VNIs          uint32
	TunnelSources uint32
	Connections   uint32 // whose remote end is proven
	HalfOpen      uint32 // all others
	Fragments     uint32 // packets in fragments at one time
	MACs          uint32 // of ports, wherever they are
	LearnedMACs   uint32
	Receivers     uint32 // of floods, all networks together
	BalanceSizes
	PolicySizes
}

// DefaultSizes are used for sizes that are zero. Hash tables are allocated in
// full when created, about 20 MB together here; routes, connections, tunnel
// sources and services grow as they fill.
var DefaultSizes = Sizes{
	Ports:         1024,    // the largest hosts run some 250 pods, each perhaps with several interfaces
	PortAddresses: 8192,    // eight addresses a port
	PortPrefixes:  16384,   // sixteen a port; costs memory only when used
	HostRoutes:    1 << 20, // every address of a large installation imported on one host; an entry costs memory only when used
	Routes4:       1 << 16, // subnets and what is outside; an entry costs memory only when used
	Routes6:       1 << 16,
	NextHops:      16384,   // ports of this host, and (host, VNI) pairs it talks to
	Groups:        4096,    // an entry is 1 KiB and costs memory only when used
	VNIs:          4096,    // networks with a port on this host
	Connections:   1 << 18, // as many as Linux tracks by default; 4 MB of buckets, a larger table is slower for all (0025); entries cost memory only when used
	HalfOpen:      1 << 16, // 10 MB; a flood of 100,000 a second turns it over in half a second
	Fragments:     8192,
	MACs:          1 << 17, // ports of the networks that have a port here; these three cost memory only when used
	LearnedMACs:   1 << 16, // a thousand ports with the 64 that are their limit unless they ask for more
	Receivers:     1 << 16, // 256 networks with as many receivers as may be
	BalanceSizes:  defaultBalanceSizes,
	PolicySizes:   defaultPolicySizes,
	TunnelSources: 1 << 18, // 64 other hosts, each with two addresses, in 2048 networks; costs memory only when used
}

// Bounds of the tables nobody configures.
const (
	reasonsPerInterface = 8  // on average; what finds no room is counted with AnyInterface
	ownDevices          = 3  // tunnel, host path and uplinks
	underlayDevices     = 9  // label path and interfaces into the underlay
	tunnelAddresses     = 32 // of this host
	servicesPerVRF      = 16 // DNS of both transports at four gateways, metadata in both families, and some of the fabric
	flowsPerPort        = 16 // conversations with services at a time; the oldest makes room
	// requestBytes is room for 128 requests that wait for the agent: a request
	// costs it microseconds, and a host that starts all its workloads at once
	// sees one of each kind from each. A power of two.
	requestBytes = 1 << 18
	// eventBytes is room for 4,600 frames that are told of: a tenth of a second
	// at 50,000 a second, more than the agent's limit. A power of two.
	eventBytes = 1 << 20
	// mirrorTargets is how many analyzers a host may know.
	mirrorTargets = 1024
)

func (s Sizes) withDefaults() Sizes {
	or := func(size, otherwise uint32) uint32 {
		if size == 0 {
			return otherwise
		}
		return size
	}
	return Sizes{
		Ports:         or(s.Ports, DefaultSizes.Ports),
		PortAddresses: or(s.PortAddresses, DefaultSizes.PortAddresses),
		PortPrefixes:  or(s.PortPrefixes, DefaultSizes.PortPrefixes),
		HostRoutes:    or(s.HostRoutes, DefaultSizes.HostRoutes),
		Routes4:       or(s.Routes4, DefaultSizes.Routes4),
		Routes6:       or(s.Routes6, DefaultSizes.Routes6),
		NextHops:      or(s.NextHops, DefaultSizes.NextHops),
		Groups:        or(s.Groups, DefaultSizes.Groups),
		VNIs:          or(s.VNIs, DefaultSizes.VNIs),
		TunnelSources: or(s.TunnelSources, DefaultSizes.TunnelSources),
		Connections:   or(s.Connections, DefaultSizes.Connections),
		HalfOpen:      or(s.HalfOpen, DefaultSizes.HalfOpen),
		Fragments:     or(s.Fragments, DefaultSizes.Fragments),
		MACs:          or(s.MACs, DefaultSizes.MACs),
		LearnedMACs:   or(s.LearnedMACs, DefaultSizes.LearnedMACs),
		Receivers:     or(s.Receivers, DefaultSizes.Receivers),
		BalanceSizes:  s.BalanceSizes.withDefaults(or),
		PolicySizes:   s.PolicySizes.withDefaults(or),
	}
}

// of returns the bound of each table by name.
func (s Sizes) of() map[string]uint32 {
	all := map[string]uint32{
		"ports":            s.Ports,
		"sub_ports":        s.Ports,
		"port_addresses":   s.PortAddresses,
		"port_prefixes4":   s.PortPrefixes,
		"port_prefixes6":   s.PortPrefixes,
		"host_routes":      s.HostRoutes,
		"routes4":          trieSize(s.Routes4, s.VNIs),
		"routes6":          trieSize(s.Routes6, s.VNIs),
		"next_hops":        s.NextHops,
		"groups":           s.Groups,
		"vnis":             s.VNIs,
		"tunnel_sources":   s.TunnelSources,
		"connections":      s.Connections,
		"half_open":        s.HalfOpen,
		"half_open_rest":   s.HalfOpen,
		"half_open_share":  1,
		"fragments":        s.Fragments,
		"macs":             s.MACs,
		"learned_macs":     s.LearnedMACs,
		"mac_counts":       s.Ports + 2*s.VNIs + 1, // behind ports, behind tunnels and of networks; and what is free
		"flood_times":      s.Ports,
		"service_times":    s.Ports,
		"floods":           s.VNIs,
		"receivers":        s.Receivers,
		"generations":      uint32(layoutGenerationBoundGENERATION_SECTIONS) * generationSlots,
		"config":           1,
		"tunnel_addresses": tunnelAddresses,
		"error_times":      s.Ports,
		"answer_times":     s.Ports,
		"places":           s.HalfOpen,  // of ports with a limit, all together
		"place_counts":     2 * s.Ports, // ports that go and ports that come may be there together
		"places_returned":  2 * s.Ports,
		"half_open_counts": 2 * s.Ports, "half_open_returned": 2 * s.Ports,
		"services":             s.VNIs * servicesPerVRF,
		"host_flows":           s.Ports * flowsPerPort,
		"aliases":              s.Ports,
		"request_times":        s.Ports,
		"requests":             requestBytes,
		eventControl:           1,
		"events":               eventBytes,
		"event_times":          uint32(layoutEventKindEVENT_KINDS),
		"event_counts":         uint32(layoutEventKindEVENT_KINDS),
		"limits":               4 * s.Ports, // of both directions; ports that go and ports that come may be there together
		"limit_states":         4 * s.Ports,
		"mirrors":              4 * s.Ports, // of both directions; half of the ports with two each way, or all with one and room for those that come
		"mirror_counts":        4 * s.Ports,
		"mirror_targets":       mirrorTargets,
		"mirror_target_counts": mirrorTargets,
		"drops":                (s.Ports+ownDevices+underlayDevices)*reasonsPerInterface + uint32(layoutReasonREASON_COUNT),
		"log_times":            2*s.Ports + ownDevices, // as counters
		"counters":             2*s.Ports + ownDevices, // ports that go and ports that come may be there together
	}
	maps.Copy(all, s.PolicySizes.of(s.Ports))
	maps.Copy(all, s.BalanceSizes.of())
	return all
}
