// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-network/weft/vrouter/rules"
)

// identify says whose an address is in a VRF.
func (b *balanced) identify(vrf uint32, a netip.Addr, who rules.Identity) {
	key := RouteKey{vrf, host(a)}
	r := b.Routes[key]
	r.Identity = who
	b.Routes[key] = r
}

// passesOnly passes nobody but somebody to a port of TCP.
func passesOnly(who rules.Identity, port uint16) rules.Ruleset {
	return rules.Ruleset{Outside: rules.Deny, Identified: rules.Deny, Rules: []rules.Rule{{
		Number: 1, Action: rules.Pass, Remote: rules.Workloads, Identities: []rules.Identity{who},
		Services: []rules.Service{{Protocol: 6, Ports: &rules.Range{First: port, Last: port}}},
	}}}
}

// The sender is asked about the member, but by network-policies about the virtual
// address; the member about the client, who is known in the external network alone.
func TestOraclePolicyOfVirtualAddresses(t *testing.T) {
	const member, client, virtual = rules.Identity(1000), rules.Identity(2000), rules.Identity(3000)
	eachFamily(t, func(b *balanced) {
		for ifindex, port := range b.Ports {
			port.Policed = true
			b.Ports[ifindex] = port
		}
		for key, m := range b.PoolMembers {
			m.Identity = member
			b.PoolMembers[key] = m
		}
		b.identify(clientsVRF, b.virtual, virtual)
		b.identify(servicesVRF, b.workload, client)
		b.Rulesets = map[uint32]rules.Ruleset{1: passesOnly(virtual, 80), 2: passesOnly(member, 8080), 3: passesOnly(client, 8080), 4: passesOnly(member, 80)}
		ask := func(ifindex int, direction rules.Direction, layer rules.Layer, ruleset uint32) {
			p := b.PortPolicies[ifindex]
			p.Rulesets[direction][layer] = ruleset
			b.PortPolicies[ifindex] = p
		}
		b.PortPolicies = map[int]PortPolicy{}
		ask(clientPort, rules.Egress, rules.NetworkPolicy, 1)
		ask(clientPort, rules.Egress, rules.SecurityGroup, 2)
		ask(memberPort, rules.Ingress, rules.SecurityGroup, 3)
		b.want(b.fromClient(6, 4000, at(b.virtual, 80), synFlag), "delivered", memberPort, "")
		b.want(b.fromMember(6, at(b.workload, 8080), at(b.workload, 4000), synFlag|ackFlag), "delivered", clientPort, "")
		ask(clientPort, rules.Egress, rules.SecurityGroup, 4)
		b.want(b.fromClient(6, 4001, at(b.virtual, 80), synFlag), "dropped policy-denied", 0, "")
		ask(clientPort, rules.Egress, rules.SecurityGroup, 2)
		ask(memberPort, rules.Ingress, rules.SecurityGroup, 2)
		b.want(b.fromClient(6, 4001, at(b.virtual, 80), synFlag), "dropped policy-denied", 0, "")
		ask(memberPort, rules.Ingress, rules.SecurityGroup, 3)
		for key := range b.PoolMembers { // who was served by them is not any more
			delete(b.PoolMembers, key)
		}
		b.want(b.fromMember(6, at(b.workload, 8080), at(b.workload, 4000), ackFlag), "dropped no-member", 0, "")
	})
}

