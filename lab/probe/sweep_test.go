// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
)

// pair makes two namespaces with a link; the other routes, and refuses to in
// several ways.
func pair(t *testing.T) (asker, other string) {
	t.Helper()
	asker, other = fmt.Sprintf("weft-sweep%d-a", os.Getpid()), fmt.Sprintf("weft-sweep%d-b", os.Getpid())
	for _, ns := range []string{asker, other} {
		if err := namespace.Create(ns); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := namespace.Delete(ns); err != nil {
				t.Error(err)
			}
		})
	}
	if err := namespace.Veth(
		namespace.End{Namespace: asker, Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")}},
		namespace.End{Namespace: other, Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")}}, 1500); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{asker, "ip", "route", "add", "10.1.0.0/16", "via", "10.0.0.2"},
		{asker, "ip", "-6", "route", "add", "fd01::/32", "via", "fd00::2"},
		{other, "ip", "route", "add", "prohibit", "10.1.1.0/24"},
		{other, "ip", "route", "add", "unreachable", "10.1.2.0/24"},
		{other, "ip", "route", "add", "blackhole", "10.1.3.0/24"},
		{other, "ip", "-6", "route", "add", "prohibit", "fd01:0:1::/48"},
		{other, "ip", "-6", "route", "add", "blackhole", "fd01:0:3::/48"},
		{other, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000"},
	} {
		if out, err := namespace.Run(argv[0], argv[1:]...); err != nil {
			t.Fatal(out, err)
		}
	}
	return asker, other
}

// A sweep tells an open port from a closed one, from one that a router
// prohibits or knows no way to, and from silence; and finds thousands in seconds.
func TestSweep(t *testing.T) {
	asker, other := pair(t)
	r, err := Answering(other, "other", 80, 443)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	// An interface of IPv6 needs a moment after it is up.
	for until := time.Now().Add(10 * time.Second); ; {
		found, err := Sweep(asker, []Attempt{{To: netip.MustParseAddr("fd00::2"), Protocol: ProtocolTCP, Port: 80}}, time.Second)
		if err != nil || time.Now().After(until) {
			t.Fatal(found, err)
		}
		if found[0].Finding == Connected {
			break
		}
	}
	var attempts []Attempt
	var want []Found
	add := func(to string, protocol int, port uint16, f Finding, who string) {
		attempts = append(attempts, Attempt{To: netip.MustParseAddr(to), Protocol: protocol, Port: port})
		want = append(want, Found{Finding: f, Who: who})
	}
	for round := range 100 {
		for _, a := range []string{"10.0.0.2", "fd00::2"} {
			for _, protocol := range []int{ProtocolTCP, ProtocolUDP} {
				add(a, protocol, 80, Connected, "other")
				add(a, protocol, 81, Refused, "")
			}
		}
		for _, a := range []string{"10.1.3.1", "fd01:0:3::1"} {
			add(a, ProtocolTCP, 80, Silent, "")
			add(a, ProtocolUDP, 80, Silent, "")
		}
		add("192.168.1.1", ProtocolUDP, 80, Unreachable, "") // the asker has no route
		add("10.0.0.2", ProtocolICMP, EchoRequest4, Connected, "")
		add("10.0.0.2", ProtocolICMP, TimestampRequest, Connected, "")
		add("fd00::2", ProtocolICMPv6, EchoRequest6, Connected, "")
		add("10.1.3.1", ProtocolICMP, EchoRequest4, Silent, "")
		if round > 0 {
			continue // a host sends five errors at once to another, and then one a second
		}
		for _, a := range []string{"10.1.1.1", "fd01:0:1::1"} {
			add(a, ProtocolTCP, 80, Prohibited, "")
			add(a, ProtocolUDP, 80, Prohibited, "")
		}
		add("10.1.1.1", ProtocolICMP, EchoRequest4, Prohibited, "")
		add("fd01:0:1::1", ProtocolICMPv6, EchoRequest6, Prohibited, "")
		add("10.1.2.1", ProtocolTCP, 80, Unreachable, "")
	}
	began := time.Now()
	found, err := Sweep(asker, attempts, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d attempts in %v", len(attempts), time.Since(began))
	wrong := 0
	for i, f := range found {
		if f.Finding != want[i].Finding || f.Who != want[i].Who {
			if wrong++; wrong <= 20 {
				t.Errorf("%v: %v, want %v", attempts[i], f, want[i])
			}
		}
	}
}
