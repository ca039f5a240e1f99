// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/hostroute"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// site is two hosts and a physical machine on one segment, with workloads in
// the underlay.
type site struct {
	t       *testing.T
	hosts   [2]*machine
	machine string
	rows    [2]map[string]*hoststream.Row
}

// siteMTU is more than the host path has by itself.
const siteMTU = 2000

// segment gives the addresses of number n of it.
func segment(n int) [2]netip.Prefix {
	return [2]netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", n)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:ffff::%d/64", n))}
}

// newSite joins the three by a switch; agents run and have the rows.
func newSite(t *testing.T, change func(vrf *hoststream.Vrf)) *site {
	t.Helper()
	s := &site{t: t, machine: namespace(t, "machine")}
	bin, middle := binary(t), namespace(t, "switch")
	inside(t, middle, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br0"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		return netlink.LinkSetUp(&netlink.Bridge{LinkAttrs: attrs})
	})
	both := [2]netip.Prefix{}
	for i := range s.hosts {
		ns := namespace(t, fmt.Sprintf("h%d", i+1))
		connect(t, middle, ns, i+1)
		s.hosts[i] = &machine{t: t, ns: ns, binary: bin, dir: t.TempDir(), controller: newController(t, ns)}
		s.hosts[i].arguments = []string{"--tunnel-address", segment(i + 1)[1].Addr().String()}
		both[i] = segment(i + 1)[0]
		t.Cleanup(func() { _ = syscall.Unmount(s.hosts[i].dir+"/bpf", syscall.MNT_DETACH) }) // only still there after a failure
	}
	connect(t, middle, s.machine, 3)
	s.rows = network(100, both)
	for i, m := range s.hosts {
		for j := range s.hosts {
			e := s.rows[i][desired.EndpointRow(hostID(j))].GetTunnelEndpoint()
			e.Addresses = append(e.Addresses, segment(j + 1)[1].Addr().AsSlice())
		}
		change(s.rows[i][desired.VRFRow(100)].GetVrf())
		m.start(segment(i + 1)[0])
		m.agent.waitReady(t)
		s.set(i)
	}
	return s
}

func (s *site) set(i int) {
	s.hosts[i].controller.set(s.rows[i])
	s.hosts[i].controller.settled()
}

// connect joins a namespace to the switch as number n.
func connect(t *testing.T, middle, ns string, n int) {
	t.Helper()
	h, err := netns.GetFromName(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	inside(t, middle, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = fmt.Sprintf("s%d", n)
		attrs.MTU = siteMTU
		pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "u0", PeerNamespace: netlink.NsFd(int(h)), PeerMTU: siteMTU}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		bridge, err := netlink.LinkByName("br0")
		if err == nil {
			err = netlink.LinkSetMaster(pair, bridge)
		}
		if err == nil {
			err = netlink.LinkSetUp(pair)
		}
		return err
	})
	inside(t, ns, func() error {
		l, err := netlink.LinkByName("u0")
		if err != nil {
			return err
		}
		for _, p := range segment(n) {
			a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, Flags: unix.IFA_F_NODAD}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(l)
	})
}

// leads gives the machine, which stands for the fabric, its routes to a workload.
func (s *site) leads(n, host int) {
	s.t.Helper()
	inside(s.t, s.machine, func() error {
		for i, ip := range ips(n) {
			r := &netlink.Route{Dst: whole(ip), Gw: segment(host + 1)[i].Addr().AsSlice()}
			if err := netlink.RouteReplace(r); err != nil {
				return err
			}
		}
		return nil
	})
}

func whole(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}
}

// routes are those of ours in a namespace, sorted.
func routes(t *testing.T, ns string) (all []string) {
	t.Helper()
	inside(t, ns, func() error {
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			found, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: hostroute.Protocol}, netlink.RT_FILTER_PROTOCOL)
			if err != nil {
				return err
			}
			for _, r := range found {
				l, err := netlink.LinkByIndex(r.LinkIndex)
				if err != nil {
					return err
				}
				text := r.Dst.String() + " " + l.Attrs().Name
				if r.Gw != nil {
					text += " via " + r.Gw.String()
				}
				all = append(all, text)
			}
		}
		slices.Sort(all)
		return nil
	})
	return all
}

