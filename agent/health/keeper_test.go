// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api/hoststream"
)

const keptPort = "aaaaaaaa-0000-4000-8000-000000000000"

// well answers every try.
type well struct{}

func (well) Try(context.Context, Wanted) Outcome          { return Outcome{Good: true} }
func (well) Watch(context.Context, Wanted, func(Outcome)) {}

func encoded(t *testing.T, key string, row *hoststream.Row) *hoststream.EncodedRow {
	t.Helper()
	body, err := proto.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	return &hoststream.EncodedRow{Key: key, Body: body}
}

// An agent that starts tries nobody before it knows the plugs of its last run:
// it would find all workloads unplugged.
func TestNobodyIsTriedBeforePlugsAreKnown(t *testing.T) {
	const interval = 50 * time.Millisecond
	address, gateway := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")
	want := desired.New()
	err := want.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: 1}, Sequence: 1, InSync: true, Put: []*hoststream.EncodedRow{
		encoded(t, "port/"+keptPort, &hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{
			Port: keptPort, PortName: "d:p:a", Vrf: 5, Mac: make([]byte, 6), Addresses: []*hoststream.PortAddress{{Ip: address.AsSlice(), PrefixLength: 24, Gateway: gateway.AsSlice()}},
		}}}),
		encoded(t, desired.CheckRow("c"), &hoststream.Row{Body: &hoststream.Row_Check{Check: &hoststream.Check{
			Id: "c", Name: "d:p:c", Port: keptPort, Address: address.AsSlice(), Type: "ping", Interval: uint32(interval.Milliseconds()), Timeout: 1000, Rise: 1, Fall: 1,
		}}}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	core := host.NewCore(want, datapath.Underlay{MTU: 1500}, datapath.Local{}, datapath.NewProgrammer(datapath.NewMemoryKernel(nil).Kernel()))
	loop, ctx := host.NewLoop(core, func([]byte) error { return nil }, log), t.Context()
	ctx, end := context.WithCancel(ctx)
	ended := make(chan struct{}, 2)
	go func() { loop.Run(ctx); ended <- struct{}{} }()
	k := New(loop, well{}, log)
	go func() { k.Run(ctx); ended <- struct{}{} }()
	defer func() { end(); <-ended; <-ended }()

	<-time.After(4 * interval) // a try would have begun
	states := func(c *host.Core) string {
		text := ""
		for _, r := range c.Report().Checks {
			text += r.State + r.Message
		}
		return text
	}
	if err := loop.Do(ctx, func(c *host.Core) {
		if said := states(c); said != "" {
			t.Errorf("it says %s before plugs are known", said)
		}
		c.SetPlug(keptPort, host.Plug{Interface: "x", Attachment: datapath.Attachment{Ifindex: 1}})
		c.Start()
	}); err != nil {
		t.Fatal(err)
	}
	if err := loop.Wait(ctx, func(c *host.Core) bool { return states(c) == Up }); err != nil {
		t.Fatal(err)
	}
}
