// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"net/netip"
)

// The protocols that attempts are made with, by IP's numbers.
const (
	ProtocolICMP   = 1
	ProtocolTCP    = 6
	ProtocolUDP    = 17
	ProtocolICMPv6 = 58
)

// Attempt is one try to begin a conversation.
type Attempt struct {
	From       netip.Addr // invalid lets the kernel choose
	To         netip.Addr
	Protocol   int
	Port       uint16 // destination port; of ICMP the type of the request
	SourcePort uint16 // 0 takes any; of ICMP the identifier
}

// String says it in words: "tcp/443 to 10.0.0.1".
func (a Attempt) String() string {
	name := map[int]string{ProtocolICMP: "icmp", ProtocolTCP: "tcp", ProtocolUDP: "udp", ProtocolICMPv6: "icmpv6"}[a.Protocol]
	text := fmt.Sprintf("%s/%d to %v", name, a.Port, a.To)
	if a.SourcePort != 0 {
		text += fmt.Sprintf(" from port %d", a.SourcePort)
	}
	return text
}

// Finding is what came of an attempt.
type Finding uint8

// The findings.
const (
	Silent      Finding = iota // nothing came back
	Connected                  // the other side answered
	Refused                    // TCP reset, or ICMP port unreachable
	Prohibited                 // ICMP destination unreachable, administratively prohibited
	Unreachable                // another ICMP error, or the sender's own kernel
)

func (f Finding) String() string {
	return [...]string{"silent", "connected", "refused", "prohibited", "unreachable"}[f]
}

// Found is a finding and what it was seen by.
type Found struct {
	Finding Finding
	Who     string // name of who answered; empty of ICMP, and of TCP that said nothing after its handshake
	Why     string // what the kernel said
}

func (f Found) String() string {
	text := f.Finding.String()
	if f.Who != "" {
		text += " with " + f.Who
	}
	if f.Why != "" {
		text += " (" + f.Why + ")"
	}
	return text
}
