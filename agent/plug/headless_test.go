// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

const networkName = "d:p:blue"

func encoded(t *testing.T, key string, body *hoststream.Row) *hoststream.EncodedRow {
	t.Helper()
	data, err := proto.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return &hoststream.EncodedRow{Key: key, Body: data}
}

func reservedID(n, family int) string { return fmt.Sprintf("r%d-v%d", n, family) }

func reservedIPs(n int) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + n)}), netip.MustParseAddr(fmt.Sprintf("fd00::%x", 100+n))}
}

func reservedMAC(n int) []byte { return []byte{2, 0, 0, 0, 1, byte(n)} }

// reserve delivers the network and reserved addresses of both families for
// these numbers, and rows beside them; other reservations go.
func (w *world) reserve(revision int64, numbers []int, more ...*hoststream.EncodedRow) {
	w.t.Helper()
	d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: revision}, Sequence: uint64(revision), InSync: true}
	d.Put = append(d.Put, encoded(w.t, "vrf/5", &hoststream.Row{Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 5, Vni: 5, Network: "n", NetworkName: networkName}}}))
	d.Put = append(d.Put, more...)
	for n := range 10 {
		for i, ip := range reservedIPs(n) {
			id := reservedID(n, 4+2*i)
			if !slices.Contains(numbers, n) {
				d.Delete = append(d.Delete, "reservation/"+id)
				continue
			}
			d.Put = append(d.Put, encoded(w.t, "reservation/"+id, &hoststream.Row{Body: &hoststream.Row_Reservation{Reservation: &hoststream.Reservation{
				Address: id, Vrf: 5, Network: "n", NetworkName: networkName, Mac: reservedMAC(n),
				Ip: &hoststream.PortAddress{Ip: ip.AsSlice(), PrefixLength: []uint32{24, 64}[i]},
			}}}))
		}
	}
	if _, err := w.loop.Apply(w.t.Context(), d); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) connected(is bool) {
	w.t.Helper()
	if err := w.loop.Do(w.t.Context(), func(c *host.Core) { c.SetConnected(is) }); err != nil {
		w.t.Fatal(err)
	}
}

// taken is what the host reports to have given away, by the name of the plug.
func (w *world) taken() map[string][]string {
	w.t.Helper()
	all := map[string][]string{}
	_, report, err := w.loop.Latest(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, t := range report.Taken {
		all[t.Name] = append(all[t.Name], t.Address)
	}
	return all
}

func (w *world) plugNew(name string) (plug.Answer, error) {
	w.SetHeadlessAfter(20 * time.Millisecond)
	return w.Plug(w.t.Context(), plug.Request{Port: name, Network: networkName, Place: link.Place{Netns: "/run/netns/" + name}, TimeoutSeconds: 1})
}

func code(err error) api.Code {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Without a controller a new workload gets a reserved address of each family,
// and no two the same one; after a restart that still holds. With a controller
// nobody does.
func TestReservedAddressesWithoutController(t *testing.T) {
	l, kernel, dir := newLinks(), datapath.NewMemoryKernel(nil), t.TempDir()
	w := start(t, l, kernel, dir)
	w.reserve(1, []int{1, 2})
	if _, err := w.plugNew("early"); code(err) != api.CodeNotFound {
		t.Errorf("a new port with a controller: %v", err)
	}
	w.connected(false)
	a, err := w.plugNew("a")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"10.0.0.101/24", "fd00::65/64"}; !slices.Equal(a.Addresses, want) || a.MAC != "02:00:00:00:01:01" || a.VRF != 5 || !api.IsUUID(a.Port) {
		t.Errorf("it got %+v", a)
	}
	again, err := w.plugNew("a")
	if err != nil || again.Port != a.Port {
		t.Errorf("plugged again: %+v %v", again, err)
	}
	if _, err := w.plugNew("b"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.plugNew("c"); code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "hostReserve") {
		t.Errorf("one more than is reserved: %v", err)
	}
	if got := w.taken(); len(got) != 2 || !slices.Equal(got["a"], []string{"r1-v4", "r1-v6"}) || !slices.Equal(got["b"], []string{"r2-v4", "r2-v6"}) {
		t.Errorf("reported as taken: %v", got)
	}
	w.stop()

	w = start(t, l, kernel, dir) // the file of rows is lost too
	w.reserve(1, []int{1, 2, 3})
	w.connected(false)
	c, err := w.plugNew("c")
	if err != nil || c.Addresses[0] != "10.0.0.103/24" {
		t.Errorf("after a restart: %+v %v", c, err)
	}
	if got := w.taken(); len(got) != 3 {
		t.Errorf("reported as taken: %v", got)
	}
	// Who gives back what was never made a port lets others have it.
	if err := w.Unplug(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if d, err := w.plugNew("d"); err != nil || d.Addresses[0] != "10.0.0.102/24" {
		t.Errorf("after one was given back: %+v %v", d, err)
	}
}

// When the port is made, with the addresses, the workload goes on as it was.
func TestTakenBecomesPort(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir())
	w.reserve(1, []int{1, 2})
	w.connected(false)
	a, err := w.plugNew("a")
	if err != nil {
		t.Fatal(err)
	}
	before, routes := tablesOf(t, w)
	w.connected(true)
	port := &hoststream.Port{Port: a.Port, PortName: "d:p:a", Vrf: 5, Mac: reservedMAC(1)}
	rows := []*hoststream.EncodedRow{}
	for i, ip := range reservedIPs(1) {
		port.Addresses = append(port.Addresses, &hoststream.PortAddress{Ip: ip.AsSlice(), PrefixLength: []uint32{24, 64}[i]})
		rows = append(rows, encoded(t, fmt.Sprintf("route/5/%v/%d", ip, ip.BitLen()), &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{
			Vrf: 5, PrefixAddress: ip.AsSlice(), PrefixLength: uint32(ip.BitLen()), Mac: reservedMAC(1), NextHop: &hoststream.Route_Port{Port: a.Port},
		}}}))
	}
	rows = append([]*hoststream.EncodedRow{encoded(t, "port/"+a.Port, &hoststream.Row{Body: &hoststream.Row_Port{Port: port}})}, rows...)
	w.reserve(2, []int{2}, rows...)
	if got := w.taken(); len(got) != 0 {
		t.Errorf("still reported as taken: %v", got)
	}
	after, routesAfter := tablesOf(t, w)
	if before != after || routes != routesAfter || routes == 0 {
		t.Errorf("the kernel had\n%s and %d routes, now\n%s and %d", before, routes, after, routesAfter)
	}
	// A reservation that was deleted by hand stops its workload.
	w.connected(false)
	b, err := w.plugNew("b")
	if err != nil {
		t.Fatal(err)
	}
	w.reserve(3, nil)
	list, err := w.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.Port == b.Port && p.State != "unbound" {
			t.Errorf("a workload whose reservation was deleted: %+v", p)
		}
	}
}

// tablesOf prints what the kernel has of ports, and counts its routes.
func tablesOf(t *testing.T, w *world) (string, int) {
	t.Helper()
	k := w.kernel.Kernel()
	ports, err := k.Ports.All()
	addresses, err2 := k.PortAddresses.All()
	routes, err3 := k.Routes.All()
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(ports, addresses), len(routes)
}
