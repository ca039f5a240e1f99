// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"strconv"
)

// PortFeatures is what a port may have beside its place in a network.
type PortFeatures struct {
	AdminState      AdminState    `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: nothing passes the port."`
	VirtualMachine  Ref           `json:"virtualMachine,omitzero" doc:"The workload that the port belongs to."`
	PortSecurity    string        `json:"portSecurity,omitempty" enum:"on,off" doc:"off: any source address and Ethernet address that is nobody else's, and no security-groups; the network's when absent."`
	SecurityGroups  []Ref         `json:"securityGroups,omitempty" doc:"What the port may receive and send; what one of them allows is allowed."`
	AllowedPairs    []AllowedPair `json:"allowedAddressPairs,omitempty" maxItems:"64" doc:"Further source addresses that the workload may use."`
	DNSName         string        `json:"dnsName,omitempty" doc:"Name of the workload in the network's DNS."`
	DNSDomain       string        `json:"dnsDomain,omitempty" doc:"Domain of the name; the network's when absent."`
	DHCPOptions     []DHCPOption  `json:"dhcpOptions,omitempty" doc:"Further options that DHCP gives the workload."`
	NamedPorts      []NamedPort   `json:"namedPorts,omitempty" doc:"Transport ports of the workload by name, for rules that say portName."`
	QoSPolicy       Ref           `json:"qosPolicy,omitzero" doc:"Limits and marks of the port; the network's when absent."`
	RouteTables     []Ref         `json:"routeTables,omitempty" maxItems:"16" doc:"Routes that lead to the port (interface routes). They are routes of the network: in another owner's they need its share with verb route."`
	HealthChecks    []Ref         `json:"healthChecks,omitempty" maxItems:"16" doc:"How the workload is tried, at the first of the port's addresses. What became of it is in the status."`
	MACLearning     *MACLearning  `json:"macLearning,omitempty" doc:"Ethernet addresses behind the port are learned; not when absent. Not in a network that forwards l3."`
	ConnectionLimit int           `json:"connectionLimit,omitempty" minimum:"1" doc:"Most conversations at a time on its host; new ones beyond are dropped. No limit of its own when absent."`
	FatFlows        []FatFlow     `json:"fatFlows,omitempty" effect:"none" doc:"Conversations that count as one connection."`
}

// AllowedPair is a source address that a workload may use beside its own.
type AllowedPair struct {
	Range netip.Prefix `json:"range" hostBits:"true" doc:"Addresses; host bits are kept as written and not matched."`
	MAC   MAC          `json:"mac,omitempty" doc:"Ethernet address that goes with them; the port's when absent."`
	Mode  string       `json:"mode,omitempty" enum:"active-standby,active-active" default:"active-standby" doc:"active-standby: an address of the range goes to whichever port spoke for it last (gratuitous ARP, neighbour advertisement, a first packet): on its own host at once, on all others when the controller that leads has written it, so not while none does; active-active: all ports with the same range share it."`
}

// DHCPOption is one option of DHCP.
type DHCPOption struct {
	Option string `json:"option" doc:"Name or number of the option."`
	Value  string `json:"value,omitempty" maxLength:"1024" doc:"Its value."`
	Family Family `json:"family,omitempty" enum:"IPv4,IPv6" default:"IPv4" doc:"DHCPv4 or DHCPv6."`
	// The conditions. An option with one comes before those without.
	ClientArchitecture ClientArchitecture `json:"clientArchitecture,omitempty" enum:"bios,uefi-x86,uefi-x64,uefi-arm,uefi-arm64,http-x86,http-x64,http-arm,http-arm64" doc:"Only for clients that boot from the network on such a machine, as they say (RFC 4578, RFC 5970); http: by HTTP. Comes before an option without condition."`
	UserClass          string             `json:"userClass,omitempty" maxLength:"64" doc:"Only for clients that say they are of this class (RFC 3004), such as iPXE. Comes before an option without condition."`
}

// ClientArchitecture is the kind of machine that boots from the network.
type ClientArchitecture string

// clientArchitectures are the numbers that clients say (RFC 4578, section 2.1, and
// IANA's registry "Processor Architecture Types"); some of them use either of two.
var clientArchitectures = map[ClientArchitecture][]uint16{
	"bios": {0}, "uefi-x86": {6}, "uefi-x64": {7, 9}, "uefi-arm": {10}, "uefi-arm64": {11},
	"http-x86": {15}, "http-x64": {16}, "http-arm": {18}, "http-arm64": {19},
}

// Numbers are what clients of the architecture say of themselves.
func (a ClientArchitecture) Numbers() []uint16 { return clientArchitectures[a] }

