// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/erase"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/vrouter"
)

// differ fails the test if two sets are not the same.
func (s *storm) differ(what string, got, want []string) {
	s.t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	for _, g := range got {
		if _, found := slices.BinarySearch(want, g); !found {
			s.t.Errorf("%s: %s is there and should not be", what, g)
		}
	}
	for _, w := range want {
		if _, found := slices.BinarySearch(got, w); !found {
			s.t.Errorf("%s: %s is missing", what, w)
		}
	}
}

// check compares everything on the host with what should be there.
func (s *storm) check(plugged map[int]bool) {
	s.t.Helper()
	var hostLinks []netlink.Link
	s.onThread(func() (err error) { hostLinks, err = netlink.LinkList(); return err })
	attached, records := map[string]datapath.Attachment{}, []string{}
	want := []string{"lo", link.TunnelName}
	for n, in := range plugged {
		if in {
			want = append(want, link.HostName(portID(n)))
			records = append(records, portID(n)+".json")
		}
	}
	var names, hooks, hooked []string
	for _, l := range hostLinks {
		names = append(names, l.Attrs().Name)
		if l.Type() == "veth" {
			uuid := strings.TrimPrefix(l.Attrs().Alias, "weft:port:")
			attached[uuid] = datapath.Attachment{Ifindex: l.Attrs().Index, RedirectPeer: true}
			if l.Attrs().Flags&net.FlagUp == 0 {
				s.t.Errorf("%s is down", l.Attrs().Name)
			}
		}
		if l.Attrs().Name != "lo" {
			hooks = append(hooks, fmt.Sprint(l.Attrs().Index))
			s.onThread(func() error { return oneProgram(l) })
		}
	}
	s.differ("interfaces of the host", names, want)
	all, err := s.agent.path.Attached()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, i := range all {
		hooked = append(hooked, fmt.Sprint(i))
	}
	s.differ("hooks", hooked, hooks)
	s.differ("records", entries(filepath.Join(s.dirs.State, "plugs")), records)
	s.checkWorkloads(plugged)
	s.checkTables(attached)
}

// oneProgram wants the packet path on an interface, and once.
func oneProgram(l netlink.Link) error {
	q, err := bpflink.QueryPrograms(bpflink.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
		return nil // a kernel before 6.6 has filters in place of links
	}
	if err == nil && len(q.Programs) != 1 {
		err = fmt.Errorf("%d programs", len(q.Programs))
	}
	if err != nil {
		return fmt.Errorf("packet path on %s: %w", l.Attrs().Name, err)
	}
	return nil
}

