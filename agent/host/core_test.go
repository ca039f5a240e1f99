// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// seeded returns a random source and prints its seed.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

const (
	vrfs, ports, hosts = 3, 6, 3
)

func portID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
func hostID(n int) string { return fmt.Sprintf("host-%d", n) }

// randomRows returns any set of rows that a controller might want, complete or not.
func randomRows(r *rand.Rand) map[string]*hoststream.Row {
	rows := map[string]*hoststream.Row{}
	for v := range vrfs {
		if r.IntN(3) > 0 {
			rows[desired.VRFRow(uint32(v+1))] = &hoststream.Row{Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: uint32(v + 1), Vni: uint32(v + 1), SourcesListed: r.IntN(3) > 0}}}
			randomBridging(r, rows[desired.VRFRow(uint32(v+1))].GetVrf())
		}
	}
	for h := range hosts {
		if r.IntN(4) > 0 {
			rows[desired.EndpointRow(hostID(h))] = &hoststream.Row{Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: &hoststream.TunnelEndpoint{
				Host: hostID(h), Addresses: [][]byte{{192, 0, 2, byte(10*h + r.IntN(2))}},
			}}}
		}
	}
	for range r.IntN(6) {
		key := desired.SourceKey{VNI: uint32(1 + r.IntN(vrfs)), Host: hostID(r.IntN(hosts))}
		rows[desired.SourceRow(key)] = &hoststream.Row{Body: &hoststream.Row_TunnelSource{TunnelSource: &hoststream.TunnelSource{Vni: key.VNI, Host: key.Host}}}
	}
	for p := range ports {
		if r.IntN(3) > 0 {
			rows[desired.PortRow(portID(p))] = &hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{
				Port: portID(p), PortName: "d:p:" + fmt.Sprint(p), Vrf: uint32(1 + r.IntN(vrfs)), Mac: []byte{2, 0, 0, 0, 0, byte(p)},
				Addresses: []*hoststream.PortAddress{{Ip: []byte{10, 0, 0, byte(r.IntN(4))}, PrefixLength: 24}},
			}}}
			randomPrefixes(r, rows[desired.PortRow(portID(p))].GetPort())
			randomTrunk(r, rows[desired.PortRow(portID(p))].GetPort())
		}
	}
	randomMACs(r, rows)
	for range r.IntN(20) {
		m := &hoststream.Route{Vrf: uint32(1 + r.IntN(vrfs)), PrefixAddress: []byte{10, 0, 0, byte(r.IntN(8))}, PrefixLength: 32, Mac: make([]byte, 6), Routed: r.IntN(2) == 0}
		switch r.IntN(3) {
		case 0:
			m.NextHop = &hoststream.Route_Port{Port: portID(r.IntN(ports))}
		case 1:
			m.NextHop = &hoststream.Route_Remote{Remote: &hoststream.Remote{Host: hostID(r.IntN(hosts)), Vni: m.Vrf}}
			m.Mtu = uint32(r.IntN(2) * 1400)
		case 2:
			m.NextHop = &hoststream.Route_Gateway{Gateway: &hoststream.Gateway{}}
		}
		randomEquals(r, m)
		key := desired.RouteRow(desired.RouteKey{VRF: m.Vrf, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte(m.PrefixAddress)), 32)})
		rows[key] = &hoststream.Row{Body: &hoststream.Row_Route{Route: m}}
	}
	randomPolicy(r, rows)
	return rows
}

// delta is the difference from what a table has to some rows.
func delta(has map[string]string, rows map[string]*hoststream.Row, revision int64, inSync bool) *hoststream.Delta {
	d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: revision}, Sequence: uint64(revision), InSync: inSync}
	for k, r := range rows {
		body, _ := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if has[k] != string(body) {
			d.Put = append(d.Put, &hoststream.EncodedRow{Key: k, Body: body})
			has[k] = string(body)
		}
	}
	for k := range has {
		if _, ok := rows[k]; !ok {
			d.Delete = append(d.Delete, k)
			delete(has, k)
		}
	}
	return d
}