func (s *site) mustHave(host int, want ...string) {
	s.t.Helper()
	slices.Sort(want)
	eventually(s.t, func() error {
		if got := routes(s.t, s.hosts[host].ns); !slices.Equal(got, want) {
			return fmt.Errorf("routes of host %d are\n %s\nwant\n %s", host+1, strings.Join(got, "\n "), strings.Join(want, "\n "))
		}
		return nil
	})
}

// answers fails the test unless pings are answered in the end: neighbours are
// found on the way.
func answers(t *testing.T, ns, to string) {
	t.Helper()
	eventually(t, func() error {
		if out, err := ping(t, ns, to, "-c", "2", "-i", "0.05", "-W", "1"); err != nil {
			return fmt.Errorf("ping from %s to %s: %w\n%s", ns, to, err, out)
		}
		return nil
	})
}

// capture counts what passes an interface: packets of a tunnel, and of workloads as they are.
type capture struct{ tunnel, plain atomic.Int64 }

func watchUnderlay(t *testing.T, ns string) *capture {
	t.Helper()
	c := &capture{}
	var fd int
	inside(t, ns, func() (err error) {
		l, err := netlink.LinkByName("u0")
		if err != nil {
			return err
		}
		all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, int(all)); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Attrs().Index})
	})
	f := os.NewFile(uintptr(fd), "capture")
	t.Cleanup(func() { f.Close() })
	go func() {
		frame := make([]byte, 65536)
		for {
			n, err := f.Read(frame)
			if err != nil {
				return // closed by the test's end
			}
			c.count(frame[:n])
		}
	}()
	return c
}

func word(b []byte) int { return int(b[0])<<8 | int(b[1]) }

func (c *capture) count(frame []byte) {
	if len(frame) < 54 {
		return
	}
	udp, tunnelled := 0, false
	switch word(frame[12:]) {
	case 0x0800:
		if frame[23] == unix.IPPROTO_UDP {
			udp = 14 + int(frame[14]&15)*4
		}
		if frame[26] == 10 || frame[30] == 10 {
			c.plain.Add(1)
		}
	case 0x86dd:
		if frame[20] == unix.IPPROTO_UDP {
			udp = 54
		}
		if frame[22] == 0xfd || frame[38] == 0xfd {
			c.plain.Add(1)
		}
	}
	if udp != 0 && len(frame) >= udp+4 {
		tunnelled = word(frame[udp+2:]) == vxlanPort
	}
	if tunnelled {
		c.tunnel.Add(1)
	}
}

