// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// fabric is two hosts and a machine around a router that has a route to each
// workload. The workloads of network 5 are in the underlay.
type fabric struct {
	router, machine *namespace
	a, b            *fabricHost
	a1, a2, b1      *workload
	at              [2]netip.Addr // the machine
}

// fabricHost is a host with an uplink to the router and a host path.
type fabricHost struct {
	*testHost
	uplink, near, far int
	gateway           [2]netip.Addr
}

const fabricVRF = 5

func underlayPair(subnet, n byte) [2]netip.Addr {
	return [2]netip.Addr{netip.AddrFrom4([4]byte{192, 0, subnet, n}), netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xf0, subnet, 15: n})}
}

func sysctl(t testing.TB, n *namespace, path, value string) {
	t.Helper()
	// In the namespace's own /proc view: sysctls of a network namespace follow the thread.
	check(t, n.do(func() error {
		fd, err := unix.Open("/proc/thread-self/root/proc/sys/net/"+path, unix.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("open sysctl %s: %w", path, err)
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, []byte(value))
		return err
	}))
}

// link joins a namespace to the router: addresses n of the subnet here, 1 there.
func (f *fabric) link(t testing.TB, n *namespace, subnet byte, mtu int) (ifindex int) {
	t.Helper()
	ifindex = addVeth(t, n, "uplink", f.router, fmt.Sprintf("to-%d", subnet), MAC{2, 0xee, 0, 0, 0, subnet}, mtu)
	own, gateway := underlayPair(subnet, 2), underlayPair(subnet, 1)
	n.up(t, "uplink", own[0].String()+"/24", own[1].String()+"/64")
	n.up(t, "lo")
	f.router.up(t, fmt.Sprintf("to-%d", subnet), gateway[0].String()+"/24", gateway[1].String()+"/64")
	for _, g := range gateway {
		check(t, n.handle.RouteAdd(&netlink.Route{LinkIndex: ifindex, Gw: g.AsSlice()}))
	}
	return ifindex
}

func (f *fabric) host(t testing.TB, name string, subnet byte, attachment Attachment) *fabricHost {
	t.Helper()
	h := &fabricHost{testHost: newHostBy(t, name, subnet, attachment), gateway: underlayPair(subnet, 1)}
	h.underlay = underlayPair(subnet, 2)
	h.uplink = f.link(t, h.namespace, subnet, 1500)
	h.near = addVeth(t, h.namespace, "weft0", h.namespace, "weft-path", MAC{2, 0xdd, 0, 0, 0, subnet}, 1500)
	near, err := h.handle.LinkByName("weft0")
	check(t, err)
	far := h.up(t, "weft-path")
	h.far = far.Attrs().Index
	check(t, h.handle.LinkSetARPOff(near))
	check(t, h.do(func() error { return h.d.AttachHost(h.far) }))
	h.up(t, "weft0")
	sysctl(t, h.namespace, "ipv4/conf/weft0/forwarding", "1")
	sysctl(t, h.namespace, "ipv4/conf/weft0/rp_filter", "2")
	c := h.config()
	c.HostDevice, c.HostMAC = h.far, MAC(near.Attrs().HardwareAddr)
	check(t, h.d.SetConfig(c))
	check(t, h.do(func() error { return h.d.AttachUplink(h.uplink) }))
	return h
}

// workload plugs one in that is in the underlay.
func (f *fabric) workload(t testing.TB, h *fabricHost, name string, n byte) *workload {
	t.Helper()
	w := newWorkload(t, h.testHost, name, fabricVRF, n)
	w.gateways = [2]netip.Addr{} // set below, of another subnet than newWorkload's
	port := w.port()
	port.MTU = 1500
	port.Gateway4, port.Gateway6 = netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd01::1")
	check(t, h.d.Ports.Put(w.ifindex, port))
	out := h.nextHop(t, NextHop{Kind: NextHopFabric, Ifindex: h.uplink, MTU: 1500})
	self := h.nextHop(t, NextHop{Kind: NextHopFabric})
	hop := h.nextHop(t, NextHop{Kind: NextHopPort, Ifindex: w.ifindex})
	for i, address := range w.addresses {
		everything := netip.PrefixFrom(address, 0).Masked()
		check(t, h.d.Routes.Put(RouteKey{fabricVRF, everything}, Route{NextHop: out, MAC: GatewayMAC, Routed: true}))
		check(t, h.d.Routes.Put(RouteKey{fabricVRF, host(h.underlay[i])}, Route{NextHop: self, MAC: GatewayMAC, Routed: true}))
		check(t, h.d.Routes.Put(RouteKey{UnderlayVRF, host(address)}, Route{NextHop: hop, MAC: w.mac, Fabric: true}))
		check(t, f.router.handle.RouteAdd(&netlink.Route{Dst: ipNet(address), Gw: h.underlay[i].AsSlice()}))
		check(t, h.handle.RouteAdd(&netlink.Route{Dst: ipNet(address), LinkIndex: h.near, Scope: netlink.SCOPE_LINK, Src: h.underlay[i].AsSlice()}))
	}
	return w
}

