// SPDX-License-Identifier: Apache-2.0

package vrouter

import "net/netip"

// blockPorts is how many ports of a shared address are one host's at least.
const blockPorts = 64

// sourceNATTries is at how many ports a conversation looks for a free one.
const sourceNATTries = 32

// SharedAddress is an address with which the workloads of another VRF go out from
// several hosts. It is known by a number, as a mapping is.
type SharedAddress struct {
	VRF      uint32 // external: that it is of
	External netip.Addr
	Ports    []PortRange // that this host begins conversations with, in order
}

// PortRange is ports of a shared address, both ends included.
type PortRange struct{ First, Last uint16 }

// PortBlock names a block of the ports of a shared address.
type PortBlock struct {
	Shared uint64
	Block  uint16 // port / 64
}

// ShareKey names whose workloads go out.
type ShareKey struct {
	VRF uint32
	Six bool
}

// TranslationKey is a conversation as those outside see it.
type TranslationKey struct {
	VRF              uint32 // external
	Protocol         byte
	External, Remote netip.AddrPort
}

// Translation is whose it is.
type Translation struct {
	Ifindex  int
	Port     uint32 // its id
	Internal netip.AddrPort
}
