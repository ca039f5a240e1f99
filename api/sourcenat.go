// SPDX-License-Identifier: Apache-2.0

package api

import "strconv"

// The kinds of source NAT.
const (
	KindSourceNAT Kind = "source-nat"
	KindPortBlock Kind = "port-block"
)

var sourceNATKinds = []Info{
	{KindSourceNAT, "source-nats", "snat", KindProject, "Addresses of other networks with which a network's workloads go out, from all hosts.", func() Object { return &SourceNAT{} }},
	{KindPortBlock, "port-blocks", "pb", KindAddress, "Ports of a shared address that one host uses.", func() Object { return &PortBlock{} }},
}

// SourceNAT lets the workloads of a network begin conversations with networks
// that know nothing of theirs: they go out with an address of that network.
type SourceNAT struct {
	Header
	Spec   SourceNATSpec `json:"spec"`
	Status Reported      `json:"status,omitzero"`
}

// SourceNATSpec says who goes out with what.
type SourceNATSpec struct {
	Network   Ref   `json:"network" doc:"Network whose workloads go out so, to where it has no route itself and the network of an address has one; fixed."`
	Addresses []Ref `json:"addresses" maxItems:"16" doc:"Addresses of other networks, free of any port, that hosts share by ports."`
}

func (s *SourceNAT) Refs() []FieldRef {
	return append(refList("spec.addresses", KindAddress, s.Spec.Addresses, VerbAttach),
		FieldRef{"spec.network", KindNetwork, &s.Spec.Network, VerbRoute})
}

// Claims holds the use of the addresses.
func (s *SourceNAT) Claims() []Claim { return addressUses("spec.addresses", s.Spec.Addresses) }

func (s *SourceNAT) Validate() Problems {
	p := checkFields(s.Spec)
	distinct(&p, "spec.addresses", s.Spec.Addresses)
	return p
}

func (s *SourceNAT) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.network", old.(*SourceNAT).Spec.Network, s.Spec.Network)
	return p
}

func (s *SourceNAT) StatusBody() any { return &s.Status }

const (
	// BlockPorts is how many ports are given to a host at once at least.
	BlockPorts = 64
	// FirstBlockPort is the first port of a shared address that is given to any.
	FirstBlockPort = 1024
	// MaxBlocks is how many blocks one port-block is of at most.
	MaxBlocks = 16
)

// PortBlock gives ports of a shared address to a host. Control makes and
// deletes them; the store sees to it that no port is given to two.
type PortBlock struct {
	Header
	Spec   PortBlockSpec `json:"spec"`
	Status Reported      `json:"status,omitzero"`
}

// PortBlockSpec says which ports are whose.
type PortBlockSpec struct {
	Host  Ref       `json:"host" doc:"Host that uses them; fixed."`
	Ports PortRange `json:"ports" doc:"The ports, from 1024 on: 1 to 16 blocks of 64, the first a multiple of 64; fixed."`
	// Releasing comes before the deletion: the host begins conversations until it knows.
	Releasing bool `json:"releasing,omitempty" doc:"The host is to begin nothing there any more; it is deleted once the host has acknowledged that."`
}

// Blocks are the numbers of the first block, and of the one after the last.
func (b *PortBlock) Blocks() (from, to int) {
	return b.Spec.Ports.From / BlockPorts, (b.Spec.Ports.Last() + 1) / BlockPorts
}

func (b *PortBlock) Refs() []FieldRef {
	return []FieldRef{{"spec.host", KindHost, &b.Spec.Host, ""}}
}

// Claims holds each block of the address.
func (b *PortBlock) Claims() []Claim {
	var claims []Claim
	from, to := b.Blocks()
	for n := from; n < min(to, from+MaxBlocks); n++ {
		ports := PortRange{From: n * BlockPorts, To: (n+1)*BlockPorts - 1}
		claims = append(claims, Claim{"port-block/" + b.Meta.Parent.UUID + "/" + strconv.Itoa(n), "spec.ports", "ports " + ports.String() + " of address " + b.Meta.Parent.String()})
	}
	return claims
}

func (b *PortBlock) Validate() Problems {
	p := checkFields(b.Spec)
	r := b.Spec.Ports
	from, to := b.Blocks()
	switch {
	case r.From == 0: // is missing, or said already
	case r.From < FirstBlockPort || r.From%BlockPorts != 0 || (r.Last()+1)%BlockPorts != 0:
		p.Addf("spec.ports", "%v are not whole blocks of %d ports from %d on, e.g. 1024-2047", r, BlockPorts, FirstBlockPort)
	case to-from > MaxBlocks:
		p.Addf("spec.ports", "%v are %d blocks of %d ports, more than %d", r, to-from, BlockPorts, MaxBlocks)
	}
	return p
}

func (b *PortBlock) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*PortBlock).Spec
	immutable(&p, "spec.host", was.Host, b.Spec.Host)
	immutable(&p, "spec.ports", was.Ports, b.Spec.Ports)
	return p
}

func (b *PortBlock) StatusBody() any { return &b.Status }
