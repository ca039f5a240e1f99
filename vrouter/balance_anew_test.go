// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"testing"
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