// Conditional tells whether only some clients are told the option.
func (o DHCPOption) Conditional() bool { return o.ClientArchitecture != "" || o.UserClass != "" }

// NamedPort gives a transport port a name.
type NamedPort struct {
	Name     string   `json:"name" doc:"The name, unique with the protocol."`
	Protocol Protocol `json:"protocol" doc:"A protocol that has ports."`
	Port     int      `json:"port" minimum:"1" maximum:"65535" doc:"Transport port."`
}

// The words of a network's forwarding.
const (
	ForwardingBoth    = "l2-l3"
	ForwardingFrames  = "l2"
	ForwardingPackets = "l3"
)

// PortSecurityOff is the word for a port whose source addresses are not checked.
const PortSecurityOff = "off"

// DefaultMACLimit is how many addresses a learning port may have that says nothing.
const DefaultMACLimit = 64

// MACLearning is about workloads that are bridges.
type MACLearning struct {
	Limit int `json:"limit,omitempty" minimum:"1" maximum:"8192" default:"64" doc:"Most addresses behind the port."`
}

// FatFlow is conversations that count as one.
type FatFlow struct {
	Match  Match  `json:"match,omitzero" doc:"Which packets."`
	Ignore string `json:"ignore,omitempty" enum:"source,destination" doc:"Address that makes no difference; both make one when absent."`
	Bits   *int   `json:"prefixLength,omitempty" minimum:"0" maximum:"128" doc:"Addresses of one range of this length count as one."`
}

func (f *PortFeatures) refs() []FieldRef {
	refs := []FieldRef{
		{"spec.virtualMachine", KindVirtualMachine, &f.VirtualMachine, VerbAttach},
		{"spec.qosPolicy", KindQoSPolicy, &f.QoSPolicy, VerbAttach},
	}
	refs = append(refs, refList("spec.securityGroups", KindSecurityGroup, f.SecurityGroups, VerbAttach)...)
	refs = append(refs, refList("spec.routeTables", KindRouteTable, f.RouteTables, VerbAttach)...)
	return append(refs, refList("spec.healthChecks", KindHealthCheck, f.HealthChecks, VerbSee)...)
}

func (f *PortFeatures) check(p *Problems) {
	distinct(p, "spec.securityGroups", f.SecurityGroups)
	distinct(p, "spec.routeTables", f.RouteTables)
	distinct(p, "spec.healthChecks", f.HealthChecks)
	if f.PortSecurity == "off" && len(f.SecurityGroups)+len(f.AllowedPairs) > 0 {
		p.Addf("spec.portSecurity", "off excludes securityGroups and allowedAddressPairs")
	}
	pairs := map[AllowedPair]bool{}
	for i, a := range f.AllowedPairs {
		a.Mode, a.Range = "", a.Range.Masked()
		if pairs[a] {
			p.Addf(entry("spec.allowedAddressPairs", i), "is written twice")
		}
		pairs[a] = true
	}
	checkDomain(p, "spec.dnsName", f.DNSName)
	checkDomain(p, "spec.dnsDomain", f.DNSDomain)
	checkOptions(p, "spec.dhcpOptions", f.DHCPOptions)
	names := map[string]bool{}
	for i, n := range f.NamedPorts {
		at := entry("spec.namedPorts", i)
		if n.Protocol != "" && !n.Protocol.HasPorts() {
			p.Addf(at+".protocol", "%s has no ports", string(n.Protocol))
		}
		if key := n.Protocol.Key() + n.Name; names[key] {
			p.Addf(at+".name", "%s is the name of another port of %s", n.Name, string(n.Protocol))
		} else {
			names[key] = true
		}
	}
	for i := range f.FatFlows {
		f.FatFlows[i].Match.check(p, entry("spec.fatFlows", i)+".match")
	}
}

