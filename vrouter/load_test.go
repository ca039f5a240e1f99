// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestLoadOutsideBPFFS(t *testing.T) {
	_, err := Load(Options{PinDir: t.TempDir()})
	if !errors.Is(err, ErrNotBPFFS) {
		t.Errorf("got %v, want ErrNotBPFFS", err)
	}
}

func TestLoadWithDefaultSizes(t *testing.T) {
	d := loadForTest(t, Sizes{})
	check(t, d.Activate())
	check(t, d.Activate())
}

func TestCloseLeaksNothing(t *testing.T) {
	dir := filepath.Join(mountBPFFS(t), "weft")
	open := func() int {
		d, err := Load(Options{PinDir: dir, Sizes: smallSizes})
		check(t, err)
		tracer, err := d.NewTracer()
		check(t, err)
		tracer.Close()
		d.Close()
		fds, err := os.ReadDir("/proc/self/fd")
		check(t, err)
		return len(fds)
	}
	first := open() // also opens what the runtime and the library keep
	if again := open(); again != first {
		t.Errorf("%d file descriptors after loading again, %d before", again, first)
	}
}

func TestNextHopKindsHaveWords(t *testing.T) {
	for kind, want := range map[NextHopKind]string{NextHopNone: "none", NextHopTunnel: "tunnel", NextHopDiscard: "discard", 77: "next-hop-kind-77"} {
		if got := kind.String(); got != want {
			t.Errorf("kind %d is %q, want %q", uint32(kind), got, want)
		}
	}
}

func TestTablesRefuseNonsense(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	for what, err := range map[string]error{
		"unmasked prefix":           d.Routes.Put(RouteKey{1, netip.MustParsePrefix("10.0.0.1/24")}, Route{}),
		"no prefix":                 d.Routes.Put(RouteKey{}, Route{}),
		"address with a zone":       d.PortAddresses.Put(PortAddress{1, netip.MustParseAddr("fe80::1%eth0")}, struct{}{}),
		"IPv4 in IPv6":              d.PortAddresses.Put(PortAddress{1, netip.MustParseAddr("::ffff:10.0.0.1")}, struct{}{}),
		"local of the other family": d.SetConfig(Config{Local4: netip.MustParseAddr("2001:db8::1")}),
		"tunnel to nowhere":         d.NextHops.Put(1, NextHop{Kind: NextHopTunnel}),
		"no address to delete":      d.PortAddresses.Delete(PortAddress{}),
	} {
		if err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	check(t, d.Routes.Delete(RouteKey{1, netip.MustParsePrefix("10.0.0.0/24")}))
	check(t, d.Ports.Delete(1))
}

func TestFullTableRefuses(t *testing.T) {
	sizes := smallSizes
	sizes.VNIs = 4
	d := tablesForTest(t, sizes)
	var err error
	for vni := uint32(0); vni < 5; vni++ {
		err = errors.Join(err, d.VNIs.Put(vni, VNI{VRF: 1}))
	}
	if err == nil || !strings.Contains(err.Error(), "put 4 into table vnis") {
		t.Errorf("a full table gave %v", err)
	}
}

func TestLayoutHashFollowsMeaning(t *testing.T) {
	base, err := sizedLayout(smallSizes)
	check(t, err)
	again, err := sizedLayout(smallSizes)
	check(t, err)
	if layoutHash(base) != layoutHash(again) {
		t.Error("the same layout has two hashes")
	}
	again.Maps["ports"].MaxEntries++
	if layoutHash(base) == layoutHash(again) {
		t.Error("another size has the same hash")
	}
}

// programsOn returns how many tcx programs an interface has, or filters.
func (h *testHost) programsOn(t testing.TB, ifindex int) int {
	t.Helper()
	var count int
	check(t, h.do(func() error {
		if h.d.attachment == AttachClsact { // asked for, or what auto came to
			l, err := netlink.LinkByIndex(ifindex)
			if err != nil {
				return err
			}
			filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
			count = len(filters)
			return err
		}
		q, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			count = len(q.Programs)
		}
		return err
	}))
	return count
}

func (h *testHost) mustBeAttached(t testing.TB, want ...int) {
	t.Helper()
	got, err := h.d.Attached()
	check(t, err)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("attached to %v, want %v", got, want)
	}
}

func TestAttach(t *testing.T) {
	for _, a := range []Attachment{AttachAuto, AttachClsact} {
		t.Run(string(a), func(t *testing.T) { testAttach(t, newHostBy(t, "A", 1, a)) })
	}
}