// routedAt tells a host of a workload elsewhere in its own subnet.
func (w *workload) routedAt(t testing.TB, h *fabricHost) {
	t.Helper()
	out := h.nextHop(t, NextHop{Kind: NextHopFabric, Ifindex: h.uplink, MTU: 1500})
	for _, address := range w.addresses {
		check(t, h.d.Routes.Put(RouteKey{fabricVRF, host(address)}, Route{NextHop: out, MAC: GatewayMAC}))
	}
}

func ipNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func newFabric(t testing.TB, attachment Attachment) *fabric {
	t.Helper()
	f := &fabric{router: newNamespace(t, "R"), machine: newNamespace(t, "M"), at: underlayPair(9, 2)}
	f.router.up(t, "lo")
	sysctl(t, f.router, "ipv4/ip_forward", "1")
	sysctl(t, f.router, "ipv6/conf/all/forwarding", "1")
	f.link(t, f.machine, 9, 1500)
	f.a, f.b = f.host(t, "A", 1, attachment), f.host(t, "B", 2, attachment)
	f.a1, f.a2, f.b1 = f.workload(t, f.a, "a1", 2), f.workload(t, f.a, "a2", 3), f.workload(t, f.b, "b1", 4)
	f.b1.routedAt(t, f.a)
	f.a1.routedAt(t, f.b)
	f.a2.routedAt(t, f.b)
	for _, h := range []*fabricHost{f.a, f.b} { // IPv6 needs two seconds to find its first neighbour
		if out, err := in(f.machine).ping(t, h.underlay[1], "-c", "3", "-i", "0.1", "-W", "10"); err != nil {
			t.Fatalf("the machine does not reach host %s: %v\n%s", h.name, err, out)
		}
	}
	return f
}

// in is a workload's view of a namespace that is none.
func in(n *namespace) *workload { return &workload{namespace: n} }

// TestFabric lets workloads in the underlay, physical machines and hosts reach
// each other, with both ways to attach.
func TestFabric(t *testing.T) {
	for _, attachment := range []Attachment{AttachAuto, AttachClsact} {
		t.Run(string(attachment), func(t *testing.T) {
			f := newFabric(t, attachment)
			machine := in(f.machine)
			machine.at(t, f.at)
			for i := range 2 {
				f.a1.mustReach(t, f.b1.addresses[i])
				f.b1.mustReach(t, f.a1.addresses[i])
				f.a1.mustReach(t, f.a2.addresses[i])
				f.a1.mustReach(t, f.at[i])
				machine.mustReach(t, f.a1.addresses[i])
				machine.mustReach(t, f.b1.addresses[i])
				f.a1.mustReach(t, f.a.underlay[i])
				f.a1.mustReach(t, f.b.underlay[i])
				in(f.a.namespace).mustReach(t, f.a1.addresses[i])
				in(f.b.namespace).mustReach(t, f.a1.addresses[i])
				at := f.b1.serve(t, f.b1.addresses[i])
				check(t, f.a1.send(t, f.b1, at, 8<<20))
				check(t, machine.send(t, f.b1, at, 8<<20))
				at = machine.serve(t, f.at[i])
				check(t, f.b1.send(t, machine, at, 8<<20))
			}
			for _, h := range []*fabricHost{f.a, f.b} {
				counters, err := h.d.Counters()
				check(t, err)
				for _, c := range counters {
					if c.Ifindex == h.tunnel && c.RxPackets+c.TxPackets > 0 {
						t.Errorf("frames went through the tunnel of %s: %+v", h.name, c)
					}
				}
				drops, err := h.d.Drops()
				check(t, err)
				for _, d := range drops {
					if d.Verdict == "dropped" && d.Name != "multicast" && d.Name != "unknown-alias" && d.Name != "no-port" {
						t.Errorf("%s interface %d: %d %s", h.name, d.Ifindex, d.Packets, d.Name)
					}
				}
			}
		})
	}
}

