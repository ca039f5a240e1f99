// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"testing"

	"github.com/weft-network/weft/vrouter/rules"
)

// A client whose conversation with a member elsewhere takes the shortcut, and that
// begins anew from the same port once that member is not chosen any more: a new
// conversation goes where new ones go, also if nothing else has changed.
func TestWhatBeginsAnewIsGivenAnotherMember(t *testing.T) {
	d := tablesForTest(t, conversationSizes())
	r := newRehearsal(t, d)
	eachFamily(t, func(b *balanced) {
		third := MAC{memberMAC, 0, 0, 0, 0, 3}
		const toThird = 6
		b.NextHops[toThird] = NextHop{Kind: NextHopTunnel, VNI: servicesVRF, Remote: netip.MustParseAddr("192.0.2.4")}
		b.PoolMembers[PoolMemberKey{b.key, third}] = PoolMember{NextHop: toThird, Internal: at(b.other, 8080), Chosen: true}
		b.choose(otherMember)
		install(t, d, b.Oracle)
		forgetConnections(t, d)
		send := func(flags byte) string {
			t.Helper()
			o, err := r.FromPort(clientPort, packet(portMAC(clientPort), GatewayMAC, 6, at(b.workload, 4000), at(b.virtual, 80), flags))
			check(t, err)
			if o.Verdict != "tunnelled" {
				t.Fatalf("it is %s %s", o.Verdict, o.Reason)
			}
			return o.Tunnel.Remote.String()
		}
		expect := func(flags byte, remote, what string) {
			t.Helper()
			if got := send(flags); got != remote {
				t.Errorf("%s goes to %s, want %s", what, got, remote)
			}
		}
		expect(synFlag, "192.0.2.2", "what is new")
		expect(ackFlag, "192.0.2.2", "what follows")
		b.choose(third)
		check(t, d.Choices.Put(1, b.Choices[1]))
		expect(ackFlag, "192.0.2.2", "what goes on while its member is drained")
		expect(resetFlag, "192.0.2.2", "its end")
		expect(synFlag, "192.0.2.4", "what begins anew")
		expect(ackFlag, "192.0.2.4", "what follows")
	})
}

// What a workload has passed on its way to another member says nothing about itself:
// of what it sends to itself nobody is asked, and then nothing counts as passed.
func TestHairpinForgetsWhatAnotherMemberPassed(t *testing.T) {
	d := tablesForTest(t, conversationSizes())
	r := newRehearsal(t, d)
	eachFamily(t, func(b *balanced) {
		port := b.Ports[memberPort]
		port.Policed = true
		b.Ports[memberPort] = port
		b.Routes[RouteKey{backendsVRF, host(b.virtual)}] = Route{NextHop: toBalancer, Routed: true, Proxied: true}
		everything := rules.Ruleset{Outside: rules.Pass, Identified: rules.Pass}
		b.Rulesets = map[uint32]rules.Ruleset{compiled(everything).ID: everything}
		var policy PortPolicy
		policy.Rulesets[rules.Egress][rules.SecurityGroup] = compiled(everything).ID
		b.PortPolicies = map[int]PortPolicy{memberPort: policy}
		b.choose(otherMember)
		install(t, d, b.Oracle)
		forgetConnections(t, d)
		send := func(flags byte, verdict string) (passed uint64) {
			b.Helper()
			frame := packet(portMAC(memberPort), GatewayMAC, 6, at(b.workload, 4000), at(b.virtual, 80), flags)
			o, err := r.FromPort(memberPort, frame)
			check(t, err)
			if o.Verdict != verdict {
				b.Fatalf("it is %s %s, want %s", o.Verdict, o.Reason, verdict)
			}
			key, err := connectionKeyToRaw(ConnectionKey{memberPort, 6, at(b.workload, 4000), at(b.virtual, 80)})
			check(t, err)
			var raw layoutConnectionValue
			for _, name := range connectionTables {
				if d.maps[name].Lookup(&key, &raw) == nil {
					return raw.Passed
				}
			}
			b.Fatal("the sender's end has no entry")
			return 0
		}
		if send(synFlag, "tunnelled") == 0 {
			t.Fatal("what policy has passed on its way to another member is not noted")
		}
		send(resetFlag, "tunnelled")
		b.choose(localMember)
		check(t, d.Choices.Put(1, b.Choices[1]))
		if passed := send(synFlag, "delivered"); passed != 0 {
			t.Errorf("what it sends to itself has passed %#x", passed)
		}
	})
}

// A conversation of a workload with itself takes no place, also where a reset that ended
// it turns out to have been none.
func TestHairpinTakesNoPlace(t *testing.T) {
	d := tablesForTest(t, conversationSizes())
	r := newRehearsal(t, d)
	eachFamily(t, func(b *balanced) {
		port := b.Ports[memberPort]
		port.Policed = true
		b.Ports[memberPort] = port
		b.PortPolicies = map[int]PortPolicy{memberPort: {ConnectionLimit: 3}}
		b.Places = map[Place]struct{}{}
		install(t, d, b.Oracle)
		forgetConnections(t, d)
		for i, flags := range []byte{synFlag, resetFlag, ackFlag, ackFlag} {
			frame := packet(portMAC(memberPort), GatewayMAC, 6, at(b.workload, 4000), at(b.virtual, 80), flags)
			o, err := r.FromPort(memberPort, frame)
			check(t, err)
			if o.Verdict != "delivered" {
				b.Fatalf("frame %d is %s %s", i, o.Verdict, o.Reason)
			}
			counted, err := d.Places()
			check(t, err)
			for owner, n := range counted {
				if n != 0 {
					b.Errorf("after frame %d, %+v has taken %d places", i, owner, n)
				}
			}
		}
	})
}
