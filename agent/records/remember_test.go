// SPDX-License-Identifier: Apache-2.0

package records

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
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// emptyPath has no conversations and no frames.
type emptyPath struct{}

func (emptyPath) SetRecording(vrouter.Recording) error { return nil }
func (emptyPath) OpenEvents() (*vrouter.Events, error) { return nil, vrouter.ErrClosed }
func (emptyPath) EventCounts() (map[vrouter.EventKind]vrouter.EventCount, error) {
	return nil, nil
}
func (emptyPath) Counters() ([]vrouter.Counter, error)                              { return nil, nil }
func (emptyPath) Connections(func(vrouter.ConnectionKey, vrouter.Connection)) error { return nil }
func (emptyPath) ConnectionTimeout(uint8, vrouter.ConnectionState) time.Duration {
	return time.Minute
}

const portA = "aaaaaaaa-0000-4000-8000-000000000000"

// oneInterface is a loop over a host with port a at interface 1.
type oneInterface struct{ t *testing.T }

func (o oneInterface) Do(_ context.Context, call func(*host.Core)) error {
	want := desired.New()
	body, err := proto.Marshal(&hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: portA, PortName: "d:p:a", Vrf: 5, Mac: make([]byte, 6)}}})
	if err == nil {
		err = want.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: 1}, Sequence: 1, InSync: true, Put: []*hoststream.EncodedRow{{Key: "port/" + portA, Body: body}}})
	}
	if err != nil {
		o.t.Fatal(err)
	}
	core := host.NewCore(want, datapath.Underlay{}, datapath.Local{}, datapath.NewProgrammer(datapath.Kernel{}))
	core.SetPlug(portA, host.Plug{Interface: "x", Attachment: datapath.Attachment{Ifindex: 1}})
	call(core)
	return nil
}

// TestEndedAreRemembered: of conversations that ended, those of the asked time are
// told, but not those of a former port of the interface or that the host began; and
// since when the host remembers.
func TestEndedAreRemembered(t *testing.T) {
	r := New(emptyPath{}, oneInterface{t}, Options{Host: "h1", Interfaces: func() (map[int]string, error) { return nil, nil }}, slog.New(slog.DiscardHandler))
	ended := func(port uint16, of string, state vrouter.ConnectionState, idle time.Duration) {
		r.Ended(vrouter.ConnectionKey{Ifindex: 1, Protocol: 6, Local: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), Remote: netip.MustParseAddrPort("10.0.0.2:80")},
			vrouter.Connection{Port: datapath.PortNumber(of), State: state, Idle: idle, Age: idle})
	}
	ended(1, portA, closed, time.Minute)
	ended(2, portA, closed, time.Hour)
	ended(3, "11111111-0000-4000-8000-000000000009", closed, time.Minute)
	ended(4, portA, closed|vrouter.ConnectionUnasked, time.Minute)
	told := func(since time.Duration) (ports []uint16, remembers *time.Time) {
		table, err := r.Flows(t.Context(), api.RecordQuestion{Since: since}.Table("")[1:])
		if err != nil {
			t.Fatal(err)
		}
		all, err := api.ParseRecords(table)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			if one.Record == api.RecordLost {
				remembers = one.Start
				continue
			}
			if one.Record != api.RecordEnd || one.Source.ID != portA || one.Host != "h1" {
				t.Errorf("told %+v", one)
			}
			ports = append(ports, one.Source.Port)
		}
		return ports, remembers
	}
	if ports, remembers := told(15 * time.Minute); len(ports) != 1 || ports[0] != 1 || remembers == nil {
		t.Errorf("told ends with ports %v since %v, want that of port 1", ports, remembers)
	}
	if ports, _ := told(0); len(ports) != 0 {
		t.Errorf("told %v without being asked", ports)
	}
	before := time.Now()
	for range maxEnded {
		ended(9, portA, closed, time.Second)
	}
	if ports, remembers := told(15 * time.Minute); len(ports) != maxFlows || remembers.After(time.Now()) || before.Sub(*remembers) > time.Minute {
		t.Errorf("told %d ends since %v, want %d", len(ports), remembers, maxFlows)
	}
}

// TestPastEventsSayWhatIsMissing: who asks for drops of before is told since when
// they are recorded, and gets those of the time.
func TestPastEventsSayWhatIsMissing(t *testing.T) {
	r := New(emptyPath{}, oneInterface{t}, Options{Host: "h1"}, slog.New(slog.DiscardHandler))
	ask := func() []api.Record {
		table, err := r.Events(t.Context(), api.RecordQuestion{Since: time.Minute}.Table("")[1:])
		if err != nil {
			t.Fatal(err)
		}
		all, err := api.ParseRecords(table)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all := ask(); len(all) != 1 || all[0].Record != api.RecordLost || all[0].Start != nil {
		t.Errorf("nothing is recorded: %+v", all)
	}
	if err := r.set(vrouter.Recording{Drops: true}); err != nil {
		t.Fatal(err)
	}
	r.take([]api.Record{{Time: time.Now().Add(-time.Hour), Record: api.RecordDrop, Length: 1}, {Time: time.Now(), Record: api.RecordDrop, Length: 2}})
	if all := ask(); len(all) != 2 || all[0].Start == nil || all[1].Length != 2 {
		t.Errorf("one is an hour old, one new: %+v", all)
	}
}