// at gives a namespace that is no workload addresses to be sent to.
func (w *workload) at(_ testing.TB, addresses [2]netip.Addr) { w.addresses = addresses }

// TestFabricHops: hosts and the fabric are hops, and say so; a packet that is
// too large is answered, and fragments pass.
func TestFabricHops(t *testing.T) {
	f := newFabric(t, AttachAuto)
	for i := range 2 {
		// Workload, its host, the router, the other's host, workload.
		for hops, from := range map[int]string{1: []string{"10.1.0.1", "fd01::1"}[i], 2: f.a.gateway[i].String(), 3: f.b.underlay[i].String()} {
			if out, _ := f.a1.ping(t, f.b1.addresses[i], "-c", "1", "-t", fmt.Sprint(hops)); !strings.Contains(out, "From "+from) || !strings.Contains(strings.ToLower(out), "time exceeded") && !strings.Contains(out, "Time to live exceeded") {
				t.Errorf("hop %d to %v is not %s:\n%s", hops, f.b1.addresses[i], from, out)
			}
		}
		if out, err := f.a1.ping(t, f.b1.addresses[i], "-c", "1", "-t", "4"); err != nil {
			t.Errorf("with a hop count of 4: %v\n%s", err, out)
		}
		if out, err := in(f.machine).ping(t, f.b1.addresses[i], "-c", "2", "-i", "0.1", "-s", "3000"); err != nil {
			t.Errorf("in fragments: %v\n%s", err, out)
		}
	}
	// The workload's interface takes less than the underlay carries.
	port := f.b1.port()
	port.MTU = 1300
	check(t, f.b.d.Ports.Put(f.b1.ifindex, port))
	for i := range 2 {
		out, _ := in(f.machine).ping(t, f.b1.addresses[i], "-c", "1", "-M", "do", "-s", "1350")
		if !strings.Contains(out, "mtu = 1300") && !strings.Contains(out, "mtu=1300") {
			t.Errorf("too large for %v:\n%s", f.b1.addresses[i], out)
		}
	}
}

// TestFabricSpoof: nobody in the underlay speaks for a workload, and what is
// not for one is left to the host.
func TestFabricSpoof(t *testing.T) {
	f := newFabric(t, AttachAuto)
	l, err := f.machine.handle.LinkByName("lo")
	check(t, err)
	for i, victim := range f.a2.addresses {
		check(t, f.machine.handle.AddrAdd(l, &netlink.Addr{IPNet: ipNet(victim), Flags: unix.IFA_F_NODAD}))
		before := dropsOf(t, f.a.d, f.a.uplink, "fabric-spoofed")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		out, err := exec.CommandContext(ctx, "ip", "netns", "exec", f.machine.name, "ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", "-I", victim.String(), f.a1.addresses[i].String()).CombinedOutput()
		cancel()
		if err == nil {
			t.Errorf("the machine speaks for %v:\n%s", victim, out)
		}
		if n := dropsOf(t, f.a.d, f.a.uplink, "fabric-spoofed") - before; n != 2 {
			t.Errorf("%d frames that speak for %v were dropped, want 2:\n%s", n, victim, out)
		}
	}
}

// TestEmptyUplinkSlotPasses: before any program is there, the host is reached.
func TestEmptyUplinkSlotPasses(t *testing.T) {
	f := newFabric(t, AttachAuto)
	check(t, f.a.d.fabricSlots.Delete(uint32(0)))
	for i := range 2 {
		in(f.machine).mustReach(t, f.a.underlay[i])
		in(f.machine).mustNotReach(t, f.a1.addresses[i])
	}
	check(t, f.a.d.Activate())
	in(f.machine).mustReach(t, f.a1.addresses[0])
}
