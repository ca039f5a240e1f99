// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"encoding/binary"
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
	"github.com/weft-network/weft/vrouter/maglev"
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
	limits, err := s.path.Limits.All()
	if err != nil {
		s.t.Fatal(err)
	}
	programs := limited(limits)
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
			s.onThread(func() error { return countPrograms(l, programs) })
		}
	}
	s.differ("interfaces of the host", names, want)
	all, err := s.path.Attached()
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

// limited counts by device and direction the limits there, which share a program.
func limited(all map[int]vrouter.Limits) map[ebpf.AttachType]map[int]int {
	programs := map[ebpf.AttachType]map[int]int{ebpf.AttachTCXIngress: {}, ebpf.AttachTCXEgress: {}}
	for _, l := range all {
		if l.Out != (vrouter.Limit{}) {
			programs[ebpf.AttachTCXIngress][l.Device] = 1
		}
		if l.In != (vrouter.Limit{}) {
			programs[ebpf.AttachTCXEgress][l.Device] = 1
		}
	}
	return programs
}

// countPrograms wants the packet path on an interface, once, and the limits beside it.
func countPrograms(l netlink.Link, limits map[ebpf.AttachType]map[int]int) error {
	for at, more := range limits {
		want := more[l.Attrs().Index]
		if at == ebpf.AttachTCXIngress {
			want++
		}
		q, err := bpflink.QueryPrograms(bpflink.QueryOptions{Target: l.Attrs().Index, Attach: at})
		if errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
			return nil // a kernel before 6.6 has filters in place of links
		}
		if err == nil && len(q.Programs) != want {
			err = fmt.Errorf("%d programs, want %d", len(q.Programs), want)
		}
		if err != nil {
			return fmt.Errorf("programs on %s, %v: %w", l.Attrs().Name, at, err)
		}
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
			want = append(want, fmt.Sprintf("%s %d %v up=true mtu=%d %v %v defaults=2", s.place(n).Netns, n, net.HardwareAddr(stormMAC(n)), stormMTU(n), a[0], a[1]))
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
			defaults, err := defaultRoutes(h, l)
			if err != nil {
				s.t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s defaults=%d", line, defaults))
		}
		h.Close()
	}
	s.differ("workloads", got, want)
}

// defaultRoutes counts those through an interface, which has one of each family.
func defaultRoutes(h *netlink.Handle, l netlink.Link) (n int, err error) {
	routes, err := h.RouteList(l, netlink.FAMILY_ALL)
	for _, r := range routes {
		if r.Dst == nil {
			n++
		} else if bits, _ := r.Dst.Mask.Size(); bits == 0 {
			n++
		}
	}
	return n, err
}

// written says which of the agent's tables compares what of the packet path's
// maps, by the names in [datapath.Kernel]; with a minus what writes the others.
var written = map[string]string{
	"ports": "Ports", "sub_ports": "SubPorts", "port_addresses": "PortAddresses", "port_prefixes4": "PortPrefixes", "port_prefixes6": "PortPrefixes",
	"limits": "Limits", "next_hops": "NextHops", "groups": "Groups", "host_routes": "Routes", "routes4": "Routes", "routes6": "Routes",
	"services": "Services", "aliases": "Aliases", "macs": "MACs", "floods": "Floods", "receivers": "Receivers", "vnis": "VNIs", "tunnel_sources": "TunnelSources",
	"port_policies": "PortPolicies", "rulesets": "Rulesets", "remote_classes": "RemoteClasses", "remote_ranges4": "RemoteRanges", "remote_ranges6": "RemoteRanges",
	"listeners": "Listeners", "choices": "Choices", "choice_members": "Choices", "pool_members": "PoolMembers", "mappings": "Mappings", "floats": "Floats",
	"service_classes": "ServiceClasses", "service_pages": "ServicePages", "verdicts": "Verdicts", "managed4": "Managed", "managed6": "Managed",

	"mirrors": unfilled, "mirror_counts": unfilled, "mirror_targets": unfilled, "mirror_target_counts": unfilled,

	"config": "-the underlay's follower, from no row", "tunnel_addresses": "-the underlay's follower, from no row",
	"generations": "-a number that rises with every change", "counters": "-frames; a place belongs to a port",
	"event_control": "-who looks at events",
	"limit_states":  byInterface, "drops": byInterface, "error_times": byInterface, "request_times": byInterface, "service_times": byInterface,
	"flood_times": byInterface, "answer_times": byInterface, "log_times": "-frames; a place belongs to a port",
	"connections": frames, "half_open": frames, "half_open_rest": frames, "half_open_counts": frames, "half_open_returned": frames, "half_open_share": frames,
	"fragments": frames, "affinities": frames, "host_flows": frames, "requests": frames, "learned_macs": frames, "mac_counts": frames,
	"events": frames, "event_times": frames, "event_counts": frames, "rule_hits": frames, "places": frames, "place_counts": frames, "places_returned": frames,
}

