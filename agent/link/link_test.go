// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/link"
)

// inHost runs a test in a new network namespace, as if it were a host, on a
// thread that ends with it.
func inHost(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done) // also when the test ends this goroutine
		runtime.LockOSThread()
		ns, err := netns.New()
		if err != nil {
			t.Error(err)
			return
		}
		defer ns.Close()
		f()
	}()
	<-done
}

// workload makes a named namespace and returns its path.
func workload(t *testing.T, name string) string {
	t.Helper()
	name = fmt.Sprintf("weft-link-%s-%d", name, os.Getpid())
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	ns, err := netns.NewNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	ns.Close()
	t.Cleanup(func() { _ = netns.DeleteNamed(name) }) // a test may have removed it
	if err := netns.Set(here); err != nil {
		t.Fatal(err)
	}
	return "/run/netns/" + name
}

// hooks remembers where the packet path is, and checks that an interface is
// never up without.
type hooks struct {
	t  *testing.T
	on map[int]bool
}

func (h *hooks) attach(i int) error {
	l, err := netlink.LinkByIndex(i)
	if err != nil {
		return err
	}
	if !h.on[i] && l.Attrs().Flags&net.FlagUp != 0 && l.Type() == "veth" {
		h.t.Errorf("%s was up before the packet path was attached", l.Attrs().Name)
	}
	h.on[i] = true
	return nil
}

func (h *hooks) detach(i int) error {
	if l, err := netlink.LinkByIndex(i); err == nil && h.on[i] && l.Attrs().Flags&net.FlagUp != 0 {
		h.t.Errorf("%s is up while the packet path is taken off", l.Attrs().Name)
	}
	delete(h.on, i)
	return nil
}

func open(t *testing.T) (*link.Driver, *hooks) {
	t.Helper()
	h := &hooks{t, map[int]bool{}}
	d, err := link.Open(h.attach, h.detach)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d, h
}

func names(t *testing.T, h *netlink.Handle) (all []string) {
	t.Helper()
	links, err := h.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		all = append(all, l.Attrs().Name)
	}
	slices.Sort(all)
	return all
}

