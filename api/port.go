// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// MAC is an Ethernet address in the form aa:bb:cc:dd:ee:ff, lower case.
type MAC string

// MACFromUUID derives the default address of a port: locally administered
// (first byte 02), the rest from the last five bytes of its UUID.
func MACFromUUID(uuid string) MAC {
	tail := uuid[len(uuid)-10:]
	raw, err := hex.DecodeString(tail)
	if err != nil {
		panic(fmt.Sprintf("api: derive MAC from %q: %v", uuid, err))
	}
	return MAC(net.HardwareAddr(append([]byte{0x02}, raw...)).String())
}

// Bytes returns the six bytes.
func (m MAC) Bytes() ([6]byte, error) {
	hw, err := net.ParseMAC(string(m))
	if err != nil || len(hw) != 6 {
		return [6]byte{}, fmt.Errorf("read MAC %q: want six bytes as aa:bb:cc:dd:ee:ff", string(m))
	}
	return [6]byte(hw), nil
}

// Port is a point where a workload is attached to a network.
type Port struct {
	Header
	Spec   PortSpec   `json:"spec"`
	Status PortStatus `json:"status,omitzero"`
}

// PortSpec says which network the port belongs to.
type PortSpec struct {
	Network Ref `json:"network" doc:"Network of the port; fixed."`
	// MAC is derived from the UUID when absent.
	MAC MAC `json:"mac,omitempty" doc:"Ethernet address; derived from the UUID when absent. Unique in the network."`
	PortFeatures
}

// PortState is how far a port has come.
type PortState string

// The states of a port.
const (
	PortUnbound PortState = "unbound" // no active binding
	PortWaiting PortState = "waiting" // bound, no workload plugged yet
	PortUp      PortState = "up"      // attached and programmed
	// PortDisabled: attached and programmed; nothing passes, for its adminState
	// or its network's is down.
	PortDisabled PortState = "disabled"
	PortFailed   PortState = "failed" // the host could not attach it, see message
)

// PortStatus is what the port's host reports.
type PortStatus struct {
	State   PortState `json:"state,omitempty" doc:"unbound, waiting, up, disabled (its adminState, or its network's, is down) or failed."`
	Host    string    `json:"host,omitempty" doc:"Name of the host that reported."`
	Message string    `json:"message,omitempty" doc:"Why, where the state is failed or disabled, or the port waits for its policy or has a former one."`
	// Announced is by address.
	Announced []AnnouncedAddress `json:"announced,omitempty" doc:"Addresses that the workload spoke for, of its active-standby pairs and slaac subnets. The newest 16."`
	// HealthChecks are in the order of the spec.
	HealthChecks []CheckedPort `json:"healthChecks,omitempty" doc:"What its health-checks come to."`
	Withdrawn    bool          `json:"withdrawn,omitempty" doc:"A health-check that asks for it has failed: no route leads through the port, but to its own addresses."`
}

// CheckUnknown is the reason of a check of which its host has not said anything.
const CheckUnknown = "unknown"

// CheckedPort is what a health-check of a port comes to.
type CheckedPort struct {
	Check   Ref    `json:"healthCheck" doc:"The health-check."`
	Online  bool   `json:"online" doc:"The workload answers as it asks."`
	Reason  string `json:"reason" doc:"online; failed: it does not answer as it should; untried: it cannot be tried; unknown: its host has not said."`
	Message string `json:"message,omitempty" doc:"Why, where it is not online."`
	// Withdrawn is kept while nobody knows how the workload is.
	Withdrawn bool      `json:"withdrawn,omitempty" doc:"It failed, and takes routes back; also since then nobody knows."`
	Since     time.Time `json:"since" doc:"When online or the reason last changed."`
}

// MaxAnnounced is how many addresses a port may have spoken for.
const MaxAnnounced = 16

// AnnouncedAddress is an address that a workload spoke for: by gratuitous ARP, a
// neighbour advertisement, duplicate address detection or a packet from it.
type AnnouncedAddress struct {
	Address  netip.Addr `json:"address" doc:"The address."`
	MAC      MAC        `json:"mac" doc:"Ethernet address that it was spoken for with."`
	Sequence uint64     `json:"sequence" doc:"Greater each time that the workload spoke for it after somebody else."`
	Order    uint64     `json:"order" doc:"Of all ports of the network that spoke for the address of an active-standby pair, the one with the greatest order has it; of a slaac subnet the one with the least."`
}

func (p *Port) Refs() []FieldRef {
	refs := append(p.Spec.PortFeatures.refs(), FieldRef{"spec.network", KindNetwork, &p.Spec.Network, VerbAttach})
	if len(p.Spec.RouteTables) > 0 {
		// They become routes of the network, for all in it: to attach ports is
		// not to lead others' packets there.
		refs = append(refs, FieldRef{"spec.routeTables", KindNetwork, &p.Spec.Network, VerbRoute})
	}
	return refs
}

func (p *Port) Claims() []Claim {
	return []Claim{{
		Key:   "mac/" + p.Spec.Network.UUID + "/" + string(p.Spec.MAC),
		Field: "spec.mac",
		What:  "MAC " + string(p.Spec.MAC) + " in " + p.Spec.Network.String(),
	}}
}

func (p *Port) Guards() []string { return nil }

func (p *Port) Validate() Problems {
	problems := checkFields(p.Spec)
	p.Spec.PortFeatures.check(&problems)
	return problems
}

func (p *Port) ValidateUpdate(old Object) Problems {
	var problems Problems
	was := old.(*Port)
	immutable(&problems, "spec.network", was.Spec.Network, p.Spec.Network)
	immutable(&problems, "spec.mac", was.Spec.MAC, p.Spec.MAC)
	return problems
}

func (p *Port) StatusBody() any { return &p.Status }

// Binding places a port on a host. A port may have several, one of them active.
type Binding struct {
	Header
	Spec   BindingSpec   `json:"spec"`
	Status BindingStatus `json:"status,omitzero"`
}

// BindingSpec is one placement.
type BindingSpec struct {
	Host Ref `json:"host" doc:"The host; fixed."`
	// Active is held by at most one binding of a port. The store revision of
	// the write that set it is the mobility sequence: the newest wins.
	Active bool `json:"active" doc:"Whether the workload is here; true for at most one binding of a port."`
}

// BindingStatus is what the host reports.
type BindingStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

func (b *Binding) Refs() []FieldRef {
	return []FieldRef{{"spec.host", KindHost, &b.Spec.Host, ""}}
}

func (b *Binding) Claims() []Claim {
	port := b.Meta.Parent
	claims := []Claim{{"binding-host/" + port.UUID + "/" + b.Spec.Host.UUID, "spec.host", "the binding of port " + port.String() + " to host " + b.Spec.Host.String()}}
	if b.Spec.Active {
		claims = append(claims, Claim{"active-binding/" + port.UUID, "spec.active", "the active binding of port " + port.String()})
	}
	return claims
}

func (b *Binding) Guards() []string { return nil }

func (b *Binding) Validate() Problems {
	var p Problems
	required(&p, "spec.host", b.Spec.Host)
	return p
}

func (b *Binding) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.host", old.(*Binding).Spec.Host, b.Spec.Host)
	return p
}

func (b *Binding) StatusBody() any { return &b.Status }