const (
	frames      = "-frames"
	byInterface = "-frames, under the interface of a port"
	unfilled    = "-nobody yet: no row is of mirrors"
)

// columns are the fields of the agent's tables that have rows, by name.
func columns(k datapath.Kernel) map[string]reflect.Value {
	all := map[string]reflect.Value{}
	for _, v := range []reflect.Value{reflect.ValueOf(k), reflect.ValueOf(k.PolicyTables), reflect.ValueOf(k.BalanceTables)} {
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Interface {
				all[v.Type().Field(i).Name] = f
			}
		}
	}
	return all
}

// meanings is what numbers mean that are given out as needed: those of next hops,
// choices and places of receivers.
type meanings struct {
	hops    map[uint32]vrouter.NextHop
	groups  map[uint32]vrouter.Group
	choices map[uint32]vrouter.Choice
	floods  map[uint32]vrouter.Flood
}

func (m meanings) hop(id uint32) string {
	h, there := m.hops[id]
	h.Group = "" // it is not in a kernel
	text := fmt.Sprintf("%t %+v", there, h)
	g, group := m.groups[id]
	if !group {
		return text
	}
	text += fmt.Sprint(" group ", g.Fields, g.All, g.Local)
	for _, member := range g.Members {
		to := m.hops[member.NextHop]
		member.NextHop = 0
		text += fmt.Sprintf(" member %+v %+v", to, member)
	}
	return text
}

func (m meanings) choice(id uint32) string {
	c, there := m.choices[id]
	for n := len(c.Buckets); n > 0 && c.Buckets[n-1] == maglev.None; n-- { // a kernel has whole pages
		c.Buckets = c.Buckets[:n-1]
	}
	return fmt.Sprintf("%t %+v", there, c)
}

// line is a row with what its numbers mean.
func (m meanings) line(key, value any) string {
	switch v := value.(type) {
	case vrouter.NextHop, vrouter.Group:
		return m.hop(key.(uint32))
	case vrouter.Choice:
		return m.choice(key.(uint32))
	case vrouter.Listener:
		to := v.Choice
		v.Choice = 0
		value = fmt.Sprintf("%+v %s", v, m.choice(to))
	case vrouter.PoolMember:
		to := v.NextHop
		v.NextHop = 0
		value = fmt.Sprintf("%+v %s", v, m.hop(to))
	case vrouter.Route:
		to := v.NextHop
		v.NextHop = 0
		value = fmt.Sprintf("%+v %s", v, m.hop(to))
	case vrouter.Flood:
		value = v.LeftOut
	}
	switch at := key.(type) {
	case vrouter.MACKey:
		value = m.hop(value.(uint32))
	case vrouter.Receiver: // beyond the list nobody looks
		key, value = fmt.Sprint(at.VRF, at.Place < m.floods[at.VRF].Places), m.hop(value.(uint32))
	}
	return fmt.Sprintf("%+v: %+v", key, value)
}

// tables is the lines of each table.
type tables map[string][]string