func enter(t *testing.T, path string) *netlink.Handle {
	t.Helper()
	ns, err := netns.GetFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

const port = "00000000-0000-4000-8000-0123456789ab"

var settings = link.Settings{
	MAC: [6]byte{2, 0, 0, 0, 0, 1}, MTU: 1400,
	Addresses: []link.Address{
		{Prefix: netip.MustParsePrefix("10.0.0.5/24"), Gateway: netip.MustParseAddr("10.0.0.1")},
		{Prefix: netip.MustParsePrefix("fd00::5/64"), Gateway: netip.MustParseAddr("fd00::1")},
	},
}

// A workload's interface has everything it needs, the host's side nothing of
// its own; making it again changes nothing; nothing is left of it.
func TestPairInNamespace(t *testing.T) {
	inHost(t, func() {
		d, h := open(t)
		path := workload(t, "a")
		place := link.Place{Netns: path, Ifname: "eth0"}
		f := must[link.Found](t)(d.Ensure(port, place, settings))
		if again := must[link.Found](t)(d.Ensure(port, place, settings)); again != f || !f.RedirectPeer || f.Name != "wf123456789ab" || !h.on[f.Ifindex] {
			t.Errorf("found %+v, again %+v", f, again)
		}
		in := enter(t, path)
		eth := must[netlink.Link](t)(in.LinkByName("eth0"))
		if a := eth.Attrs(); !bytes.Equal(a.HardwareAddr, settings.MAC[:]) || a.MTU != 1400 || a.Flags&net.FlagUp == 0 {
			t.Errorf("the workload's interface: %+v", a)
		}
		var got []string
		for _, a := range must[[]netlink.Addr](t)(in.AddrList(eth, netlink.FAMILY_ALL)) {
			if a.IP.IsGlobalUnicast() {
				got = append(got, a.IPNet.String())
			}
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			for _, r := range must[[]netlink.Route](t)(in.RouteList(eth, family)) {
				if r.Gw != nil {
					got = append(got, "via "+r.Gw.String())
				}
			}
		}
		if want := "[10.0.0.5/24 fd00::5/64 via 10.0.0.1 via fd00::1]"; fmt.Sprint(got) != want {
			t.Errorf("addresses and routes %v, want %s", got, want)
		}
		host := must[netlink.Link](t)(netlink.LinkByName(f.Name))
		if a := must[[]netlink.Addr](t)(netlink.AddrList(host, netlink.FAMILY_ALL)); len(a) != 0 || host.Attrs().Alias != "weft:port:"+port {
			t.Errorf("the host's side has addresses %v and alias %q", a, host.Attrs().Alias)
		}
		if owned := must[map[string]string](t)(d.Owned()); fmt.Sprint(owned) != fmt.Sprintf("map[%s:%s]", f.Name, port) {
			t.Errorf("owned: %v", owned)
		}
		for range 2 {
			if err := d.Release(port, place); err != nil {
				t.Error(err)
			}
		}
		if left := names(t, in); !slices.Equal(left, []string{"lo"}) || len(h.on) != 0 {
			t.Errorf("left: %v, hooks %v", left, h.on)
		}
		if _, err := d.Find(port, place); !errors.Is(err, link.ErrGone) {
			t.Errorf("find after release: %v", err)
		}
	})
}

// Leftovers of an interrupted plug do not hinder the next; a port moves with
// its workload; a namespace that goes takes the interface with it.
func TestPairRepairs(t *testing.T) {
	inHost(t, func() {
		d, _ := open(t)
		a, b := link.Place{Netns: workload(t, "a"), Ifname: "eth0"}, link.Place{Netns: workload(t, "b"), Ifname: "net1"}
		must[link.Found](t)(d.Ensure(port, a, settings))
		half := must[netlink.Link](t)(netlink.LinkByName(link.HostName(port)))
		if err := netlink.LinkSetAlias(half, ""); err != nil { // as if it had ended before the mark
			t.Fatal(err)
		}
		if owned := must[map[string]string](t)(d.Owned()); owned[link.HostName(port)] != "" || len(owned) != 1 {
			t.Errorf("half made: %v", owned)
		}
		must[link.Found](t)(d.Ensure(port, a, settings))
		must[link.Found](t)(d.Ensure(port, b, settings))
		if inA, inB := names(t, enter(t, a.Netns)), names(t, enter(t, b.Netns)); len(inA) != 1 || !slices.Contains(inB, "net1") {
			t.Errorf("after the move: %v and %v", inA, inB)
		}
		gone := link.Place{Netns: "/run/netns/weft-no-such", Ifname: "eth0"}
		if _, err := d.Ensure(port, gone, settings); err == nil {
			t.Error("plugged into a namespace that is not there")
		}
	})
}

// A second port in a namespace leaves the first one's default routes alone,
// and has its own when the first is gone.
func TestTwoPortsInOneNamespace(t *testing.T) {
	inHost(t, func() {
		d, _ := open(t)
		path := workload(t, "a")
		first, second := link.Place{Netns: path, Ifname: "eth0"}, link.Place{Netns: path, Ifname: "eth1"}
		other := "00000000-0000-4000-8000-0123456789ac"
		otherSettings := link.Settings{MAC: [6]byte{2, 0, 0, 0, 0, 2}, MTU: 1400, Addresses: []link.Address{
			{Prefix: netip.MustParsePrefix("10.0.1.5/24"), Gateway: netip.MustParseAddr("10.0.1.1")},
			{Prefix: netip.MustParsePrefix("fd00:1::5/64"), Gateway: netip.MustParseAddr("fd00:1::1")},
		}}
		must[link.Found](t)(d.Ensure(port, first, settings))
		for range 2 {
			must[link.Found](t)(d.Ensure(other, second, otherSettings))
			must[link.Found](t)(d.Ensure(port, first, settings))
		}
		in := enter(t, path)
		chosen := func() (all []string) {
			for _, to := range []string{"198.51.100.1", "2001:db8::1"} {
				for _, r := range must[[]netlink.Route](t)(in.RouteGet(net.ParseIP(to))) {
					all = append(all, r.Gw.String())
				}
			}
			return all
		}
		if got := chosen(); !slices.Equal(got, []string{"10.0.0.1", "fd00::1"}) {
			t.Errorf("with both, the way out is %v, want the first port's", got)
		}
		if err := d.Release(port, first); err != nil {
			t.Fatal(err)
		}
		if got := chosen(); !slices.Equal(got, []string{"10.0.1.1", "fd00:1::1"}) {
			t.Errorf("with the second alone, the way out is %v", got)
		}
	})
}

// What others made is never taken, renamed or removed, whatever its name.
func TestForeign(t *testing.T) {
	inHost(t, func() {
		d, h := open(t)
		attrs := netlink.NewLinkAttrs()
		attrs.Name = link.HostName(port)
		foreign := &netlink.Veth{LinkAttrs: attrs, PeerName: "tap0"}
		if err := netlink.LinkAdd(foreign); err != nil {
			t.Fatal(err)
		}
		place := link.Place{Netns: workload(t, "a"), Ifname: "eth0"}
		if _, err := d.Ensure(port, place, settings); err == nil {
			t.Error("took an interface that somebody else made")
		}
		if err := errors.Join(d.Release(port, place), d.RemoveTunnel()); err != nil {
			t.Error(err)
		}
		if d.RemoveOwned(attrs.Name) == nil {
			t.Error("removed an interface that somebody else made")
		}
		taken := link.Place{Interface: "tap0"}
		f := must[link.Found](t)(d.Ensure(port, taken, settings))
		if f.RedirectPeer || f.Name != "tap0" || !h.on[f.Ifindex] {
			t.Errorf("existing interface whose other end is here: %+v", f)
		}
		if err := d.Release(port, taken); err != nil {
			t.Error(err)
		}
		tap := must[netlink.Link](t)(netlink.LinkByName("tap0"))
		if tap.Attrs().Flags&net.FlagUp != 0 || len(h.on) != 0 || tap.Attrs().Alias != "" {
			t.Errorf("after release: %+v, hooks %v", tap.Attrs(), h.on)
		}
	})
}

// What must not be a workload's is refused, and undoing the refused plug, of
// which there is a record, leaves it as it was.
func TestRefusedInterfaces(t *testing.T) {
	inHost(t, func() {
		d, h := open(t)
		tunnel := must[int](t)(d.EnsureTunnel(4789))
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "up0"
		up := &netlink.Veth{LinkAttrs: attrs, PeerName: "up1"}
		address := must[*netlink.Addr](t)(netlink.ParseAddr("192.0.2.7/24"))
		lo := must[netlink.Link](t)(netlink.LinkByName("lo"))
		if err := errors.Join(d.StartTunnel(tunnel), netlink.LinkSetUp(lo), netlink.LinkAdd(up), netlink.AddrAdd(up, address), netlink.LinkSetUp(up)); err != nil {
			t.Fatal(err)
		}
		for name, words := range map[string]string{
			"nothing": "gone", "lo": "loopback", link.TunnelName: "another purpose", "up0": "192.0.2.7",
		} {
			if _, err := d.Ensure(port, link.Place{Interface: name}, settings); err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("attaching to %s: %v, want %q", name, err, words)
			}
		}
		for _, name := range []string{"nothing", "lo", link.TunnelName} {
			if err := d.Release(port, link.Place{Interface: name}); err != nil {
				t.Error(err)
			}
		}
		for _, name := range []string{"lo", link.TunnelName, "up0"} {
			if l := must[netlink.Link](t)(netlink.LinkByName(name)); l.Attrs().Flags&net.FlagUp == 0 {
				t.Errorf("%s is down", name)
			}
		}
		if len(h.on) != 0 {
			t.Errorf("hooks %v", h.on)
		}
	})
}