func testAttach(t *testing.T, h *testHost) {
	w := newNamespace(t, "w")
	ifindex := addVeth(t, h.namespace, "port", w, "eth0", portMAC(1), 1500)
	attach := func(f func(int) error) {
		t.Helper()
		check(t, h.do(func() error { return f(ifindex) }))
		if n := h.programsOn(t, ifindex); n != 1 {
			t.Errorf("%d programs attached, want 1", n)
		}
	}
	attach(h.d.AttachPort)
	attach(h.d.AttachPort)
	h.mustBeAttached(t, h.tunnel, ifindex)
	attach(h.d.AttachTunnel)
	attach(h.d.AttachPort)
	h.mustBeAttached(t, h.tunnel, ifindex)

	// The interface goes, and its index returns with another.
	l, err := h.handle.LinkByIndex(ifindex)
	check(t, err)
	check(t, h.handle.LinkDel(l))
	h.mustBeAttached(t, h.tunnel, ifindex)
	check(t, h.handle.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "again", Index: ifindex}, PeerName: "other"}))
	if n := h.programsOn(t, ifindex); n != 0 {
		t.Fatalf("%d programs on a new interface", n)
	}
	attach(h.d.AttachPort)

	check(t, h.do(func() error { return h.d.Detach(ifindex) }))
	check(t, h.do(func() error { return h.d.Detach(ifindex) }))
	h.mustBeAttached(t, h.tunnel)
	if n := h.programsOn(t, ifindex); n != 0 {
		t.Errorf("%d programs after detaching", n)
	}
	attach(h.d.AttachPort)
	if err := h.do(func() error { return h.d.AttachPort(9999) }); !errors.Is(err, unix.ENODEV) {
		t.Errorf("attaching to an interface that is not there gave %v", err)
	}

	check(t, h.do(func() error { return Remove(h.pinDir) }))
	check(t, h.do(func() error { return Remove(h.pinDir) }))
	if n := h.programsOn(t, ifindex); n != 0 {
		t.Errorf("%d programs after removal", n)
	}
	if _, err := os.Stat(h.pinDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("removal left the pin directory (%v)", err)
	}
}

// TestOthersFiltersStay: a queueing discipline and filters that somebody else
// put on an interface stay as they are, and what we put there goes.
func TestOthersFiltersStay(t *testing.T) {
	h := newHostBy(t, "A", 1, AttachClsact)
	w := newNamespace(t, "w")
	ifindex := addVeth(t, h.namespace, "port", w, "eth0", portMAC(1), 1500)
	clsacts := func() (n int) {
		l, err := h.handle.LinkByIndex(ifindex)
		check(t, err)
		all, err := h.handle.QdiscList(l)
		check(t, err)
		for _, q := range all {
			if q.Type() == "clsact" {
				n++
			}
		}
		return n
	}
	other := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 7, Protocol: unix.ETH_P_ALL},
		Fd:          h.d.stubs.Programs[portHook.stub].FD(), Name: "theirs", DirectAction: true,
	}
	attach := func() { t.Helper(); check(t, h.do(func() error { return h.d.AttachPort(ifindex) })) }
	detach := func() { t.Helper(); check(t, h.do(func() error { return h.d.Detach(ifindex) })) }
	attach()
	detach()
	if n := clsacts(); n != 0 {
		t.Errorf("%d clsact left that were ours", n)
	}
	attach()
	check(t, h.handle.FilterAdd(other))
	detach() // ours, but used by another now
	if n := h.programsOn(t, ifindex); n != 1 || clsacts() != 1 {
		t.Errorf("%d filters and %d clsact left, want the other's one and what holds it", n, clsacts())
	}
	attach() // theirs now
	detach()
	check(t, h.handle.FilterDel(other))
	if n := h.programsOn(t, ifindex); n != 0 || clsacts() != 1 {
		t.Errorf("%d filters and %d clsact left, want none and theirs", n, clsacts())
	}
	h.mustBeAttached(t, h.tunnel)
}

// TestEmptySlotDrops: between attaching and activating nothing passes.
func TestEmptySlotDrops(t *testing.T) {
	h, w := newNamespace(t, "A"), &workload{namespace: newNamespace(t, "w")}
	d := loadForTest(t, smallSizes)
	ifindex := addVeth(t, h, "port", w.namespace, "eth0", portMAC(1), 1500)
	h.up(t, "port", "10.9.0.1/24")
	w.up(t, "eth0", "10.9.0.2/24")
	to := netip.MustParseAddr("10.9.0.1")
	w.mustReach(t, to)
	check(t, h.do(func() error { return d.AttachPort(ifindex) }))
	w.mustNotReach(t, to)
	check(t, d.Detach(ifindex))
	w.mustReach(t, to)
}

// TestFramesOnTheWire sends what a test run cannot: frames that end within
// their IP header, and a VLAN tag, which the kernel moves out of the frame.
func TestFramesOnTheWire(t *testing.T) {
	h := newHost(t, "A", 1)
	w := newWorkload(t, h, "w", 1, 2)
	short4 := ethernetFrame(GatewayMAC, w.mac, 0x0800, make([]byte, 10))
	short6 := ethernetFrame(GatewayMAC, w.mac, 0x86dd, make([]byte, 10))
	tagged := ethernetFrame(GatewayMAC, w.mac, 0x8100, append([]byte{0, 5, 8, 0}, make([]byte, 40)...))
	check(t, w.do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		l, err := w.handle.LinkByName("eth0")
		if err != nil {
			return err
		}
		to := &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}
		for _, frame := range [][]byte{short4, short6, tagged} {
			err = errors.Join(err, unix.Sendto(fd, frame, 0, to))
		}
		return err
	}))
	w.mustReach(t, w.gateways[0]) // the frames before it have been through
	if got := dropsOf(t, h.d, w.ifindex, "malformed"); got != 2 {
		t.Errorf("%d frames malformed, want 2", got)
	}
	if got := dropsOf(t, h.d, w.ifindex, "unknown-vlan"); got != 1 {
		t.Errorf("%d frames unknown-vlan, want 1", got)
	}
}