// show prints the kernel's tables without the ids, which depend on history.
func show(m *datapath.MemoryKernel) string {
	var lines []string
	for k, v := range m.VNIs.Rows {
		lines = append(lines, fmt.Sprintf("vni %d: %+v", k, v))
	}
	for k := range m.TunnelSources.Rows {
		lines = append(lines, fmt.Sprintf("source %d %v", k.VNI, k.Address))
	}
	for k := range m.PortAddresses.Rows {
		lines = append(lines, fmt.Sprintf("address %d %v", k.Ifindex, k.Address))
	}
	for k, v := range m.PortPrefixes.Rows {
		lines = append(lines, fmt.Sprintf("prefix %+v: %+v", k, v))
	}
	for k, v := range m.Ports.Rows {
		lines = append(lines, fmt.Sprintf("port %d: %+v", k, v))
	}
	hops := map[vrouter.NextHop]bool{}
	for _, v := range m.NextHops.Rows {
		hops[v] = true
	}
	lines = append(append(lines, showGroups(m)...), showSubPorts(m)...)
	for v := range hops {
		lines = append(lines, fmt.Sprintf("next hop %+v", v))
	}
	for k, v := range m.Routes.Rows {
		lines = append(lines, fmt.Sprintf("route %v: %+v %v %v %d %d", k, m.NextHops.Rows[v.NextHop], v.MAC, v.Routed, v.MTU, v.Identity))
	}
	lines = append(append(lines, showBridging(m)...), showPolicy(m)...)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// guard fails the test when a change is made in an order that a frame could
// notice. ids are those given in this run.
func guard(t *testing.T, m *datapath.MemoryKernel, ids map[uint32]vrouter.NextHop) {
	m.Routes.Check = func(k vrouter.RouteKey, v vrouter.Route, deleted bool) {
		if _, ok := m.NextHops.Rows[v.NextHop]; !ok && !deleted {
			t.Fatalf("route %v leads to next hop %d, which is not there", k, v.NextHop)
		}
	}
	m.Groups.Check = func(id uint32, g vrouter.Group, deleted bool) {
		if _, ok := m.NextHops.Rows[id]; ok && deleted {
			t.Fatalf("group %d is removed and is still a next hop", id)
		}
		for _, member := range g.Members {
			if _, ok := m.NextHops.Rows[member.NextHop]; !ok {
				t.Fatalf("group %d has next hop %d, which is not there", id, member.NextHop)
			}
		}
	}
	m.NextHops.Check = func(id uint32, v vrouter.NextHop, deleted bool) {
		if _, ok := m.Groups.Rows[id]; v.Kind == vrouter.NextHopGroup && !ok {
			t.Fatalf("group %d is not there", id)
		}
		if deleted {
			for group, g := range m.Groups.Rows {
				if slices.ContainsFunc(g.Members, func(member vrouter.GroupMember) bool { return member.NextHop == id }) {
					t.Fatalf("next hop %d is removed under group %d", id, group)
				}
			}
			for k, r := range m.Routes.Rows {
				if r.NextHop == id {
					t.Fatalf("next hop %d is removed under route %v", id, k)
				}
			}
			if k := userOf(m, id); k != nil {
				t.Fatalf("next hop %d is removed under %+v", id, k)
			}
			return
		}
		if old, used := ids[id]; used && old != v {
			t.Fatalf("id %d was next hop %+v and becomes %+v", id, old, v)
		}
		ids[id] = v
	}
	guardBridging(t, m)
	m.Ports.Check = func(ifindex int, _ vrouter.Port, deleted bool) {
		n := 0
		for a := range m.PortAddresses.Rows {
			if a.Ifindex == ifindex {
				n++
			}
		}
		for s, to := range m.SubPorts.Rows {
			if to == ifindex && deleted {
				t.Fatalf("port on interface %d is removed under sub-port %v", ifindex, s)
			}
		}
		if n != 1 && !deleted {
			t.Fatalf("port on interface %d may send with %d addresses known, want its one", ifindex, n)
		}
	}
	guardPrefixes(t, m)
	guardSubPorts(t, m)
	guardPolicy(t, m)
	m.PortAddresses.Check = func(a vrouter.PortAddress, _ struct{}, deleted bool) {}
}

var underlay = datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1500}

