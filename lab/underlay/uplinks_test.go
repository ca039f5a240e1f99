// SPDX-License-Identifier: Apache-2.0

package underlay

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// How long packets may be without a way, ten times the goal each: 0.25 s after one
// of several addresses is lost, and 1 s after one of several ways to one address is,
// or after something comes back.
const (
	addressLost = 2500 * time.Millisecond
	othersLeft  = 10 * time.Second
)

// sides are the two underlays that each host has an uplink to, besides the one
// to the controllers.
var sides = []string{"left", "right"}

// at is what a host has on its uplink of a side.
func at(host, side int, family topology.Family) netip.Prefix {
	if family == topology.IPv6 {
		return netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::%d/64", side+1, host+10))
	}
	return netip.MustParsePrefix(fmt.Sprintf("198.51.%d.%d/24", 100+side, host+10))
}

// startUplinks brings up a system whose hosts have an uplink on each side, with
// a tunnel address on each.
func startUplinks(t *testing.T, suffix string, family topology.Family) *system {
	t.Helper()
	return start(t, suffix, topology.Elsewhere, func(l *topology.Lab) {
		under := l.Namespace("underlay")
		var arguments [2][]string
		for side, name := range sides {
			must(t, namespace.Bridge(under, name, l.UnderlayMTU))
			for n := 1; n <= 2; n++ {
				host, a := topology.HostName(n), at(n, side, family)
				port := host + name
				must(t, namespace.Veth(namespace.End{Namespace: under, Name: port, Bridge: name},
					namespace.End{Namespace: l.Namespace(host), Name: name, GRO: true, Addresses: []netip.Prefix{a}}, l.UnderlayMTU))
				must(t, namespace.WaitUp(under, port))
				arguments[n-1] = append(arguments[n-1], "--tunnel-address", a.Addr().String())
			}
		}
		for n := range arguments {
			must(t, defaultRoute(l.Namespace(topology.HostName(n+1)), at(190, 1, family).Addr()))
			l.UseAgent(n+1, topology.AgentBuild{Arguments: arguments[n]})
		}
	})
}

// defaultRoute leads all else to a gateway, which nobody is: a host has such a
// route, and what should go by a dead uplink must not seem to be reached by it.
func defaultRoute(ns string, gateway netip.Addr) error {
	h, err := namespace.Netlink(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.LinkByName(sides[1])
	if err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gateway.AsSlice()})
}

// announced are the tunnel addresses that others send to.
func (s *system) announced(t *testing.T, host string) []string {
	t.Helper()
	c, err := s.lab.Client()
	must(t, err)
	defer c.Close()
	h, err := client.Get[*api.Host](t.Context(), c, api.ParseRef(host))
	must(t, err)
	var all []string
	for _, a := range h.Spec.TunnelAddresses {
		all = append(all, a.String())
	}
	return all
}

