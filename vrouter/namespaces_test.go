// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace of the test's own.
type namespace struct {
	name   string
	ns     netns.NsHandle
	handle *netlink.Handle
}

func newNamespace(t testing.TB, suffix string) *namespace {
	t.Helper()
	n := &namespace{name: fmt.Sprintf("weft-vr-%d-%s", os.Getpid(), suffix)}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := netns.Get()
	check(t, err)
	defer before.Close()
	n.ns, err = netns.NewNamed(n.name)
	check(t, err)
	t.Cleanup(func() {
		n.ns.Close()
		if err := netns.DeleteNamed(n.name); err != nil {
			t.Errorf("delete namespace %s: %v", n.name, err)
		}
	})
	check(t, netns.Set(before))
	n.handle, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	check(t, err)
	t.Cleanup(n.handle.Close)
	return n
}

// do runs f on a thread that is in the namespace. Sockets made in f stay there.
func (n *namespace) do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(n.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (n *namespace) up(t testing.TB, name string, addresses ...string) netlink.Link {
	t.Helper()
	l, err := n.handle.LinkByName(name)
	check(t, err)
	for _, a := range addresses {
		parsed, err := netlink.ParseAddr(a)
		check(t, err)
		parsed.Flags = unix.IFA_F_NODAD
		check(t, n.handle.AddrAdd(l, parsed))
	}
	check(t, n.handle.LinkSetUp(l))
	return l
}

// addVeth makes a veth pair between two namespaces and returns the index of
// its end in the first one.
func addVeth(t testing.TB, from *namespace, name string, to *namespace, peer string, mac MAC, mtu int) int {
	t.Helper()
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: name, MTU: mtu},
		PeerName:         peer,
		PeerNamespace:    netlink.NsFd(to.ns),
		PeerHardwareAddr: net.HardwareAddr(mac[:]),
		PeerMTU:          uint32(mtu),
	}
	check(t, from.handle.LinkAdd(veth))
	l, err := from.handle.LinkByName(name)
	check(t, err)
	return l.Attrs().Index
}

// testHost is a namespace that acts as a host with a vRouter.
type testHost struct {
	attachment Attachment
	*namespace
	pinDir   string
	sizes    Sizes
	d        *Datapath
	tunnel   int
	underlay [2]netip.Addr // IPv4, IPv6
	nextID   uint32
}

func newHost(t testing.TB, suffix string, n byte) *testHost {
	t.Helper()
	return newHostBy(t, suffix, n, AttachAuto)
}

// newHostBy returns a host whose programs are attached in a given way.
func newHostBy(t testing.TB, suffix string, n byte, attachment Attachment) *testHost {
	t.Helper()
	h := &testHost{namespace: newNamespace(t, suffix), sizes: smallSizes, attachment: attachment}
	h.pinDir = filepath.Join(mountBPFFS(t), "weft")
	h.underlay[0] = netip.AddrFrom4([4]byte{192, 0, 2, n})
	h.underlay[1] = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xff, 15: n})
	var err error
	h.d, err = Load(Options{PinDir: h.pinDir, Sizes: h.sizes, Attachment: attachment})
	check(t, err)
	t.Cleanup(func() { h.d.Close() })
	vxlan := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "weftvx"}, FlowBased: true, Port: 4789}
	check(t, h.handle.LinkAdd(vxlan))
	h.tunnel = h.up(t, "weftvx").Attrs().Index
	check(t, h.d.SetConfig(h.config()))
	check(t, h.do(func() error { return h.d.AttachTunnel(h.tunnel) }))
	check(t, h.d.Activate())
	return h
}

func (h *testHost) config() Config {
	return Config{TunnelDevice: h.tunnel, Local4: h.underlay[0], Local6: h.underlay[1], ErrorInterval: time.Millisecond, ErrorBurst: 100}
}

// admit lets another host send into a VNI, from all its addresses.
func (h *testHost) admit(t testing.TB, vni uint32, other *testHost) {
	t.Helper()
	for _, a := range other.underlay {
		check(t, h.d.TunnelSources.Put(TunnelSource{vni, a}, struct{}{}))
	}
}

func (h *testHost) nextHop(t testing.TB, n NextHop) uint32 {
	t.Helper()
	h.nextID++
	check(t, h.d.NextHops.Put(h.nextID, n))
	return h.nextID
}

// workload is a namespace behind a port. VNI and VRF are the same number here.
type workload struct {
	*namespace
	host      *testHost
	vrf       uint32
	ifindex   int
	mac       MAC
	addresses [2]netip.Addr // IPv4, IPv6
	gateways  [2]netip.Addr
}

const workloadMTU = 1400