// Workloads of a network in the underlay, on two hosts, a physical machine and
// the hosts themselves reach each other without any tunnel; agents restart
// without loss; routes of others stay, and ours come back when lost, follow a
// workload that moves, and go in the end.
func TestFabric(t *testing.T) {
	s := newSite(t, func(v *hoststream.Vrf) { v.Fabric, v.HostVisible = true, true })
	before := [2][]string{links(t, s.hosts[0].ns), links(t, s.hosts[1].ns)}
	w := map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, fmt.Sprintf("w%d", n))
		if a := s.hosts[at].mustPlug(portID(100, n), w[n]); a.MTU != siteMTU {
			t.Errorf("MTU %d, want the underlay's %d", a.MTU, siteMTU)
		}
		s.leads(n, at)
	}
	s.mustHave(0, "10.0.0.10/32 weft0", "10.0.0.12/32 weft0", "10.0.0.11/32 u0 via 192.0.2.2",
		"fd00:a::10/128 weft0", "fd00:a::12/128 weft0", "fd00:a::11/128 u0 via 2001:db8:ffff::2")
	seen := watchUnderlay(t, s.machine)
	underlay := watchUnderlay(t, s.hosts[0].ns)
	for i := range 2 {
		to := func(n int) string { return ips(n)[i].String() }
		answers(t, w[10], to(11))
		answers(t, w[11], to(10))
		answers(t, w[10], to(12))
		answers(t, s.machine, to(10))
		answers(t, s.machine, to(11))
		answers(t, w[10], segment(3)[i].Addr().String())
		answers(t, s.hosts[0].ns, to(10))
		answers(t, s.hosts[0].ns, to(11))
		answers(t, w[10], segment(1)[i].Addr().String())
		answers(t, w[10], segment(2)[i].Addr().String())
	}
	if seen.plain.Load() == 0 || underlay.plain.Load() == 0 || underlay.tunnel.Load() != 0 {
		t.Errorf("%d packets at the machine, %d and %d in tunnels at the host", seen.plain.Load(), underlay.plain.Load(), underlay.tunnel.Load())
	}
	s.traces()
	s.carries(s.hosts[0].ns, w[10], 1900)
	s.restart(w)
	s.keepsRoutes()
	s.move(w)
	s.turn(w)
	for i, m := range s.hosts {
		m.agent.stop(t, syscall.SIGTERM)
		m.uninstall(slices.DeleteFunc(before[i], func(l string) bool { return strings.HasPrefix(l, "weft") }))
		if left := routes(t, m.ns); len(left) > 0 {
			t.Errorf("routes after uninstall: %v", left)
		}
	}
}

// carries sends large packets between workload 10, its host, and for more than
// a tunnel takes also the machine and another host's workload.
func (s *site) carries(host, workload string, payload int) {
	s.t.Helper()
	large := func(from, to string) {
		s.t.Helper()
		if out, err := ping(s.t, from, to, "-M", "do", "-s", fmt.Sprint(payload), "-c", "2", "-i", "0.05", "-W", "2"); err != nil {
			s.t.Errorf("large packets from %s to %s: %v\n%s", from, to, err, out)
		}
	}
	for i := range 2 {
		large(host, ips(10)[i].String())
		large(workload, segment(1)[i].Addr().String())
		large(workload, ips(11)[i].String())
		if payload > 1850 {
			large(s.machine, ips(10)[i].String())
		}
	}
}

// turn gives the network its tunnels back.
func (s *site) turn(w map[int]string) {
	s.t.Helper()
	for i := range s.rows {
		v := s.rows[i][desired.VRFRow(100)].GetVrf()
		v.Fabric, v.HostVisible = false, false
		delete(s.rows[i], desired.PortRow(portID(100, 11)))
		addWorkload(s.rows[i], 100, 11, 1, i)
		s.set(i)
		s.mustHave(i)
	}
	if err := netns.DeleteNamed(w[11]); err != nil {
		s.t.Fatal(err)
	}
	w[11] = namespace(s.t, "w11")
	s.hosts[1].mustPlug(portID(100, 11), w[11])
	for i := range 2 {
		answers(s.t, w[10], ips(11)[i].String())
		unreachable(s.t, s.machine, ips(10)[i].String())
		unreachable(s.t, s.hosts[0].ns, ips(10)[i].String())
	}
	eventually(s.t, func() error {
		if left, err := filepath.Glob(s.hosts[0].dir + "/bpf/links/fabric*"); err != nil || len(left) > 0 {
			return fmt.Errorf("the packet path is still on uplinks: %v %v", left, err)
		}
		return nil
	})
}

// restart restarts and kills both agents while packets of all kinds pass.
func (s *site) restart(w map[int]string) {
	s.t.Helper()
	across, outside, inward := pinging(s.t, w[10], ips(11)[0].String()), pinging(s.t, w[11], segment(3)[1].Addr().String()), pinging(s.t, s.hosts[0].ns, ips(10)[0].String())
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for i, m := range s.hosts {
			m.agent.stop(s.t, signal)
			m.start(segment(i + 1)[0])
			m.agent.waitReady(s.t)
			m.controller.settled()
		}
	}
	for _, r := range []*running{across, outside, inward} {
		r.lossless(s.t)
	}
}

