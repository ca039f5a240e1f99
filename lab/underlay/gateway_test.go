// SPDX-License-Identifier: Apache-2.0

package underlay

import (
	"bufio"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// Behind the gateway.
var behind = []netip.Prefix{netip.MustParsePrefix("10.8.0.1/16"), netip.MustParsePrefix("fd00:8::1/48")}

const (
	gatewayLabel = 1017
	networkLabel = 4711 // its VNI
)

// gateways in the underlay, by its family.
var gateways = map[topology.Family]netip.Prefix{
	topology.IPv4: netip.MustParsePrefix("192.0.2.200/24"), topology.IPv6: netip.MustParsePrefix("2001:db8::c8/64"),
}

// startGateway puts a gateway into the underlay that leads to each workload's host.
func (s *system) startGateway(t *testing.T, address netip.Prefix, hosts [2]netip.Addr) {
	t.Helper()
	ns := s.lab.Namespace("gw")
	must(t, namespace.Create(ns))
	must(t, namespace.Veth(namespace.End{Namespace: s.lab.Namespace("underlay"), Name: "gw", Bridge: topology.BridgeName},
		namespace.End{Namespace: ns, Name: topology.UplinkName, Addresses: []netip.Prefix{address}}, s.lab.UnderlayMTU))
	must(t, namespace.WaitUp(s.lab.Namespace("underlay"), "gw"))
	argv := []string{"-address", address.Addr().String(), "-label", fmt.Sprint(gatewayLabel)}
	for i := range 2 {
		for f := range w1 {
			argv = append(argv, "-route", fmt.Sprintf("%v=%v/%d", netip.PrefixFrom([][]netip.Addr{w1, w2}[i][f], w1[f].BitLen()), hosts[i], networkLabel))
		}
	}
	c := exec.Command(filepath.Join(binaries, "weft-gateway"), argv...)
	var said strings.Builder
	c.Stderr = &said
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, namespace.Start(ns, c))
	t.Cleanup(func() {
		_ = c.Process.Kill() // ended by this
		_ = c.Wait()
		if t.Failed() {
			t.Logf("the gateway said: %s", said.String())
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the gateway said %q: %v", line, err)
	}
	s.link(t, "gw", "vpn", func(h *netlink.Handle, l netlink.Link) error {
		for _, p := range behind {
			a, err := netlink.ParseAddr(p.String())
			if err != nil {
				return err
			}
			if err := h.AddrAdd(l, a); err != nil {
				return err
			}
		}
		if err := h.LinkSetUp(l); err != nil {
			return err
		}
		for _, to := range []string{"10.0.0.0/24", "fd00:a::/64"} {
			dst, err := netlink.ParseIPNet(to)
			if err != nil {
				return err
			}
			if err := h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst}); err != nil {
				return err
			}
		}
		return nil
	})
}

// A static route leads to a gateway that is no host of Weft, which answers with
// the network's label; others decode what passes. Nobody else may send so.
func TestGatewayOutside(t *testing.T) {
	for _, family := range []topology.Family{topology.IPv4, topology.IPv6} {
		t.Run(string(family), func(t *testing.T) {
			s := start(t, "g"+string(family)[3:], family, nil)
			var hosts [2]netip.Addr
			for i := range hosts {
				v4, v6 := topology.HostAddresses(i + 1)
				if hosts[i] = v4; family == topology.IPv6 {
					hosts[i] = v6
				}
			}
			gateway := gateways[family]
			s.startGateway(t, gateway, hosts)
			s.weft(t, "create", "domain", "edge")
			s.weft(t, "create", "project", "edge:wan")
			s.apply(t, fmt.Sprintf(`{kind: route-table, meta: {name: vpn, parent: "edge:wan"}, spec: {routes: [
  {prefix: 10.8.0.0/16, tunnel: {address: "%[1]v", label: %[2]d}}, {prefix: "fd00:8::/48", tunnel: {address: "%[1]v", label: %[2]d}}]}}`, gateway.Addr(), gatewayLabel))
			s.network(t, `{kind: network, meta: {name: blue, parent: "d:p"}, spec: {routeTables: ["edge:wan:vpn"]}}`)
			for _, w := range []string{"w1", "w2"} {
				for _, to := range behind {
					s.reaches(t, w, to.Addr())
				}
			}
			for i, to := range [][]netip.Addr{w1, w2} {
				for _, a := range to {
					s.reaches(t, "gw", a)
				}
				s.reaches(t, []string{"w2", "w1"}[i], to[0]) // between hosts as before
			}
			var packets []string
			packets = s.seen(t, "gw", topology.UplinkName, "udp port 6635", 4, func() {
				for _, to := range behind {
					s.reaches(t, "w1", to.Addr())
				}
			})
			labels := map[string]int{}
			for _, p := range packets {
				protocols, label, _ := strings.Cut(p, ";")
				if !strings.Contains(protocols, ":udp:mpls:ip") || !strings.Contains(protocols, "icmp") {
					t.Errorf("decoded as %s", p)
				}
				labels[label]++
			}
			if labels[fmt.Sprint(gatewayLabel)] != 2 || labels[fmt.Sprint(networkLabel)] != 2 {
				t.Errorf("labels %v, want two of each side", labels)
			}
			if routes := s.weft(t, "routes", "blue", "-p", "d:p"); !strings.Contains(routes, fmt.Sprintf("outside %v by mplsudp label %d", gateway.Addr(), gatewayLabel)) {
				t.Errorf("weft routes:\n%s", routes)
			}
			s.forged(t, hosts[0])
		})
	}
}

// forged sends what the gateway might, from a host that is none and has nothing
// in the network.
func (s *system) forged(t *testing.T, to netip.Addr) {
	t.Helper()
	before := strings.Count(s.weft(t, "drops", "--host", "h1"), "unknown-tunnel-source")
	c := exec.Command("bash", "-c", fmt.Sprintf(`printf '\x01\x26\x71\x40\x45\x00\x00\x1c' > /dev/udp/%v/6635`, to))
	must(t, namespace.Start(s.lab.Namespace("controller"), c))
	must(t, c.Wait())
	eventually(t, "a forged packet is counted", func() (bool, string) {
		drops := s.weft(t, "drops", "--host", "h1")
		return strings.Count(drops, "unknown-tunnel-source") > before, drops
	})
}