func read(k datapath.Kernel) (tables, error) {
	var m meanings
	var bad [4]error
	m.hops, bad[0] = k.NextHops.All()
	m.groups, bad[1] = k.Groups.All()
	m.choices, bad[2] = k.Choices.All()
	m.floods, bad[3] = k.Floods.All()
	if err := errors.Join(bad[:]...); err != nil {
		return nil, err
	}
	all := tables{}
	for name, column := range columns(k) {
		answer := column.MethodByName("All").Call(nil)
		if err, failed := answer[1].Interface().(error); failed {
			return nil, err
		}
		all[name] = []string{}
		for rows := answer[0].MapRange(); rows.Next(); {
			all[name] = append(all[name], m.line(rows.Key().Interface(), rows.Value().Interface()))
		}
	}
	return all, nil
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
	c := host.NewCore(desired.New(), stormUnderlay, stormLocal, p)
	c.Start()
	if err := c.Apply(s.difference(nil)); err != nil {
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
	got, err := read(datapath.KernelOf(s.path))
	if err != nil {
		s.t.Fatal(err)
	}
	for name := range want {
		s.differ("table "+name, got[name], want[name])
		if len(want[name]) == 0 && name != "Gaps" { // in the end every route finds room
			s.t.Errorf("table %s has no rows: compare something", name)
		}
	}
	if len(c.Rows().Ports) == 0 || len(attached) == 0 {
		s.t.Errorf("%d ports and %d interfaces: compare something", len(c.Rows().Ports), len(attached))
	}
	s.checkRows(c.Rows())
	s.checkMaps(columns(fresh.Kernel()))
}

// checkRows compares what the agent knows and needs no table for, as names, with
// what a new one does, and wants rows of every kind.
func (s *storm) checkRows(want desired.Rows) {
	s.t.Helper()
	w := reflect.ValueOf(want)
	var kinds []string
	for i := range w.NumField() {
		f := w.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if f.Name == "Holds" || f.Name == "Bad" || f.Name == "Unknown" { // a hold is over in the end
			if w.Field(i).Len() > 0 {
				s.t.Errorf("rows %s: %v", f.Name, w.Field(i))
			}
			continue
		}
		kinds = append(kinds, f.Name)
		if w.Field(i).Len() == 0 {
			s.t.Errorf("there are no rows %s: add some", f.Name)
		}
	}
	if err := s.agent.loop.Do(s.t.Context(), func(c *host.Core) {
		g := reflect.ValueOf(c.Rows())
		for _, kind := range kinds {
			if !reflect.DeepEqual(g.FieldByName(kind).Interface(), w.FieldByName(kind).Interface()) {
				s.t.Errorf("rows %s are not what a new agent has", kind)
			}
		}
	}); err != nil {
		s.t.Error(err)
	}
}

// checkMaps wants every map of the packet path to be compared, or to be another's,
// and nothing of an interface that is gone in those that frames write by interface.
func (s *storm) checkMaps(compared map[string]reflect.Value) {
	s.t.Helper()
	uses, err := s.path.Capacity()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.path.ForgetGone(); err != nil { // as the agent does every few seconds
		s.t.Fatal(err)
	}
	ports, err := s.path.Ports.All()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, u := range uses {
		by, listed := written[u.Table]
		if _, is := compared[by]; !listed || !is && !strings.HasPrefix(by, "-") {
			s.t.Errorf("map %s is compared with nothing: say who writes it", u.Table)
		}
		if by == byInterface {
			s.checkInterfaces(u.Table, ports)
		}
	}
}

func (s *storm) checkInterfaces(table string, ports map[int]vrouter.Port) {
	s.t.Helper()
	pins, err := filepath.Glob(filepath.Join(s.dirs.BPF, "*", table))
	if err != nil || len(pins) != 1 {
		s.t.Fatalf("pins of map %s: %v, %v", table, pins, err)
	}
	m, err := ebpf.LoadPinnedMap(pins[0], nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer m.Close()
	for key, err := m.NextKeyBytes(nil); key != nil; key, err = m.NextKeyBytes(key) {
		if err != nil {
			s.t.Fatal(err)
		}
		ifindex := int(binary.NativeEndian.Uint32(key))
		if _, is := ports[ifindex]; !is && ifindex != s.tunnel && ifindex != vrouter.AnyInterface {
			s.t.Errorf("map %s has %x, of an interface that is no port", table, key)
		}
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