// keepsRoutes: a route of somebody else's stays, one of ours comes back.
func (s *site) keepsRoutes() {
	s.t.Helper()
	foreign := &netlink.Route{Dst: whole(netip.MustParseAddr("10.0.0.99")), Gw: segment(3)[0].Addr().AsSlice(), Priority: hostroute.LocalMetric}
	inside(s.t, s.hosts[0].ns, func() error {
		if err := netlink.RouteAdd(foreign); err != nil {
			return err
		}
		ours, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: hostroute.Protocol}, netlink.RT_FILTER_PROTOCOL)
		for _, r := range ours {
			if err == nil {
				err = netlink.RouteDel(&r)
			}
		}
		return err
	})
	s.mustHave(0, "10.0.0.10/32 weft0", "10.0.0.12/32 weft0", "10.0.0.11/32 u0 via 192.0.2.2",
		"fd00:a::10/128 weft0", "fd00:a::12/128 weft0", "fd00:a::11/128 u0 via 2001:db8:ffff::2")
	inside(s.t, s.hosts[0].ns, func() error { return netlink.RouteDel(foreign) }) // fails if it is gone
}

// move brings workload 11 to the first host.
func (s *site) move(w map[int]string) {
	s.t.Helper()
	for i := range s.rows {
		delete(s.rows[i], desired.PortRow(portID(100, 11)))
		addWorkload(s.rows[i], 100, 11, 0, i)
		s.set(i)
	}
	if err := netns.DeleteNamed(w[11]); err != nil {
		s.t.Fatal(err)
	}
	w[11] = namespace(s.t, "w11") // its cleanup serves for both
	s.hosts[0].mustPlug(portID(100, 11), w[11])
	s.leads(11, 0)
	s.mustHave(0, "10.0.0.10/32 weft0", "10.0.0.11/32 weft0", "10.0.0.12/32 weft0", "fd00:a::10/128 weft0", "fd00:a::11/128 weft0", "fd00:a::12/128 weft0")
	for i := range 2 {
		answers(s.t, w[10], ips(11)[i].String())
		answers(s.t, s.machine, ips(11)[i].String())
		answers(s.t, s.hosts[1].ns, ips(11)[i].String())
	}
}

// The hosts see a network that is not in the underlay: they reach their own
// workloads and are reached, and nobody in the underlay does.
func TestVisibleNetwork(t *testing.T) {
	s := newSite(t, func(v *hoststream.Vrf) { v.HostVisible = true })
	w := map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, fmt.Sprintf("w%d", n))
		s.hosts[at].mustPlug(portID(100, n), w[n])
		s.leads(n, at)
	}
	s.mustHave(0, "10.0.0.10/32 weft0", "10.0.0.12/32 weft0", "fd00:a::10/128 weft0", "fd00:a::12/128 weft0")
	for i := range 2 {
		answers(t, s.hosts[0].ns, ips(10)[i].String())
		answers(t, w[10], segment(1)[i].Addr().String())
		answers(t, w[10], ips(11)[i].String())
		unreachable(t, s.machine, ips(10)[i].String())
		unreachable(t, w[10], segment(3)[i].Addr().String())
	}
	s.tracesHost()
	for i, other := range ips(11) { // on the other host, which alone sees it
		unreachable(t, s.hosts[0].ns, other.String())
		if items := s.hosts[0].traced(api.TraceQuestion{Host: true, To: other}); items[api.TraceVerdict] == "delivered" || items[api.TraceNextHost] != "" {
			t.Errorf("a packet of the host to another's workload: %v", items)
		}
		items := s.hosts[0].traced(api.TraceQuestion{Port: portID(100, 10), To: segment(3)[i].Addr()})
		if items[api.TraceVerdict] == "hosted" || items[api.TraceVerdict] == "routed" {
			t.Errorf("a packet to a machine that does not see the network: %v", items)
		}
	}
	s.carries(s.hosts[0].ns, w[10], 1800)
}