// boot is an agent that starts over what is in the kernel and in the file.
func boot(t *testing.T, m *datapath.MemoryKernel, want *desired.Table, plugs map[string]host.Plug) *host.Core {
	t.Helper()
	p := datapath.NewProgrammer(m.Kernel())
	if err := p.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := host.NewCore(want, underlay, datapath.Local{Balances: true}, p)
	for id, plug := range plugs {
		c.SetPlug(id, plug)
	}
	c.Start()
	return c
}

func settle(t *testing.T, c *host.Core, now *time.Time) {
	t.Helper()
	for range 100000 {
		more := c.Round(t.Context(), *now)
		next, ok := c.NextAttempt()
		if !more && !ok {
			return
		}
		if ok && next.After(*now) {
			*now = next
		}
	}
	t.Fatal("does not settle")
}

// Deltas, plugs, unplugs, failing tables and restarts in any order end in the
// tables that a new host makes of the last rows and plugs.
func TestAnyOrderEndsTheSame(t *testing.T) {
	r := seeded(t)
	for range 150 {
		m := datapath.NewMemoryKernel(r)
		guard(t, m, map[uint32]vrouter.NextHop{})
		want, has, plugs := desired.New(), map[string]string{}, map[string]host.Plug{}
		c := boot(t, m, want, plugs)
		now, revision, ifindex := time.Unix(0, 0), int64(0), 10
		rows := map[string]*hoststream.Row{}
		for range 30 {
			switch id := portID(r.IntN(ports)); r.IntN(6) {
			case 0, 1:
				revision++
				rows = randomRows(r)
				if err := c.Apply(delta(has, rows, revision, true)); err != nil {
					t.Fatal(err)
				}
			case 2:
				ifindex += r.IntN(2) // sometimes the number of an interface that just went
				for other, p := range plugs {
					if p.Ifindex == ifindex {
						delete(plugs, other)
						c.DropPlug(other)
					}
				}
				plugs[id] = host.Plug{Interface: "i", Attachment: datapath.Attachment{Ifindex: ifindex}}
				c.SetPlug(id, plugs[id])
			case 3:
				delete(plugs, id)
				c.DropPlug(id)
			case 4:
				path := filepath.Join(t.TempDir(), "desired")
				want = reopen(t, c, path)
				guard(t, m, map[uint32]vrouter.NextHop{})
				c = boot(t, m, want, plugs)
			case 5:
				now = now.Add(time.Duration(r.IntN(300)) * time.Millisecond)
			}
			c.Round(t.Context(), now)
		}
		revision++
		if err := c.Apply(delta(has, rows, revision, true)); err != nil {
			t.Fatal(err)
		}
		settle(t, c, &now)

		fresh, freshWant := datapath.NewMemoryKernel(nil), desired.New()
		f := boot(t, fresh, freshWant, plugs)
		if err := f.Apply(delta(map[string]string{}, rows, 1, true)); err != nil {
			t.Fatal(err)
		}
		settle(t, f, &now)
		if got, want := show(m), show(fresh); got != want {
			t.Fatalf("tables are\n%s\nof a new host\n%s", got, want)
		}
		if got, want := c.Problems(), f.Problems(); !maps.Equal(got, want) {
			t.Fatalf("problems %v, of a new host %v", got, want)
		}
	}
}

