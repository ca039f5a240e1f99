// SPDX-License-Identifier: Apache-2.0

package api

import "net/netip"

// BGPPeer is a BGP speaker that Weft talks to: from the controllers (gateways,
// leaf switches), from hosts (fabric without tunnels), or from the gateway of a
// port's network (a workload that announces routes).
type BGPPeer struct {
	Header
	Spec   BGPPeerSpec `json:"spec"`
	Status Reported    `json:"status,omitzero"`
}

// BGPPeerSpec says who talks to whom and about what.
type BGPPeerSpec struct {
	From         string        `json:"from" enum:"controllers,hosts,port" doc:"Who talks to the peer: the controllers, hosts, or the gateway beside a port."`
	Hosts        []Ref         `json:"hosts,omitempty" maxItems:"1000" doc:"For from hosts: these; all when absent."`
	Port         Ref           `json:"port,omitzero" doc:"For from port: the workload's port."`
	Address      netip.Addr    `json:"address,omitzero" doc:"Address of the peer. For from port absent: the port's own."`
	ListenPort   int           `json:"listenPort,omitempty" minimum:"1" maximum:"65535" default:"179" doc:"TCP port of the peer."`
	PeerAS       uint32        `json:"peerAS" minimum:"1" doc:"AS number of the peer."`
	LocalAS      uint32        `json:"localAS" minimum:"1" doc:"AS number that Weft has there."`
	LocalAddress netip.Addr    `json:"localAddress,omitzero" doc:"Source address; chosen by the route when absent."`
	Families     []string      `json:"families,omitempty" enum:"ipv4-unicast,ipv6-unicast,ipv4-vpn,ipv6-vpn,evpn,route-target" doc:"What is exchanged; the unicast family of the address when absent."`
	Networks     []Ref         `json:"networks,omitempty" doc:"Networks whose routes are exchanged with a unicast peer."`
	HoldTime     int           `json:"holdTimeSeconds,omitempty" minimum:"3" maximum:"65535" default:"90" doc:"Seconds without a message until the session ends."`
	Multihop     int           `json:"multihopTTL,omitempty" minimum:"1" maximum:"255" default:"1" doc:"TTL of packets to the peer."`
	Secret       string        `json:"secret,omitempty" doc:"Name of the secret with the session's password, as the speakers know it; never the password."`
	HealthCheck  Ref           `json:"healthCheck,omitzero" doc:"health-check (BFD) that ends the session when it fails."`
	Import       *BGPFilter    `json:"import,omitempty" doc:"What is taken from the peer; everything when absent."`
	Export       *BGPFilter    `json:"export,omitempty" doc:"What is told to the peer; everything when absent."`
	Restart      *RestartTimes `json:"restart,omitempty" doc:"Graceful restart; none when absent."`
	AllowOwnAS   int           `json:"allowOwnAS,omitempty" minimum:"0" maximum:"10" doc:"How often the local AS may be in a path that is taken."`
	ASOverride   bool          `json:"asOverride,omitempty" doc:"Replace the peer's AS in paths by the local one."`
	Passive      bool          `json:"passive,omitempty" doc:"Wait for the peer to connect."`
	AdminState   AdminState    `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: the session is closed."`
}

// BGPFilter bounds and marks what is exchanged.
type BGPFilter struct {
	Prefixes    []netip.Prefix `json:"prefixes,omitempty" maxItems:"1000" doc:"Only routes inside these; all when absent."`
	DefaultOnly bool           `json:"defaultOnly,omitempty" doc:"Only default routes."`
	Aggregate   []netip.Prefix `json:"aggregate,omitempty" doc:"Ranges that stand for the routes inside them, but for routes of moved workloads."`
	MaxPrefixes int            `json:"maxPrefixes,omitempty" minimum:"1" doc:"End the session beyond this many routes."`
	Communities []string       `json:"communities,omitempty" doc:"Communities the routes get."`
	Preference  int            `json:"preference,omitempty" minimum:"0" doc:"LOCAL_PREF of routes taken, or MED of routes told."`
}

// RestartTimes keep routes while the peer restarts (RFC 4724, RFC 9494).
type RestartTimes struct {
	Seconds          int `json:"seconds,omitempty" minimum:"1" maximum:"4095" default:"120" doc:"Seconds until the session must be back."`
	LongLivedSeconds int `json:"longLivedSeconds,omitempty" minimum:"1" maximum:"16777215" doc:"Seconds that routes are kept, less preferred, after that; none when absent."`
}

func (b *BGPPeer) Refs() []FieldRef {
	refs := append(refList("spec.hosts", KindHost, b.Spec.Hosts, ""), refList("spec.networks", KindNetwork, b.Spec.Networks, VerbRoute)...)
	return append(refs,
		FieldRef{"spec.port", KindPort, &b.Spec.Port, VerbEdit},
		FieldRef{"spec.healthCheck", KindHealthCheck, &b.Spec.HealthCheck, VerbSee})
}

func (b *BGPPeer) Validate() Problems {
	p := checkFields(b.Spec)
	distinct(&p, "spec.hosts", b.Spec.Hosts)
	distinct(&p, "spec.networks", b.Spec.Networks)
	if (b.Spec.From == "port") != !b.Spec.Port.IsZero() {
		p.Addf("spec.port", "is for from port, and required there")
	}
	if len(b.Spec.Hosts) > 0 && b.Spec.From != "hosts" {
		p.Addf("spec.hosts", "are for from hosts")
	}
	if !b.Spec.Address.IsValid() && b.Spec.From != "port" {
		p.Addf("spec.address", "is required unless the peer is a port's workload")
	}
	if l := b.Spec.LocalAddress; l.IsValid() && b.Spec.Address.IsValid() && l.Is4() != b.Spec.Address.Is4() {
		p.Addf("spec.localAddress", "%v is not of the family of %v", l, b.Spec.Address)
	}
	return p
}

func (b *BGPPeer) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.from", old.(*BGPPeer).Spec.From, b.Spec.From)
	return p
}

func (b *BGPPeer) StatusBody() any { return &b.Status }
