// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Recording says what is told of single frames, and what connections count.
// The zero value is nothing, which costs a frame nothing.
type Recording struct {
	Drops  bool // each frame that is dropped or consumed
	First  bool // each that begins a conversation at one of its ends
	Counts bool // connections count their packets and bytes
	// OneOf is of how many frames one is told, at random; 0 and 1: each.
	OneOf uint32
	// Interval is the least time from one record of a kind to the next, when
	// Burst of them have come at once; 0: no limit.
	Interval time.Duration
	Burst    uint32
	// Logged is what rules log, and what audit rules would do, each of which is
	// told within limits of its own.
	Logged         bool
	LoggedInterval time.Duration
	LoggedBurst    uint32
	// ShareInterval and ShareBurst limit what is told of what is logged at one port.
	ShareInterval time.Duration
	ShareBurst    uint32
}

// EventKind is what an event is about.
type EventKind uint8

// The kinds of event.
const (
	EventDrop   = EventKind(layoutEventKindEVENT_KIND_DROP)
	EventFirst  = EventKind(layoutEventKindEVENT_KIND_FIRST)
	EventLogged = EventKind(layoutEventKindEVENT_KIND_LOGGED)
)

// noLayer is of an event that no layer of policy decided.
const noLayer = 0xff

// Event is what is told of one frame.
type Event struct {
	Time    time.Time
	Kind    EventKind
	Ifindex int    // where the frame came from
	Port    uint32 // the control plane's id; 0 of a frame from a tunnel or the underlay
	VRF     uint32
	In      bool // towards the port, else from it
	Reason  Reason
	Rule    uint32 // that decided, a number of this host; 0: none
	Layer   int    // whose rule; -1: no layer's
	Length  int    // of the frame
	OneOf   uint32 // the record stands for so many frames
	Frame   []byte // its first bytes
	// Logged are, of an EventLogged, the rules for which it is told: the Rule above
	// is that which decided in the last layer that was asked.
	Logged []LoggedRule
}

// LoggedRule is a rule that decided and logs, or an audit rule that matched.
type LoggedRule struct {
	Layer int
	Rule  uint32 // a number of this host
	Audit bool
}

// EventCount counts what became of events of one kind.
type EventCount struct {
	Told       uint64
	PassedOver uint64 // by sampling
	Limited    uint64 // by the rate limit
	Unheard    uint64 // no room, since the reader does not keep up
}

// SetRecording turns the telling of frames and the counting of connections on
// or off.
func (d *Datapath) SetRecording(r Recording) error {
	raw := layoutEventControlValue{
		OneOf: r.OneOf, Interval: uint64(r.Interval), Burst: r.Burst, LoggedInterval: uint64(r.LoggedInterval), LoggedBurst: r.LoggedBurst,
		ShareInterval: uint64(r.ShareInterval), ShareBurst: r.ShareBurst,
	}
	for flag, on := range map[layoutEventFlag]bool{
		layoutEventFlagEVENT_DROPS: r.Drops, layoutEventFlagEVENT_FIRST: r.First, layoutEventFlagEVENT_COUNTS: r.Counts,
		layoutEventFlagEVENT_LOGGED: r.Logged,
	} {
		if on {
			raw.Flags |= flag
		}
	}
	if err := d.maps[eventControl].Put(uint32(0), &raw); err != nil {
		return fmt.Errorf("set what is recorded of frames: %w", err)
	}
	return nil
}

// EventCounts returns what became of events, by kind.
func (d *Datapath) EventCounts() (map[EventKind]EventCount, error) {
	all := map[EventKind]EventCount{}
	for kind := range EventKind(layoutEventKindEVENT_KINDS) {
		var perCPU []layoutEventCountValue
		if err := d.maps["event_counts"].Lookup(uint32(kind), &perCPU); err != nil {
			return nil, fmt.Errorf("read counts of events: %w", err)
		}
		var c EventCount
		for _, v := range perCPU {
			c.Told += v.Told
			c.PassedOver += v.PassedOver
			c.Limited += v.Limited
			c.Unheard += v.Unheard
		}
		all[kind] = c
	}
	return all, nil
}

// Events reads what the packet path tells. There is one reader at a time.
type Events struct {
	ring  *ringbuf.Reader
	began time.Time // of the programs' clock, about
	raw   ringbuf.Record
}

// OpenEvents opens the reader.
func (d *Datapath) OpenEvents() (*Events, error) {
	ring, err := ringbuf.NewReader(d.maps["events"])
	if err != nil {
		return nil, fmt.Errorf("open events of frames: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		ring.Close()
		return nil, fmt.Errorf("read monotonic clock: %w", err)
	}
	return &Events{ring: ring, began: time.Now().Add(-time.Duration(now.Nano()))}, nil
}

// Next waits for an event. Close ends the wait with [ErrClosed].
func (e *Events) Next() (Event, error) {
	if err := e.ring.ReadInto(&e.raw); errors.Is(err, os.ErrClosed) {
		return Event{}, ErrClosed
	} else if err != nil {
		return Event{}, fmt.Errorf("read event of a frame: %w", err)
	}
	var raw layoutEventRecord
	if err := binary.Read(bytes.NewReader(e.raw.RawSample), binary.NativeEndian, &raw); err != nil {
		return Event{}, fmt.Errorf("read event of a frame: record of %d bytes: %w", len(e.raw.RawSample), err)
	}
	w, err := words()
	if err != nil {
		return Event{}, err
	}
	event := Event{
		Time: e.began.Add(time.Duration(raw.Time)), Kind: EventKind(raw.Kind), Ifindex: int(raw.Ifindex), Port: raw.Port, VRF: raw.Vrf,
		In: raw.Direction == uint8(layoutEventDirectionEVENT_IN), Rule: raw.Rule, Layer: int(raw.Layer), Length: int(raw.Length), OneOf: raw.OneOf,
		Frame: bytes.Clone(raw.Frame[:min(int(raw.Size), len(raw.Frame))]),
	}
	if event.Kind == EventLogged {
		event.Logged = loggedRules(raw.Logged)
	}
	if raw.Layer == noLayer {
		event.Layer = -1
	}
	if raw.Reason != 0 && int(raw.Reason) < len(w.reasons) { // else of a program of another build, for a moment
		event.Reason = w.reasons[raw.Reason]
	}
	return event, nil
}

// loggedRules are the rules of a record, by layer; of one the audit rule first, as
// it comes before the rule that decides.
func loggedRules(raw layoutPolicyLog) (all []LoggedRule) {
	for layer := range raw.Rules {
		if raw.HasAudit&(1<<layer) != 0 {
			all = append(all, LoggedRule{Layer: layer, Rule: raw.Audits[layer], Audit: true})
		}
		if raw.HasRule&(1<<layer) != 0 {
			all = append(all, LoggedRule{Layer: layer, Rule: raw.Rules[layer]})
		}
	}
	return all
}

// Read waits for an event, and returns it with those that wait besides, at most
// max. Close ends the wait with [ErrClosed].
func (e *Events) Read(max int) ([]Event, error) {
	e.ring.SetDeadline(time.Time{})
	first, err := e.Next()
	if err != nil {
		return nil, err
	}
	all := []Event{first}
	e.ring.SetDeadline(time.Unix(1, 0)) // in the past: what is there is read, and nothing waited for
	for len(all) < max {
		next, err := e.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return all, err
		}
		all = append(all, next)
	}
	return all, nil
}

// Close ends reading.
func (e *Events) Close() error { return e.ring.Close() }
