// SPDX-License-Identifier: Apache-2.0

package api

import "net/netip"

// Host is a machine that runs weft-agent. It comes into being when the agent
// joins with a token.
type Host struct {
	Header
	Spec   HostSpec   `json:"spec"`
	Status HostStatus `json:"status,omitzero"`
}

// HostSpec says how the host is reached in the underlay.
type HostSpec struct {
	// TunnelAddresses are the host's own addresses in the underlay at which it
	// receives tunnel packets (VTEP), in the order in which it names them.
	TunnelAddresses []netip.Addr `json:"tunnelAddresses" doc:"Underlay addresses for tunnel packets, at most four of each family. Others send to all of them, each flow to one; from whichever it comes, it is accepted."`
	// UnderlayMTU is the largest IP packet, in bytes, the underlay carries.
	UnderlayMTU int `json:"underlayMTU,omitempty" doc:"Largest IP packet of the underlay, bytes. It bounds what other hosts send here, and what the host itself sends and tells its workloads; what its interfaces carry does too."`
	// Encapsulations are the ways in which the host sends and receives.
	Encapsulations []string `json:"encapsulations,omitempty" enum:"vxlan,mplsudp,mplsgre,none" doc:"Ways to travel that the host can do; vxlan when absent. No agent does mplsgre."`
	// PhysicalNetworks are what external networks are connected to here.
	PhysicalNetworks []PhysicalNetwork `json:"physicalNetworks,omitempty" maxItems:"16" doc:"Physical networks that the host has, for the segments of external networks."`
}

// PhysicalNetwork is a network of cables, and where a host has it.
type PhysicalNetwork struct {
	Name      string `json:"name" doc:"As segments of networks name it."`
	Interface string `json:"interface" maxLength:"15" doc:"The host's interface there."`
}

// MaxTunnelAddresses bounds the tunnel addresses of one family.
const MaxTunnelAddresses = 4

// HostStatus is what the agent and its controller report.
type HostStatus struct {
	Connected    bool        `json:"connected" doc:"Whether the agent holds a stream to a controller."`
	Controller   string      `json:"controller,omitempty" doc:"Controller that holds the stream, or held the last one."`
	Warm         string      `json:"warmController,omitempty" doc:"Controller to which the agent holds another stream in reserve; it takes over when the first is lost."`
	AgentVersion string      `json:"agentVersion,omitempty" doc:"Version of weft-agent."`
	Kernel       string      `json:"kernel,omitempty" doc:"Version of the kernel."`
	Announced    *Underlay   `json:"announced,omitempty" doc:"What the agent says the host has. Addresses, MTU and encapsulations of the spec follow it, each by itself, unless it was set to something else by hand; set to what is said here, it follows again."`
	Lacks        []string    `json:"lacks,omitempty" doc:"What the agent does not say that it can, of what control goes by when it chooses hosts: upgrade it. Of an agent that is away it is what it said last. balance: members of load-balancers on this host are not chosen."`
	Ports        int         `json:"ports,omitempty" doc:"Ports attached on the host."`
	Conditions   []Condition `json:"conditions,omitempty"`
}

// Underlay is what a host has in the underlay.
type Underlay struct {
	TunnelAddresses []netip.Addr `json:"tunnelAddresses" doc:"Its own addresses for tunnel packets."`
	MTU             int          `json:"mtu,omitempty" doc:"Largest IP packet, bytes."`
	Encapsulations  []string     `json:"encapsulations,omitempty" doc:"Ways to travel that it can do."`
}

func (h *Host) Refs() []FieldRef { return nil }

func (h *Host) Claims() []Claim {
	var claims []Claim
	for _, a := range h.Spec.TunnelAddresses {
		claims = append(claims, Claim{"tunnel-address/" + addrKey(a), "spec.tunnelAddresses", "tunnel address " + addrKey(a)})
	}
	return claims
}

func (h *Host) Guards() []string { return nil }

func (h *Host) Validate() Problems {
	var p Problems
	var v4, v6 int
	for _, a := range h.Spec.TunnelAddresses {
		switch {
		case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Zone() != "":
			p.Addf("spec.tunnelAddresses", "%v is not an address of an interface", a)
		case a.Unmap().Is4():
			v4++
		default:
			v6++
		}
	}
	if len(h.Spec.TunnelAddresses) == 0 || v4 > MaxTunnelAddresses || v6 > MaxTunnelAddresses {
		p.Addf("spec.tunnelAddresses", "one address is required, at most %d of each family", MaxTunnelAddresses)
	}
	p = append(p, checkFields(h.Spec)...)
	names := map[string]bool{}
	for i, n := range h.Spec.PhysicalNetworks {
		if names[n.Name] {
			p.Addf(entry("spec.physicalNetworks", i)+".name", "%s is there twice", n.Name)
		}
		names[n.Name] = true
	}
	if m := h.Spec.UnderlayMTU; m != 0 && (m < 1280 || m > 65535) {
		p.Addf("spec.underlayMTU", "%d is not between 1280 and 65535", m)
	}
	return p
}

func (h *Host) ValidateUpdate(Object) Problems { return nil }
func (h *Host) StatusBody() any                { return &h.Status }