// NetworkFeatures is what a network may have beside its identity.
type NetworkFeatures struct {
	AdminState    AdminState       `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: nothing passes the ports of the network."`
	External      bool             `json:"external,omitempty" doc:"Whether the gateways of its subnets are routers outside of Weft, at its segment: hosts that have the physical network connect it, and its default routes lead there. See Connected in its status."`
	PortSecurity  string           `json:"portSecurity,omitempty" enum:"on,off" default:"on" doc:"What ports have that say nothing."`
	DNSDomain     string           `json:"dnsDomain,omitempty" doc:"Domain of the names of ports."`
	Services      []NetworkService `json:"services,omitempty" maxItems:"64" doc:"Services of the fabric that workloads of the network reach through their own host."`
	ImportTargets []Ref            `json:"importTargets,omitempty" maxItems:"64" doc:"route-targets whose routes the network takes."`
	ExportTargets []Ref            `json:"exportTargets,omitempty" maxItems:"64" doc:"route-targets that the network's own routes carry; what was leaked in does not."`
	RouteTables   []Ref            `json:"routeTables,omitempty" maxItems:"16" doc:"Static routes of the network."`
	QoSPolicy     Ref              `json:"qosPolicy,omitzero" doc:"Limits and marks of each port here that names no policy; the project's default policy when absent."`
	Segments      []Segment        `json:"segments,omitempty" doc:"Where an external network is in the physical network: one of type vlan. Only Weft's administrators write them."`
	Gateways      []Ref            `json:"gateways,omitempty" maxItems:"64" doc:"Hosts that connect an external network to its segment; all that have the physical network when absent."`
	Forwarding    string           `json:"forwarding,omitempty" enum:"l2-l3,l2,l3" default:"l2-l3" doc:"l2-l3: packets, and inside also frames of any protocol by their Ethernet address; l2: frames only, without gateway and routes, and so without DNS, metadata and services of the fabric, DHCP and router advertisements remain; l3: packets only."`
	ReverseCheck  string           `json:"reversePathCheck,omitempty" enum:"on,off" default:"on" effect:"none" doc:"on: packets whose source is not routed to where they come from are dropped."`
	Flooding      bool             `json:"flooding,omitempty" doc:"Whether broadcast, multicast and frames to unknown Ethernet addresses go to all ports of the network, at most 256 of them and of other hosts together. Not with forwarding l3."`
	Encapsulation []string         `json:"encapsulation,omitempty" enum:"vxlan,mplsudp,mplsgre,none" doc:"Ways to travel between hosts, the best first; vxlan when absent. With none first, workloads are routed in the underlay under their own addresses. Else two hosts use the first that both can do (see encapsulations of a host). mplsudp carries IP packets and needs a VNI from 16 to 1048575; what is bridged goes by vxlan. No host can do mplsgre."`
	HostVisible   bool             `json:"hostVisible,omitempty" doc:"Whether hosts and their own workloads of the network reach each other by their own addresses; always so with encapsulation none. The subnets of all such networks must not overlap."`
	ECMPFields    []string         `json:"ecmpFields,omitempty" enum:"source,destination,protocol,source-port,destination-port" doc:"What equal paths are chosen by; all five when absent."`
}

// Segment is a place in the physical network.
type Segment struct {
	ID              string `json:"id,omitempty" doc:"Identity of the segment in its orchestrator."`
	Type            string `json:"type" enum:"vlan,flat" doc:"vlan: tagged; flat: untagged."`
	PhysicalNetwork string `json:"physicalNetwork" doc:"Name of the physical network, as in physicalNetworks of hosts."`
	VLAN            int    `json:"vlan,omitempty" minimum:"1" maximum:"4094" doc:"For vlan: the tag. Unique in the physical network."`
}

func (f *NetworkFeatures) refs() []FieldRef {
	refs := []FieldRef{{"spec.qosPolicy", KindQoSPolicy, &f.QoSPolicy, VerbAttach}}
	refs = append(refs, refList("spec.importTargets", KindRouteTarget, f.ImportTargets, VerbRoute)...)
	refs = append(refs, refList("spec.exportTargets", KindRouteTarget, f.ExportTargets, VerbRoute)...)
	refs = append(refs, refList("spec.gateways", KindHost, f.Gateways, "")...)
	return append(refs, refList("spec.routeTables", KindRouteTable, f.RouteTables, VerbAttach)...)
}

// claims holds the places in the physical network.
func (f *NetworkFeatures) claims() []Claim {
	var claims []Claim
	for i, s := range f.Segments {
		place := "untagged"
		if s.VLAN != 0 {
			place = strconv.Itoa(s.VLAN)
		}
		claims = append(claims, Claim{"segment/" + s.PhysicalNetwork + "/" + place, entry("spec.segments", i), "VLAN " + place + " of physical network " + s.PhysicalNetwork})
	}
	return claims
}

func (f *NetworkFeatures) check(p *Problems) {
	*p = append(*p, checkFields(*f)...)
	checkDomain(p, "spec.dnsDomain", f.DNSDomain)
	checkNetworkServices(p, f.Services)
	distinct(p, "spec.importTargets", f.ImportTargets)
	distinct(p, "spec.exportTargets", f.ExportTargets)
	distinct(p, "spec.routeTables", f.RouteTables)
	distinct(p, "spec.gateways", f.Gateways)
	for i, s := range f.Segments {
		if (s.Type == "vlan") != (s.VLAN != 0) {
			p.Addf(entry("spec.segments", i)+".vlan", "is for type vlan, and required there")
		}
	}
}