// newWorkload plugs a workload with address n of its network into a host.
// The networks of vrf 1 and 2 have the same subnets on purpose.
func newWorkload(t testing.TB, h *testHost, name string, vrf uint32, n byte) *workload {
	t.Helper()
	w := &workload{namespace: newNamespace(t, name), host: h, vrf: vrf, mac: MAC{2, 0, 0, byte(vrf), 0, n}}
	network := byte(1)
	if vrf == 3 {
		network = 3
	}
	w.addresses = [2]netip.Addr{netip.AddrFrom4([4]byte{10, network, 0, n}), netip.AddrFrom16([16]byte{0xfd, network, 15: n})}
	w.gateways = [2]netip.Addr{netip.AddrFrom4([4]byte{10, network, 0, 1}), netip.AddrFrom16([16]byte{0xfd, network, 15: 1})}
	w.ifindex = addVeth(t, h.namespace, "p-"+name, w.namespace, "eth0", w.mac, workloadMTU)
	check(t, h.do(func() error { return h.d.AttachPort(w.ifindex) }))
	h.up(t, "p-"+name)
	l := w.up(t, "eth0", w.addresses[0].String()+"/24", w.addresses[1].String()+"/64")
	for _, gateway := range w.gateways {
		check(t, w.handle.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gateway.AsSlice()}))
	}
	check(t, h.d.Ports.Put(w.ifindex, w.port()))
	check(t, h.d.VNIs.Put(vrf, VNI{VRF: vrf, CheckSources: true}))
	for i, address := range w.addresses {
		check(t, h.d.PortAddresses.Put(PortAddress{w.ifindex, address}, struct{}{}))
		hop := h.nextHop(t, NextHop{Kind: NextHopPort, Ifindex: w.ifindex})
		check(t, h.d.Routes.Put(RouteKey{vrf, host(address)}, Route{NextHop: hop, MAC: w.mac}))
		hop = h.nextHop(t, NextHop{Kind: NextHopGateway})
		check(t, h.d.Routes.Put(RouteKey{vrf, host(w.gateways[i])}, Route{NextHop: hop}))
	}
	return w
}

func (w *workload) port() Port {
	return Port{VRF: w.vrf, MAC: w.mac, MTU: workloadMTU, RedirectPeer: true, Gateway4: w.gateways[0], Gateway6: w.gateways[1]}
}

// advertise tells another host, or another VRF, where a workload is.
func (w *workload) advertise(t testing.TB, to *testHost, vrf uint32, underlay int) {
	t.Helper()
	next := NextHop{Kind: NextHopPort, Ifindex: w.ifindex}
	if to != w.host {
		w.host.admit(t, w.vrf, to) // whoever has the route may use it
		next = NextHop{Kind: NextHopTunnel, VNI: w.vrf, Remote: w.host.underlay[underlay], Local: to.underlay[underlay]}
	}
	hop := to.nextHop(t, next)
	for _, address := range w.addresses {
		check(t, to.d.Routes.Put(RouteKey{vrf, host(address)}, Route{NextHop: hop, MAC: w.mac, Routed: vrf != w.vrf}))
	}
}

// site is two hosts; a1, a2, b1 in one network, c1 and d1 in another
// with the addresses of a1 and b1, e1 in a third that is joined to the first.
type site struct {
	a, b                   *testHost
	a1, a2, b1, c1, d1, e1 *workload
}

func newSite(t testing.TB) *site {
	t.Helper()
	return newSiteBy(t, AttachAuto)
}

// newSiteBy returns a site whose first host's programs are attached in a given way.
func newSiteBy(t testing.TB, attachment Attachment) *site {
	t.Helper()
	s := &site{a: newHostBy(t, "A", 1, attachment), b: newHost(t, "B", 2)}
	addVeth(t, s.a.namespace, "underlay", s.b.namespace, "underlay", MAC{2, 0xff, 0, 0, 0, 2}, 1500)
	for _, h := range []*testHost{s.a, s.b} {
		h.up(t, "underlay", h.underlay[0].String()+"/24", h.underlay[1].String()+"/64")
	}
	s.a1 = newWorkload(t, s.a, "a1", 1, 2)
	s.a2 = newWorkload(t, s.a, "a2", 1, 3)
	s.b1 = newWorkload(t, s.b, "b1", 1, 4)
	s.c1 = newWorkload(t, s.a, "c1", 2, 2)
	s.d1 = newWorkload(t, s.b, "d1", 2, 4)
	s.e1 = newWorkload(t, s.b, "e1", 3, 2)
	for _, w := range []*workload{s.a1, s.a2} {
		w.advertise(t, s.b, 1, 0)
		w.advertise(t, s.b, 3, 0)
	}
	s.b1.advertise(t, s.a, 1, 0)
	s.c1.advertise(t, s.b, 2, 1) // the second network uses the IPv6 underlay
	s.d1.advertise(t, s.a, 2, 1)
	s.e1.advertise(t, s.a, 1, 0)
	s.e1.advertise(t, s.b, 1, 0)
	s.b1.advertise(t, s.b, 3, 0)
	return s
}
