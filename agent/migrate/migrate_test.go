// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
	"google.golang.org/protobuf/proto"
)

const cameHere = "00000000-0000-4000-8000-000000000001"

// memory is a packet path.
type memory struct{ taken []vrouter.MovedConnection }

func (m *memory) ConnectionsOf(_ uint32, visit func(vrouter.MovedConnection)) error {
	for _, c := range m.taken {
		visit(c)
	}
	return nil
}

func (m *memory) TakeConnections(_ int, _ uint32, all []vrouter.MovedConnection) (int, error) {
	m.taken = append(m.taken, all...)
	return len(all), nil
}

// idle is a connection that was used last so long ago.
func idle(n int) vrouter.MovedConnection {
	local, remote := netip.MustParseAddr("10.0.0.1"), netip.AddrFrom4([4]byte{10, 1, byte(n >> 16), 1})
	return vrouter.MovedConnection{
		ConnectionKey: vrouter.ConnectionKey{Protocol: 17, Local: netip.AddrPortFrom(local, 80), Remote: netip.AddrPortFrom(remote, uint16(n))},
		Connection:    vrouter.Connection{Idle: time.Duration(n) * time.Millisecond, Age: time.Hour},
	}
}

// Of the connections that several former hosts tell, and of those of one, those used
// last are taken along; how many are not is told by one host to the next, and counted.
func TestConnectionsUsedLastAreTakenAlong(t *testing.T) {
	const beyond, untold = 1000, 7
	var rows [][]string
	for _, first := range []int{1, 0} { // two hosts, each in its own order
		for n := first; n < maxConnections+beyond; n += 2 {
			c := idle(n)
			rows = append(rows, rowOf(&c))
			if n%1000 == first { // and what a host knows of it that had the port before
				c.Idle += time.Hour
				rows = append(rows, rowOf(&c))
			}
		}
	}
	want, path := desired.New(), &memory{}
	body, err := proto.Marshal(&hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: cameHere, Vrf: 1, Mac: make([]byte, 6)}}})
	if err != nil {
		t.Fatal(err)
	}
	programmer := datapath.NewProgrammer(datapath.NewMemoryKernel(nil).Kernel())
	core := host.NewCore(want, datapath.Underlay{MTU: 1500}, datapath.Local{}, programmer)
	core.Start()
	loop := host.NewLoop(core, func([]byte) error { return nil }, slog.New(slog.DiscardHandler))
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { end(); <-ended })
	go func() { loop.Run(ctx); close(ended) }()
	m := New(path, loop, func(context.Context, string) ([][]string, int, error) { return rows, untold, nil }, slog.New(slog.DiscardHandler))
	if _, err := loop.Apply(ctx, &hoststream.Delta{Sequence: 1, Put: []*hoststream.EncodedRow{{Key: "port/" + cameHere, Body: body}}, InSync: true}); err != nil {
		t.Fatal(err)
	}
	if err := loop.Do(ctx, func(c *host.Core) {
		c.SetPlug(cameHere, host.Plug{Interface: "wf1", Attachment: datapath.Attachment{Ifindex: 4}})
	}); err != nil {
		t.Fatal(err)
	}
	if err := loop.Wait(ctx, func(c *host.Core) bool { return c.Tried() && c.Reachable(cameHere) == "" }); err != nil {
		t.Fatal(err)
	}
	m.fetch(ctx, cameHere)
	if len(path.taken) != maxConnections {
		t.Fatalf("%d connections are taken over, want %d", len(path.taken), maxConnections)
	}
	for n, c := range path.taken {
		if c.Idle != time.Duration(n)*time.Millisecond {
			t.Fatalf("connection %d has been idle for %v", n, c.Idle)
		}
	}
	if taken, left := testutil.ToFloat64(m.moved.WithLabelValues(takenOver)), testutil.ToFloat64(m.moved.WithLabelValues(leftBehind)); taken != maxConnections || left != beyond+untold {
		t.Errorf("counted are %v taken over and %v left behind", taken, left)
	}
	path.taken = append(path.taken, idle(maxConnections), idle(maxConnections+1))
	table, err := m.Table(ctx, "port="+cameHere)
	if err != nil || len(table.Rows) != maxConnections || table.LeftOut != 2 {
		t.Errorf("told are %d and %d are left out: %v", len(table.Rows), table.LeftOut, err)
	}
}

// A row says of a connection what its mapping is and who serves it; hosts of earlier
// releases say neither, and what is no MAC is refused.
func TestRowsOfMappedConnections(t *testing.T) {
	c := idle(7)
	c.Mapping, c.Itself, c.Member = 1<<63+5, 4000, vrouter.MAC{10, 1, 2, 3, 4, 5}
	row := rowOf(&c)
	if got, err := parse(row); err != nil || got != c {
		t.Errorf("read %+v, %v, want %+v", got, err, c)
	}
	c.Mapping, c.Itself, c.Member = 0, 0, vrouter.MAC{}
	if got, err := parse(row[:leastColumns]); err != nil || got != c {
		t.Errorf("of an earlier release: read %+v, %v, want %+v", got, err, c)
	}
	for _, bad := range []string{"", "0a", "no MAC at all", strings.Repeat("0a", 40)} {
		row[len(row)-1] = bad
		if got, err := parse(row); err == nil {
			t.Errorf("member %q: read %+v", bad, got)
		}
	}
}