func reopen(t *testing.T, c *host.Core, path string) *desired.Table {
	t.Helper()
	data, err := c.Encode()
	if err == nil {
		err = desired.WriteFile(path, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := desired.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

func row(id string, address byte) *hoststream.Row {
	return &hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{
		Port: id, Vrf: 1, Mac: make([]byte, 6), Addresses: []*hoststream.PortAddress{{Ip: []byte{10, 0, 0, address}, PrefixLength: 24}},
	}}}
}

// Before the plugs of the last run are known nothing is touched, and before the
// first full sync nothing is removed that was not removed by name.
func TestNothingGoesTooEarly(t *testing.T) {
	m := datapath.NewMemoryKernel(nil)
	m.VNIs.Rows[5] = vrouter.VNI{VRF: 5}
	m.Ports.Rows[3] = vrouter.Port{VRF: 5}
	p := datapath.NewProgrammer(m.Kernel())
	if err := p.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := host.NewCore(desired.New(), underlay, datapath.Local{}, p)
	now := time.Unix(0, 0)
	if err := c.Apply(delta(map[string]string{}, map[string]*hoststream.Row{"port/" + portID(1): row(portID(1), 1)}, 1, false)); err != nil {
		t.Fatal(err)
	}
	c.SetPlug(portID(1), host.Plug{Attachment: datapath.Attachment{Ifindex: 9}})
	c.Round(t.Context(), now)
	if len(m.Ports.Rows) != 1 || c.Tried() {
		t.Fatalf("touched before the start: %v", m.Ports.Rows)
	}
	c.Start()
	settle(t, c, &now)
	if len(m.Ports.Rows) != 2 || len(m.VNIs.Rows) != 1 {
		t.Fatalf("swept before the first full sync:\n%s", show(m))
	}
	if err := c.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: 2}, Sequence: 2, InSync: true}); err != nil {
		t.Fatal(err)
	}
	settle(t, c, &now)
	if _, there := m.Ports.Rows[3]; there || len(m.VNIs.Rows) != 0 || len(m.Ports.Rows) != 1 {
		t.Fatalf("not swept after the first full sync:\n%s", show(m))
	}
}

// An older version is refused and changes nothing; a higher epoch is newer.
func TestVersionsOnlyRise(t *testing.T) {
	c := boot(t, datapath.NewMemoryKernel(nil), desired.New(), nil)
	apply := func(epoch uint64, revision int64) error {
		return c.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: epoch, Revision: revision}, Sequence: 1,
			Put: []*hoststream.EncodedRow{{Key: fmt.Sprint("vrf/", revision)}}})
	}
	for _, v := range []struct {
		epoch    uint64
		revision int64
		old      bool
	}{{1, 5, false}, {1, 5, false}, {1, 4, true}, {2, 3, false}, {1, 9, true}} {
		if err := apply(v.epoch, v.revision); errors.Is(err, desired.ErrOlder) != v.old {
			t.Errorf("version %d.%d: %v", v.epoch, v.revision, err)
		}
	}
	if v := c.Open("", "").Version; v.Epoch != 2 || v.Revision != 3 {
		t.Errorf("hello says %v", v)
	}
}

// The acknowledgement names the rows that are not in the kernel, and again
// without them when they are; the report follows the port's life.
func TestAckAndReport(t *testing.T) {
	m := datapath.NewMemoryKernel(nil)
	c := boot(t, m, desired.New(), nil)
	now := time.Unix(0, 0)
	rows := map[string]*hoststream.Row{
		"port/" + portID(1): row(portID(1), 1),
		"vrf/9":             {Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 8}}}, // not what its key says
	}
	if c.Ack() != nil {
		t.Error("an acknowledgement of nothing")
	}
	if err := c.Apply(delta(map[string]string{}, rows, 1, true)); err != nil {
		t.Fatal(err)
	}
	c.Round(t.Context(), now)
	if got := c.Ack().Errors; len(got) != 1 || got[0].Key != "vrf/9" {
		t.Errorf("errors %v", got)
	}
	state := func(want api.PortState) {
		t.Helper()
		if got := c.Report().Ports; len(got) != 1 || got[0].State != string(want) {
			t.Errorf("report %v, want %s", got, want)
		}
	}
	state(api.PortWaiting)
	c.SetPlug(portID(1), host.Plug{Failure: "no such namespace"})
	state(api.PortFailed)
	c.SetPlug(portID(1), host.Plug{Interface: "wf1", Attachment: datapath.Attachment{Ifindex: 4}})
	state(api.PortFailed) // not programmed yet
	c.Round(t.Context(), now)
	state(api.PortUp)
	if _, there := m.Ports.Rows[4]; !there {
		t.Error("reported up and not in the kernel")
	}
	c.DropPlug(portID(1))
	c.Round(t.Context(), now)
	state(api.PortWaiting)
	if !c.Free(4) || len(m.Ports.Rows)+len(m.PortAddresses.Rows) != 0 {
		t.Errorf("left after unplug:\n%s", show(m))
	}
}