// Network-policies of a member's network see the virtual address, which is of another
// network; or where it is of that very network the client, and the listener's port.
func TestOracleNetworkPolicyOfMembers(t *testing.T) {
	const client, virtual = rules.Identity(2000), rules.Identity(3000)
	eachFamily(t, func(b *balanced) {
		b.identify(servicesVRF, b.virtual, virtual)
		b.identify(servicesVRF, b.workload, client)
		b.Rulesets = map[uint32]rules.Ruleset{1: passesOnly(virtual, 8080), 2: passesOnly(client, 8080), 3: passesOnly(client, 80), 4: passesOnly(virtual, 80), 5: {
			Outside: rules.Deny, Identified: rules.Deny, Rules: []rules.Rule{{Number: 1, Action: rules.Pass, Remote: rules.Addresses, Ranges: []netip.Prefix{host(b.virtual)}}},
		}}
		from := uint16(4000)
		passes := func(vrf uint32, want ...uint32) {
			t.Helper()
			member := b.Ports[memberPort]
			member.VRF, member.Policed = vrf, true
			b.Ports[memberPort] = member
			for ruleset := range uint32(5) {
				ruleset++
				var p PortPolicy
				p.Rulesets[rules.Ingress][rules.NetworkPolicy] = ruleset
				p.Rulesets[rules.Ingress][rules.SecurityGroup] = 2 // which are asked about the client in any case
				b.PortPolicies = map[int]PortPolicy{memberPort: {}}
				from++
				b.want(b.fromClient(6, from, at(b.virtual, 80), synFlag), "delivered", memberPort, "") // nothing is asked yet
				answer := func() Outcome { return b.fromMember(6, at(b.workload, 8080), at(b.workload, from), synFlag|ackFlag) }
				b.PortPolicies = map[int]PortPolicy{memberPort: p}
				verdict, to := "dropped policy-denied", 0
				if slices.Contains(want, ruleset) {
					verdict, to = "delivered", clientPort
				}
				b.want(answer(), verdict, to, "")
				from++
				if to != 0 {
					to = memberPort
				}
				b.want(b.fromClient(6, from, at(b.virtual, 80), synFlag), verdict, to, "")
			}
		}
		passes(backendsVRF, 1, 5)
		passes(servicesVRF, 3)
	})
}

// What a member's end rejects is answered in the network of the virtual address and
// as from it, whoever has the client's address in the member's own.
func TestOracleAnswersForMembers(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		port := b.Ports[memberPort]
		port.Policed = true
		b.Ports[memberPort] = port
		b.Rulesets = map[uint32]rules.Ruleset{1: {Outside: rules.Reject, Identified: rules.Reject}}
		var policy PortPolicy
		policy.Rulesets[rules.Ingress][rules.SecurityGroup] = 1
		b.PortPolicies = map[int]PortPolicy{memberPort: policy}
		const toStranger = 40
		b.NextHops[toStranger] = NextHop{Kind: NextHopTunnel, VNI: 4711, Remote: netip.MustParseAddr("192.0.2.66")}
		b.Routes[RouteKey{backendsVRF, host(b.other)}] = Route{NextHop: toStranger, MAC: MAC{2, 6}}
		key, client := &TunnelKey{VNI: servicesVRF}, at(b.other, 4000)
		prohibited := "ICMP 3/13"
		if client.Addr().Is6() {
			prohibited = "ICMP 1/1"
		}
		answered := func(in []byte, words string) {
			t.Helper()
			o := b.FromTunnel(9, key, in)
			b.want(o, "answered policy-rejected", 9, words)
			if o.Tunnel.VNI != clientsVRF || parse(o.Frame).ethDestination != (MAC{2, 9}) {
				t.Errorf("the answer goes in VNI %d to %v", o.Tunnel.VNI, parse(o.Frame).ethDestination)
			}
		}
		answered(packet(MAC{2, 9}, localMember, 6, client, at(b.virtual, 80), synFlag), fmt.Sprintf("%v > %v", at(b.virtual, 80), client))
		answered(packet(MAC{2, 9}, localMember, 17, client, at(b.virtual, 53), 0), fmt.Sprintf("%v > %v %s", b.virtual, b.other, prohibited))
		b.Muted = map[int]bool{memberPort: true}
		b.want(b.FromTunnel(9, key, packet(MAC{2, 9}, localMember, 6, client, at(b.virtual, 80), synFlag)), "dropped policy-rejected", 0, "")
		b.Muted = nil
		b.want(b.fromClient(6, 4000, at(b.virtual, 80), synFlag), "answered policy-rejected", clientPort, fmt.Sprintf("%v > %v", at(b.virtual, 80), at(b.workload, 4000)))
		delete(b.Routes, RouteKey{servicesVRF, host(b.other)}) // the client is not known any more
		b.want(b.FromTunnel(9, key, packet(MAC{2, 9}, localMember, 6, client, at(b.virtual, 80), synFlag)), "dropped policy-rejected", 0, "")
	})
}