func entries(dir string) (names []string) {
	all, _ := os.ReadDir(dir) // one that is not there has none
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// checkWorkloads looks at the workloads' ends.
func (s *storm) checkWorkloads(plugged map[int]bool) {
	s.t.Helper()
	got, want := []string{}, []string{}
	for n, in := range plugged {
		if in {
			a := stormAddresses(n)
			want = append(want, fmt.Sprintf("%s %d %v up=true mtu=1450 %v %v", s.place(n).Netns, n, net.HardwareAddr(stormMAC(n)), a[0], a[1]))
		}
	}
	for _, space := range s.spaces {
		ns, err := netns.GetFromPath(space)
		if err != nil {
			s.t.Fatal(err)
		}
		h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
		ns.Close()
		if err != nil {
			s.t.Fatal(err)
		}
		links, err := h.LinkList()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, l := range links {
			if l.Attrs().Name == "lo" {
				continue
			}
			line := fmt.Sprintf("%s %s %v up=%t mtu=%d", space, strings.TrimPrefix(l.Attrs().Name, "e"), l.Attrs().HardwareAddr, l.Attrs().Flags&net.FlagUp != 0, l.Attrs().MTU)
			addresses, err := h.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, a := range addresses {
				if !a.IP.IsLinkLocalUnicast() {
					line += " " + a.IPNet.String()
				}
			}
			got = append(got, line)
		}
		h.Close()
	}
	s.differ("workloads", got, want)
}

// tables is the packet path's tables, next hops as routes see them: their
// numbers are given out as needed.
type tables struct {
	Sources   map[vrouter.TunnelSource]struct{}
	VNIs      map[uint32]vrouter.VNI
	Addresses map[vrouter.PortAddress]struct{}
	Ports     map[int]vrouter.Port
	Hops      map[vrouter.NextHop]int
	Routes    map[vrouter.RouteKey]string
	Prefixes  map[vrouter.PortPrefix]vrouter.Permission
	SubPorts  map[vrouter.SubPort]int
	MACs      map[vrouter.MACKey]string
}

func read(k datapath.Kernel) (t tables, err error) {
	fail := func(e error) { err = errors.Join(err, e) }
	var e error
	t.Sources, e = k.TunnelSources.All()
	fail(e)
	t.VNIs, e = k.VNIs.All()
	fail(e)
	t.Addresses, e = k.PortAddresses.All()
	fail(e)
	t.Ports, e = k.Ports.All()
	fail(e)
	hops, e := k.NextHops.All()
	fail(e)
	routes, e := k.Routes.All()
	fail(e)
	t.Hops, t.Routes = map[vrouter.NextHop]int{}, map[vrouter.RouteKey]string{}
	for _, h := range hops {
		h.Group = "" // it is not in a kernel
		t.Hops[h]++
	}
	for key, r := range routes {
		hop := hops[r.NextHop]
		hop.Group = ""
		r.NextHop = 0
		t.Routes[key] = fmt.Sprintf("%+v %+v", r, hop)
	}
	t.Prefixes, e = k.PortPrefixes.All()
	fail(e)
	t.SubPorts, e = k.SubPorts.All()
	fail(e)
	macs, e := k.MACs.All()
	fail(e)
	t.MACs = map[vrouter.MACKey]string{}
	for key, id := range macs {
		hop := hops[id]
		hop.Group = ""
		t.MACs[key] = fmt.Sprintf("%+v", hop)
	}
	return t, err
}

// checkTables compares the kernel's tables with those that a new agent would
// write into empty ones.
func (s *storm) checkTables(attached map[string]datapath.Attachment) {
	s.t.Helper()
	fresh := datapath.NewMemoryKernel(nil)
	p := datapath.NewProgrammer(fresh.Kernel())
	if err := p.Load(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	c := host.NewCore(desired.New(), stormUnderlay, datapath.Local{}, p)
	c.Start()
	if err := c.Apply(s.rows()); err != nil {
		s.t.Fatal(err)
	}
	for port, a := range attached {
		c.SetPlug(port, host.Plug{Interface: "any", Attachment: a})
	}
	for c.Round(s.t.Context(), time.Now()) {
	}
	want, err := read(fresh.Kernel())
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := read(datapath.KernelOf(s.agent.path))
	if err != nil {
		s.t.Fatal(err)
	}
	lines := func(v any) (all []string) {
		for rows := reflect.ValueOf(v).MapRange(); rows.Next(); {
			all = append(all, fmt.Sprintf("%+v: %+v", rows.Key(), rows.Value()))
		}
		return all
	}
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		s.differ("table "+g.Type().Field(i).Name, lines(g.Field(i).Interface()), lines(w.Field(i).Interface()))
	}
	if len(got.Ports) != len(attached) || len(attached) == 0 {
		s.t.Errorf("%d ports in the kernel, %d interfaces", len(got.Ports), len(attached))
	}
}

// uninstall wants nothing left: of interfaces, pins, files, on the host and in
// the workloads.
func (s *storm) uninstall() {
	s.t.Helper()
	s.onThread(func() error { return erase.Host(s.dirs) })
	s.checkWorkloads(nil)
	s.onThread(func() error {
		left, err := netlink.LinkList()
		if err == nil && len(left) != 1 {
			err = fmt.Errorf("%d interfaces after uninstall, want lo alone", len(left))
		}
		return err
	})
	if left := entries(filepath.Dir(s.dirs.State)); len(left) > 0 {
		s.t.Errorf("left after uninstall: %v", left)
	}
}