// remotes are where packets to the other host go, by the table of next hops.
func (s *system) remotes(t *testing.T, host string, family topology.Family) (all []string) {
	t.Helper()
	table := s.table(t, "next-hops", host)
	for n := 1; n <= 2; n++ {
		for side := range sides {
			if a := at(n, side, family).Addr().String(); host != topology.HostName(n) && slices.Contains(strings.Fields(table), a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// flows are pings between the workloads, of both families.
type flows []*probe.Running

func (s *system) flows(t *testing.T) (all flows) {
	t.Helper()
	for _, to := range w2 {
		p, err := probe.Ping{Namespace: s.lab.Namespace("w1"), To: to, Interval: 20 * time.Millisecond, Limit: upTimeout}.Start()
		must(t, err)
		t.Cleanup(func() { _, _ = p.Stop() }) // ends it; what it says was read
		all = append(all, p)
	}
	all.goOn(t, "nothing happened", time.Now(), othersLeft)
	return all
}

// goOn waits until each is answered again after what happened, logs how long each
// was not, and wants that not to be longer than this.
func (f flows) goOn(t *testing.T, what string, began time.Time, most time.Duration) {
	t.Helper()
	now := time.Now()
	for i, p := range f {
		ctx, cancel := context.WithDeadline(t.Context(), now.Add(othersLeft))
		_, err := p.WaitReply(ctx, func(r probe.Reply) bool { return r.At.After(now) })
		cancel()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var longest time.Duration
		last := began
		for _, r := range p.Replies() {
			if r.At.After(began) {
				longest, last = max(longest, r.At.Sub(last)), r.At
			}
		}
		t.Logf("%s: pings to %v were without an answer for %v", what, w2[i], longest)
		if longest > most {
			t.Errorf("%s: pings to %v were without an answer for %v, want at most %v", what, w2[i], longest, most)
		}
	}
}

// setByHand gives h1 encapsulations and an MTU that are not what it announces: they
// do not follow it any more.
func (s *system) setByHand(t *testing.T, encapsulations []string) {
	t.Helper()
	c, err := s.lab.Client()
	must(t, err)
	defer c.Close()
	spec := map[string]any{"encapsulations": encapsulations, "underlayMTU": 1500}
	_, err = client.Patch[*api.Host](t.Context(), c, api.ParseRef("h1"), map[string]any{"spec": spec})
	must(t, err)
}

// A host with two uplinks that loses one goes on by the other and is sent to
// there alone, until the first is back, also where other fields of it were set
// by hand.
func TestUplinkLost(t *testing.T) {
	for _, family := range []topology.Family{topology.IPv4, topology.IPv6} {
		for _, by := range []string{api.EncapsulationVXLAN, api.EncapsulationMPLSUDP} {
			t.Run(by+" over "+string(family), func(t *testing.T) {
				s := startUplinks(t, by[:1]+string(family)[3:], family)
				s.network(t, fmt.Sprintf(`{kind: network, meta: {name: blue, parent: "d:p"}, spec: {encapsulation: [%s]}}`, by))
				for i, to := range w2 {
					s.reaches(t, "w1", to)
					s.reaches(t, "w2", w1[i])
				}
				s.setByHand(t, slices.Compact([]string{by, api.EncapsulationVXLAN}))
				before := [2][]string{s.remotes(t, "h1", family), s.remotes(t, "h2", family)}
				t.Logf("h1 sends to %v, h2 to %v", before[0], before[1])
				f := s.flows(t)
				for side, name := range sides {
					s.lose(t, f, side, family)
					lost := at(1, side, family).Addr().String()
					began := time.Now()
					s.link(t, "underlay", "h1"+name, (*netlink.Handle).LinkSetUp)
					eventually(t, "an address that came back is announced", func() (bool, string) {
						now := s.announced(t, "h1")
						return slices.Contains(now, lost), fmt.Sprint(now)
					})
					eventually(t, "both hosts send as before", func() (bool, string) {
						now := [2][]string{s.remotes(t, "h1", family), s.remotes(t, "h2", family)}
						return slices.Equal(now[0], before[0]) && slices.Equal(now[1], before[1]), fmt.Sprint(now)
					})
					f.goOn(t, name+" is back", began, othersLeft)
				}
			})
		}
	}
}

// lose cuts h1's uplink of a side.
func (s *system) lose(t *testing.T, f flows, side int, family topology.Family) {
	t.Helper()
	name, lost, other := sides[side], at(1, side, family).Addr().String(), at(1, 1-side, family).Addr().String()
	began := time.Now()
	s.link(t, "underlay", "h1"+name, (*netlink.Handle).LinkSetDown)
	eventually(t, "a dead address is no longer announced", func() (bool, string) {
		now := s.announced(t, "h1")
		return slices.Equal(now, []string{other}), fmt.Sprint(now)
	})
	t.Logf("%s is lost: %s is not announced after %v", name, lost, time.Since(began))
	f.goOn(t, name+" is lost", began, addressLost)
	eventually(t, "neither host sends over the dead uplink", func() (bool, string) {
		to1, to2 := s.remotes(t, "h2", family), s.remotes(t, "h1", family)
		return !slices.Contains(to1, lost) && !slices.Contains(to2, at(2, side, family).Addr().String()), fmt.Sprint(to1, to2)
	})
}
