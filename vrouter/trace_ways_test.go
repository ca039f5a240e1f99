// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"slices"
	"testing"
)

// probe is a packet of UDP between two addresses, as it comes to a hook.
func probe(from, to netip.Addr, destination, source MAC) []byte {
	s := ipSpec{source: from, destination: to, protocol: 17, hops: 64, payload: []byte{0x9c, 0x40, 0, 80, 0, 28, 0, 0, 20: 7, 27: 0}}
	return ethernetFrame(destination, source, s.ethertype(), s.build())
}

// What a host sends to a workload that it sees is delivered, and policy is not
// asked; its answer passes as one to the host only if the trace says so, for it
// finds no connection that does.
func TestTraceFromAndToTheHost(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	o := tenants()
	o.Config.HostDevice, o.Config.HostMAC = testHostDevice, MAC{2, 'w'}
	o.NextHops[20] = NextHop{Kind: NextHopFabric}
	policed := o.Ports[1]
	policed.Policed = true // and there are no rules, so that whatever asks is refused
	o.Ports[1] = policed
	for _, six := range []bool{false, true} {
		o.Routes[RouteKey{1, host(testLocal(six))}] = Route{NextHop: 20, MAC: GatewayMAC}
		o.Routes[RouteKey{UnderlayVRF, host(poolAddress(six, 2))}] = Route{NextHop: 1, MAC: portMAC(1)}
	}
	install(t, d, o)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	for _, six := range []bool{false, true} {
		own, workload := testLocal(six), poolAddress(six, 2)
		got, err := tracer.FollowFromHost(testHostDevice, probe(own, workload, GatewayMAC, o.Config.HostMAC))
		check(t, err)
		if got.Verdict != "delivered" || got.Redirect != 1 || !slices.Equal(got.Stages, []string{"parse", "enter", "deliver"}) || got.Route == nil || len(got.Policy) != 0 {
			t.Errorf("from the host: %+v", got)
		}
		if got, err = tracer.FollowFromHost(testHostDevice, probe(own, poolAddress(six, 3), GatewayMAC, o.Config.HostMAC)); err != nil || got.Reason != "unknown-alias" {
			t.Errorf("to a workload that the host does not see: %+v %v", got, err)
		}
		for _, c := range []struct {
			answers, host   bool
			verdict, reason string
		}{
			{true, true, "hosted", ""}, {true, false, "dropped", "policy-absent"}, {false, false, "dropped", "policy-absent"},
		} {
			tracer.Answers, tracer.AnswersHost = c.answers, c.host
			got, err := tracer.FollowFromPort(1, probe(workload, own, GatewayMAC, portMAC(1)))
			check(t, err)
			if got.Verdict != c.verdict || got.Reason != c.reason {
				t.Errorf("to the host, an answer %v, to it %v: %+v", c.answers, c.host, got)
			}
		}
		tracer.Answers, tracer.AnswersHost = false, false
	}
}

// What answers from a virtual address, to a client that nobody knows of a conversation
// with, is asked about as from that address: which member answers is not known.
func TestTraceOfAnswersFromVirtualAddresses(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	o := tenants()
	o.NextHops[20] = NextHop{Kind: NextHopBalancer, VNI: 1}
	client := o.Ports[1]
	client.Policed = true
	o.Ports[1], o.PortPolicies = client, map[int]PortPolicy{1: {}} // all may pass
	for _, six := range []bool{false, true} {
		o.Routes[RouteKey{1, host(poolAddress(six, 50))}] = Route{NextHop: 20, MAC: GatewayMAC, Proxied: true}
	}
	install(t, d, o)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	tracer.Answers = true
	for _, six := range []bool{false, true} {
		got, err := tracer.FollowFromTunnel(testTunnelDevice, &TunnelKey{VNI: 1001, Remote: netip.MustParseAddr("192.0.2.11")}, probe(poolAddress(six, 50), poolAddress(six, 2), portMAC(1), MAC{2, 9}))
		check(t, err)
		if got.Verdict != "delivered" || got.Redirect != 1 {
			t.Errorf("an answer from a virtual address: %+v", got)
		}
	}
}

// What leaves by MPLS over UDP is traced through the label path, and its frame,
// with the outer headers, on the host that it comes to.
func TestTraceByMPLSOverUDP(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	for _, over := range []bool{false, true} {
		sender, receiver := labelledTenants(over)
		for _, six := range []bool{false, true} {
			install(t, d, sender)
			left, err := tracer.FollowFromPort(1, probe(poolAddress(six, 2), poolAddress(six, 4), MAC{2, 1, 0, 0, 0, 1}, portMAC(1)))
			check(t, err)
			if left.Verdict != "tunnelled" || left.Tunnel == nil || left.Tunnel.Encapsulation != EncapsulationMPLSUDP {
				t.Fatalf("sent: %+v", left)
			}
			outer, err := tracer.FollowToUnderlay(testLabelFar, left.Frame)
			check(t, err)
			if outer.Verdict != "tunnelled" || outer.Redirect != testUnderlayDevice || !slices.Equal(outer.Stages, []string{"label"}) {
				t.Fatalf("in the label path: %+v", outer)
			}
			if got, err := tracer.FollowFromUnderlay(testUnderlayDevice, outer.Frame); err != nil || got.Verdict != "passed" {
				t.Errorf("at the host that sent it: %+v %v", got, err)
			}
			install(t, d, receiver)
			got, err := tracer.FollowFromUnderlay(testUnderlayDevice, outer.Frame)
			check(t, err)
			if got.Verdict != "delivered" || got.Redirect != 2 || !slices.Equal(got.Stages, []string{"unlabel", "parse", "route", "deliver"}) {
				t.Errorf("received: %+v", got)
			}
		}
	}
}

// labelledTenants are two hosts, of which one has address 2 of the pool in the
// first tenant's network, and the other address 4.
func labelledTenants(over6 bool) (sender, receiver *Oracle) {
	remote := map[bool]netip.Addr{false: netip.MustParseAddr("192.0.2.11"), true: netip.MustParseAddr("2001:db8:1::11")}[over6]
	sender, receiver = tenants(), tenants()
	for _, o := range []*Oracle{sender, receiver} {
		o.Config.LabelDevice = testLabelDevice
		o.VNIs[1001] = VNI{VRF: 1, CheckSources: true, Label: true}
		o.TunnelSources[TunnelSource{1001, testLocal(over6)}] = struct{}{}
	}
	sender.NextHops[11] = NextHop{Kind: NextHopTunnel, VNI: 1001, Remote: remote, Local: testLocal(over6), Encapsulation: EncapsulationMPLSUDP, Ifindex: testUnderlayDevice}
	receiver.TunnelAddresses = map[netip.Addr]struct{}{remote: {}}
	for _, six := range []bool{false, true} {
		receiver.Routes[RouteKey{1, host(poolAddress(six, 4))}] = Route{NextHop: 2, MAC: portMAC(2)}
	}
	return sender, receiver
}
