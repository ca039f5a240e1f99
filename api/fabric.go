// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"strconv"
)

// The kinds of trunks and of the physical fabric.
const (
	KindTrunk                Kind = "trunk"
	KindSubPort              Kind = "sub-port"
	KindSwitch               Kind = "switch"
	KindSwitchPort           Kind = "switch-port"
	KindSwitchPortAttachment Kind = "switch-port-attachment"
)

var fabricKinds = []Info{
	{KindTrunk, "trunks", "trk", KindProject, "A port that carries other ports by VLAN.", func() Object { return &Trunk{} }},
	{KindSubPort, "sub-ports", "subp", KindTrunk, "A port that is carried by a trunk.", func() Object { return &SubPort{} }},
	{KindSwitch, "switches", "sw", "", "A leaf or spine switch of the fabric.", func() Object { return &Switch{} }},
	{KindSwitchPort, "switch-ports", "swp", KindSwitch, "A physical port of a switch.", func() Object { return &SwitchPort{} }},
	{KindSwitchPortAttachment, "switch-port-attachments", "swpa", KindProject, "Puts a port on a switch-port, untagged or by VLAN.", func() Object { return &SwitchPortAttachment{} }},
}

// Trunk makes a port carry others, its sub-ports.
type Trunk struct {
	Header
	Spec   TrunkSpec `json:"spec"`
	Status Reported  `json:"status,omitzero"`
}

// TrunkSpec says which port.
type TrunkSpec struct {
	Port       Ref        `json:"port" doc:"The port that carries; fixed. A port is in one trunk at most."`
	AdminState AdminState `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: its sub-ports are on no host and carry nothing; the port itself is not concerned."`
}

func (t *Trunk) Refs() []FieldRef {
	return []FieldRef{{"spec.port", KindPort, &t.Spec.Port, VerbEdit}}
}

// Claims holds the port's place in trunks.
func (t *Trunk) Claims() []Claim { return []Claim{trunkClaim(t.Spec.Port)} }

// trunkClaim is a port's place in trunks, as carrier or carried.
func trunkClaim(port Ref) Claim {
	return Claim{"trunk-port/" + port.UUID, "spec.port", "the place of port " + port.String() + " in a trunk"}
}

func (t *Trunk) Validate() Problems { return checkFields(t.Spec) }

func (t *Trunk) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.port", old.(*Trunk).Spec.Port, t.Spec.Port)
	return p
}

func (t *Trunk) StatusBody() any { return &t.Status }

// SubPort is a port that a trunk carries. It belongs to whoever makes it: pods
// inside a virtual machine are another orchestrator's than the machine.
type SubPort struct {
	Header
	Spec   SubPortSpec `json:"spec"`
	Status Reported    `json:"status,omitzero"`
}

// SubPortSpec is fixed at creation.
type SubPortSpec struct {
	Port Ref `json:"port" doc:"The port that is carried; fixed. It is on the host where the trunk's port is: it needs no binding, and one of its own that is active must be to that host."`
	VLAN int `json:"vlan" minimum:"1" maximum:"4094" doc:"VLAN tag in the trunk; fixed, and unique there."`
}

func (s *SubPort) Refs() []FieldRef {
	return []FieldRef{{"spec.port", KindPort, &s.Spec.Port, VerbEdit}}
}

// Claims holds the port's place in trunks and the VLAN.
func (s *SubPort) Claims() []Claim {
	vlan := strconv.Itoa(s.Spec.VLAN)
	return []Claim{trunkClaim(s.Spec.Port), {"trunk-vlan/" + s.Meta.Parent.UUID + "/" + vlan, "spec.vlan", "VLAN " + vlan + " of trunk " + s.Meta.Parent.String()}}
}

func (s *SubPort) Validate() Problems { return checkFields(s.Spec) }

func (s *SubPort) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*SubPort).Spec
	immutable(&p, "spec.port", was.Port, s.Spec.Port)
	immutable(&p, "spec.vlan", was.VLAN, s.Spec.VLAN)
	return p
}

func (s *SubPort) StatusBody() any { return &s.Status }

// Switch is a switch of the fabric. Only administrators make and change one.
type Switch struct {
	Header
	Spec   SwitchSpec `json:"spec"`
	Status Reported   `json:"status,omitzero"`
}

// SwitchSpec says how the switch is reached and what it does.
type SwitchSpec struct {
	Role              string     `json:"role" enum:"leaf,spine,border" doc:"Place in the fabric."`
	Driver            string     `json:"driver,omitempty" doc:"What its configuration is pushed with; it is not configured when absent."`
	ManagementAddress netip.Addr `json:"managementAddress,omitzero" doc:"Where the driver reaches it."`
	Secret            string     `json:"secret,omitempty" doc:"Name of the secret with the driver's credentials; never the credentials."`
	TunnelAddress     netip.Addr `json:"tunnelAddress,omitzero" doc:"Its own VTEP in the underlay."`
	SharedTunnel      netip.Addr `json:"sharedTunnelAddress,omitzero" doc:"VTEP that it and its pair have in common."`
	AS                uint32     `json:"as,omitempty" minimum:"1" doc:"AS number of the fabric's routing."`
	Pair              string     `json:"pair,omitempty" doc:"Word that the two switches of an MLAG pair share."`
}

