// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"slices"
	"testing"

	"github.com/weft-network/weft/vrouter/rules"
)

// groupsAreAskedAgain: of what has passed a stateless port only the security-groups are asked
// about each packet, in the direction of that packet, and the other layers only once.
func groupsAreAskedAgain(t *testing.T, d *Datapath, r *Tracer) {
	for ifindex := 1; ifindex <= 2; ifindex++ {
		decides(t, d, ifindex, rules.Egress, rules.NetworkPolicy, rules.Rule{Number: uint32(30 + ifindex), Action: rules.Pass})
		decides(t, d, ifindex, rules.Egress, rules.Firewall, rules.Rule{Number: uint32(40 + ifindex), Action: rules.Pass})
		decides(t, d, ifindex, rules.Ingress, rules.NetworkPolicy, rules.Rule{Number: uint32(50 + ifindex), Action: rules.Pass})
		decides(t, d, ifindex, rules.Ingress, rules.Firewall, rules.Rule{Number: uint32(60 + ifindex), Action: rules.Pass})
		policy, _, err := d.PortPolicies.Get(ifindex)
		check(t, err)
		policy.Stateless = true
		check(t, d.PortPolicies.Put(ifindex, policy))
		port, _, err := d.Ports.Get(ifindex)
		check(t, err)
		port.Stateless = true
		check(t, d.Ports.Put(ifindex, port))
	}
	for _, c := range conversations() {
		forgetConnections(t, d)
		for n, step := range []struct {
			back  bool
			asked []uint32 // between two ports of this host
			own   []uint32 // of a conversation with another host
		}{
			{false, []uint32{31, 11, 41, 52, 22, 62}, []uint32{31, 11, 41}},
			{false, []uint32{11, 22}, []uint32{11}},
			{true, []uint32{21, 12}, []uint32{12}},
			{true, []uint32{21, 12}, []uint32{12}},
			{false, []uint32{11, 22}, []uint32{11}},
		} {
			s, want := c.there(), step.asked
			if step.back {
				s = c.back()
			}
			if c.tunnel {
				want = step.own
			}
			var asked []uint32
			for _, a := range r.follow(t, s).Policy {
				asked = append(asked, a.Rule)
			}
			if !slices.Equal(asked, want) {
				t.Errorf("%v, packet %d: rules %v are asked, want %v", c, n, asked, want)
			}
		}
	}
}

// typesAreAsked: of ICMP that belongs to no conversation rules are asked by type and code.
func typesAreAsked(t *testing.T, d *Datapath, r *Tracer) {
	for _, six := range []bool{false, true} {
		protocol, passes := byte(1), uint8(13)
		if six {
			protocol, passes = 58, 127
		}
		code := uint8(2)
		rule := rules.Rule{Number: 71, Action: rules.Pass, Services: []rules.Service{{Family: map[bool]uint8{false: 4, true: 6}[six], Protocol: protocol, ICMPType: &passes, ICMPCode: &code}}}
		decides(t, d, 1, rules.Egress, rules.SecurityGroup, rule)
		decides(t, d, 2, rules.Ingress, rules.SecurityGroup, rule)
		for _, c := range []struct{ kind, code byte }{{passes, 2}, {passes, 0}, {passes, 1}, {passes, 3}, {passes, 4}, {passes + 1, 2}, {passes - 1, 2}, {passes * 2, 2}, {passes / 2, 2}, {2, passes}} {
			s := ipSpec{source: poolAddress(six, 2), destination: poolAddress(six, 3), protocol: protocol, hops: 64}
			if s.payload = icmp4(c.kind, c.code, make([]byte, 20)); six {
				s.payload = icmp6(s.source, s.destination, c.kind, c.code, make([]byte, 20))
			}
			got, err := r.FromPort(1, ethernetFrame(GatewayMAC, portMAC(1), s.ethertype(), s.build()))
			check(t, err)
			if want := c.kind == passes && c.code == code; (got.Verdict == "delivered") != want {
				t.Errorf("IPv6 %t, type %d code %d is %s %s, want it passed: %t", six, c.kind, c.code, got.Verdict, got.Reason, want)
			}
		}
	}
}