func TestTunnel(t *testing.T) {
	inHost(t, func() {
		d, _ := open(t)
		first := must[int](t)(d.EnsureTunnel(4789))
		if again := must[int](t)(d.EnsureTunnel(4789)); again != first {
			t.Errorf("made again: %d, then %d", first, again)
		}
		if err := d.StartTunnel(first); err != nil {
			t.Fatal(err)
		}
		other := must[int](t)(d.EnsureTunnel(4790))
		v := must[netlink.Link](t)(netlink.LinkByIndex(other)).(*netlink.Vxlan)
		if !v.FlowBased || v.Port != 4790 || v.Alias != "weft:tunnel" || v.MTU < 60000 || v.Flags&net.FlagUp != 0 {
			t.Errorf("device: %+v", v)
		}
		e := must[*ethtool.Ethtool](t)(ethtool.NewEthtool())
		defer e.Close()
		if features := must[map[string]bool](t)(e.Features(link.TunnelName)); features["rx-gro"] {
			t.Error("GRO is on")
		}
		for range 2 {
			if err := d.RemoveTunnel(); err != nil {
				t.Error(err)
			}
		}
		if _, err := netlink.LinkByName(link.TunnelName); err == nil {
			t.Error("the device is still there")
		}
	})
}

// The tunnel address is that of the default route's interface.
func TestUnderlay(t *testing.T) {
	inHost(t, func() {
		d, _ := open(t)
		if _, err := d.UnderlayOf(nil); !errors.Is(err, link.ErrNoUnderlay) {
			t.Errorf("without routes: %v", err)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "up0", 9000
		up := &netlink.Veth{LinkAttrs: attrs, PeerName: "up1"}
		peer := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up1"}}
		address := must[*netlink.Addr](t)(netlink.ParseAddr("192.0.2.7/24"))
		route := &netlink.Route{Gw: net.IPv4(192, 0, 2, 1)}
		if err := errors.Join(netlink.LinkAdd(up), netlink.LinkSetUp(up), netlink.LinkSetUp(peer), netlink.AddrAdd(up, address), netlink.RouteAdd(route)); err != nil {
			t.Fatal(err)
		}
		found, err := d.UnderlayOf(nil)
		if fmt.Sprint(found.Addresses) != "[192.0.2.7]" || found.MTU != 9000 || len(found.Uplinks) != 1 || err != nil {
			t.Errorf("found %+v, %v", found, err)
		}
		if _, err := d.UnderlayOf([]netip.Addr{netip.MustParseAddr("192.0.2.8")}); err == nil {
			t.Error("took an address the host does not have")
		}
	})
}

// Ports that are plugged into one namespace at the same time have a default route
// each: none takes the metric, and so the place, of another's.
func TestDefaultRoutesOfPortsPluggedTogether(t *testing.T) {
	inHost(t, func() {
		here := must[netns.NsHandle](t)(netns.Get())
		defer here.Close()
		d, err := link.Open(func(int) error { return nil }, func(int) error { return nil })
		if err != nil {
			t.Error(err)
			return
		}
		defer d.Close()
		path, failed, work := workload(t, "together"), make(chan error, 100), sync.WaitGroup{}
		const ports = 20
		for n := range ports {
			work.Go(func() {
				runtime.LockOSThread() // the thread ends with it
				port := fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
				settings := link.Settings{MTU: 1450, MAC: [6]byte{2, 0, 0, 0, 0, byte(n)}}
				for _, text := range []string{"10.%d.0.2/24 10.%[1]d.0.1", "fd00:%x::2/64 fd00:%[1]x::1"} {
					own, gateway, _ := strings.Cut(fmt.Sprintf(text, n), " ")
					settings.Addresses = append(settings.Addresses, link.Address{Prefix: netip.MustParsePrefix(own), Gateway: netip.MustParseAddr(gateway)})
				}
				err := netns.Set(here)
				if err == nil {
					_, err = d.Ensure(port, link.Place{Netns: path, Ifname: fmt.Sprint("e", n)}, settings)
				}
				if err != nil {
					failed <- err
				}
			})
		}
		work.Wait()
		close(failed)
		for err := range failed {
			t.Error(err)
		}
		inside := enter(t, path)
		for family, everything := range map[int]string{netlink.FAMILY_V4: "0.0.0.0/0", netlink.FAMILY_V6: "::/0"} {
			has := map[int]bool{}
			for _, r := range must[[]netlink.Route](t)(inside.RouteList(nil, family)) {
				if r.Dst == nil || r.Dst.String() == everything {
					has[r.LinkIndex] = true
				}
			}
			if len(has) != ports {
				t.Errorf("%d of %d ports have a default route to %s", len(has), ports, everything)
			}
		}
	})
}