// Claims holds the tunnel address, as hosts' are held.
func (s *Switch) Claims() []Claim {
	if !s.Spec.TunnelAddress.IsValid() {
		return nil
	}
	key := addrKey(s.Spec.TunnelAddress)
	return []Claim{{"tunnel-address/" + key, "spec.tunnelAddress", "tunnel address " + key}}
}

func (s *Switch) Validate() Problems { return checkFields(s.Spec) }
func (s *Switch) StatusBody() any    { return &s.Status }

// SwitchPort is a physical port. Its owner shares it with verb attach to let
// others put ports on it.
type SwitchPort struct {
	Header
	Spec   SwitchPortSpec `json:"spec"`
	Status Reported       `json:"status,omitzero"`
}

// SwitchPortSpec says what is wired to it.
type SwitchPortSpec struct {
	Interface string `json:"interface" doc:"The switch's own name of the port, e.g. Ethernet1/5; fixed."`
	// Aggregate joins switch-ports into one link, also over a pair of switches.
	Aggregate  string     `json:"aggregate,omitempty" doc:"Word that the ports of one LACP link share, also over the two switches of a pair; a link of its own when absent."`
	ESI        string     `json:"ethernetSegment,omitempty" doc:"Ethernet segment identifier of a link over several switches (RFC 7432), 10 bytes in hex; derived when absent."`
	Host       Ref        `json:"host,omitzero" doc:"Host that is wired to it: its VLANs and BGP sessions follow the host."`
	MTU        int        `json:"mtu,omitempty" minimum:"1280" maximum:"65535" doc:"Largest packet, bytes; the fabric's when absent."`
	AdminState AdminState `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: the port is shut."`
}

func (s *SwitchPort) Refs() []FieldRef {
	return []FieldRef{{"spec.host", KindHost, &s.Spec.Host, ""}}
}

// Claims holds the physical port.
func (s *SwitchPort) Claims() []Claim {
	return []Claim{{"switch-interface/" + s.Meta.Parent.UUID + "/" + s.Spec.Interface, "spec.interface", "interface " + s.Spec.Interface + " of " + s.Meta.Parent.String()}}
}

func (s *SwitchPort) Validate() Problems { return checkFields(s.Spec) }

func (s *SwitchPort) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.interface", old.(*SwitchPort).Spec.Interface, s.Spec.Interface)
	return p
}

func (s *SwitchPort) StatusBody() any { return &s.Status }

// SwitchPortAttachment puts a port of a network on a switch-port: bare metal
// joins the network there. A port may be on several (one link, or several).
type SwitchPortAttachment struct {
	Header
	Spec   SwitchPortAttachmentSpec `json:"spec"`
	Status Reported                 `json:"status,omitzero"`
}

// SwitchPortAttachmentSpec is fixed at creation.
type SwitchPortAttachmentSpec struct {
	Port       Ref `json:"port" doc:"The port; fixed."`
	SwitchPort Ref `json:"switchPort" doc:"Where it is; fixed."`
	VLAN       int `json:"vlan,omitempty" minimum:"0" maximum:"4094" doc:"VLAN tag on the wire; untagged when absent. Fixed, and unique on the switch-port."`
}

func (s *SwitchPortAttachment) Refs() []FieldRef {
	return []FieldRef{
		{"spec.port", KindPort, &s.Spec.Port, VerbEdit},
		{"spec.switchPort", KindSwitchPort, &s.Spec.SwitchPort, VerbAttach},
	}
}

// Claims holds the VLAN on the switch-port.
func (s *SwitchPortAttachment) Claims() []Claim {
	vlan := strconv.Itoa(s.Spec.VLAN)
	return []Claim{{"switch-port-vlan/" + s.Spec.SwitchPort.UUID + "/" + vlan, "spec.vlan", "VLAN " + vlan + " of " + s.Spec.SwitchPort.String()}}
}

func (s *SwitchPortAttachment) Validate() Problems { return checkFields(s.Spec) }

func (s *SwitchPortAttachment) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*SwitchPortAttachment).Spec
	immutable(&p, "spec.port", was.Port, s.Spec.Port)
	immutable(&p, "spec.switchPort", was.SwitchPort, s.Spec.SwitchPort)
	immutable(&p, "spec.vlan", was.VLAN, s.Spec.VLAN)
	return p
}

func (s *SwitchPortAttachment) StatusBody() any { return &s.Status }