// sourceRows is one network with a number of hosts that may send; listed is
// what the VRF's row of a newer controller says.
func sourceRows(senders int, listed bool) map[string]*hoststream.Row {
	rows := map[string]*hoststream.Row{
		"vrf/1": {Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 1, Vni: 1, SourcesListed: listed}}},
	}
	for n := range senders {
		address := [][]byte{{192, 0, byte(n >> 8), byte(n)}}
		rows[desired.EndpointRow(hostID(n))] = &hoststream.Row{Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: &hoststream.TunnelEndpoint{Host: hostID(n), Addresses: address}}}
		if listed {
			key := desired.SourceKey{VNI: 1, Host: hostID(n)}
			rows[desired.SourceRow(key)] = &hoststream.Row{Body: &hoststream.Row_TunnelSource{TunnelSource: &hoststream.TunnelSource{Vni: 1, Host: key.Host}}}
		}
	}
	return rows
}

// From an older controller to a newer one and back, with a failing table and
// restarts: at no moment does the kernel refuse a host that may send.
func TestSourcesPrecedeTheirCheck(t *testing.T) {
	const senders = 12
	r := seeded(t)
	for range 30 {
		m := datapath.NewMemoryKernel(r)
		complete := func() {
			if m.VNIs.Rows[1].CheckSources && len(m.TunnelSources.Rows) != senders {
				t.Fatalf("VNI is checked with %d of %d sources", len(m.TunnelSources.Rows), senders)
			}
		}
		m.VNIs.Rows[1] = vrouter.VNI{VRF: 1} // as an agent before the upgrade left it
		want, has, now := desired.New(), map[string]string{}, time.Unix(0, 0)
		c := boot(t, m, want, nil)
		for revision := range int64(6) {
			if err := c.Apply(delta(has, sourceRows(senders, revision%2 == 1), 1+revision, true)); err != nil {
				t.Fatal(err)
			}
			for range r.IntN(20) {
				c.Round(t.Context(), now)
				complete()
				now = now.Add(time.Duration(r.IntN(500)) * time.Millisecond)
			}
			if r.IntN(2) == 0 {
				c = boot(t, m, reopen(t, c, filepath.Join(t.TempDir(), "desired")), nil)
			}
			settle(t, c, &now)
			complete()
			if got := m.VNIs.Rows[1].CheckSources; got != (revision%2 == 1) {
				t.Fatalf("checked is %t after revision %d", got, revision)
			}
		}
	}
}

// A sender that comes or goes is one change of the table; the others are not
// touched.
func TestSendersAreOneRowEach(t *testing.T) {
	m := datapath.NewMemoryKernel(nil)
	c := boot(t, m, desired.New(), nil)
	has, now := map[string]string{}, time.Unix(0, 0)
	for revision, senders := range []int{30, 31, 30} {
		changes := 0
		m.TunnelSources.Check = func(vrouter.TunnelSource, struct{}, bool) { changes++ }
		d := delta(has, sourceRows(senders, true), int64(revision+1), true)
		if err := c.Apply(d); err != nil {
			t.Fatal(err)
		}
		settle(t, c, &now)
		if rows := len(d.Put) + len(d.Delete); revision > 0 && (changes != 1 || rows != 2) {
			t.Errorf("from %d senders: %d changes of the table and %d rows, want 1 and 2", senders, changes, rows)
		}
	}
}
