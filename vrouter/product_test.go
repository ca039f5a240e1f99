// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// The kernel gives a test run the loopback interface, which is 1 everywhere.
const loopback = 1

// TestProductAgreesWithOracle runs the build that carries traffic: bytes, tc
// action and the counts it leaves. Redirects in a test run go nowhere.
func TestProductAgreesWithOracle(t *testing.T) {
	const worlds, perWorld = 20, 200
	r := seeded(t)
	d := loadForTest(t, smallSizes)
	check(t, d.Activate()) // of the stages
	counted := map[string]Drop{}
	counters := map[int]Counter{}
	requests, err := d.OpenRequests()
	check(t, err)
	defer requests.Close()
	check(t, d.SetRecording(Recording{Drops: true}))
	events, err := d.OpenEvents()
	check(t, err)
	defer events.Close()
	for range worlds {
		g := newGenerator(r)
		g.o.Learns = true
		g.unbridge() // copies of a flooded frame would really leave through this machine's interfaces
		g.unlimit()  // the model keeps no conversations here: TestLimitHoldsWhenManyBeginAtOnce
		install(t, d, g.o)
		for range perWorld {
			kind, frame := g.frame(loopback)
			if _, _, tagged := tagOf(frame); tagged || !runnable(frame) {
				continue // a device hands tags over beside the frame: TestSubPortsOnTheWire
			}
			g.o.HostFlows, err = d.hostFlows.All() // those before have left theirs
			check(t, err)
			want := g.o.FromPort(loopback, frame)
			run := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+frameRoom)}
			action, err := d.hooks[stubSlotSLOT_PORT].Run(&run)
			check(t, err)
			ended := want.Verdict == "handed" || want.Verdict == "dropped" || want.Verdict == "consumed"
			if (action == 2) != ended || (action == 7) == ended || !bytes.Equal(run.DataOut, want.Frame) {
				t.Fatalf("%s frame\n in   %s\n got  action %d\n      %s\n want %s",
					kind, hex.EncodeToString(frame), action, hex.EncodeToString(run.DataOut), show(want))
			}
			if want.Verdict == "hosted" {
				mustGoOn(t, d, g.o, frame, want)
			}
			mustBeGiven(t, requests, kind, frame, want)
			mustBeTold(t, events, kind, frame, want)
			if want.Reason != "" {
				c := counted[want.Reason]
				c.Packets++
				c.Bytes += uint64(len(frame))
				counted[want.Reason] = c
			}
			countFrame(counters, g.o, frame, want)
			forgetConnections(t, d) // the model knows of none: a frame the other way would be an answer, and a fragment have its first one
		}
	}
	if got := dropsByReason(t, d); !maps.Equal(got, counted) {
		t.Errorf("counted\n %v\nwant\n %v", got, counted)
	}
	compareCounters(t, d, counters)
	check(t, d.Forget(loopback))
	drops, err := d.Drops()
	check(t, err)
	if slices.ContainsFunc(drops, func(drop Drop) bool { return drop.Ifindex == loopback }) {
		t.Errorf("counts left of a forgotten interface: %+v", drops)
	}
}

// countFrame counts a frame that came from the loopback port as programs should.
func countFrame(counters map[int]Counter, o *Oracle, frame []byte, went Outcome) {
	from := counters[loopback]
	from.RxPackets++
	from.RxBytes += uint64(len(frame))
	counters[loopback] = from
	to := went.Redirect
	switch went.Verdict {
	case "delivered":
		if went.VLAN != 0 {
			to = o.SubPorts[SubPort{went.Redirect, went.VLAN}]
		}
	case "tunnelled":
		to = testTunnelDevice // also what leaves with labels
	case "routed":
		to = testUplink // one slot serves all uplinks
	case "answered", "hosted":
	default:
		return
	}
	c := counters[to]
	c.TxPackets++
	c.TxBytes += uint64(len(went.Frame))
	counters[to] = c
}

// compareCounters compares those of all interfaces, whatever the last world was configured to show.
func compareCounters(t *testing.T, d *Datapath, want map[int]Counter) {
	t.Helper()
	check(t, d.SetConfig(Config{TunnelDevice: testTunnelDevice, HostDevice: testHostDevice}))
	d.slots.of[testUplink] = uint32(layoutCounterSlotFABRIC_SLOT) // as if it were attached
	all, err := d.Counters()
	check(t, err)
	got := map[int]Counter{}
	for _, c := range all {
		ifindex := c.Ifindex
		c.Ifindex = 0
		got[ifindex] = c
	}
	if !maps.Equal(got, want) {
		t.Errorf("counters\n %+v\nwant\n %+v", got, want)
	}
}

// dropsByReason sums up those of all interfaces: what a receiver refuses is counted at its own.
func dropsByReason(t *testing.T, d *Datapath) map[string]Drop {
	t.Helper()
	drops, err := d.Drops()
	check(t, err)
	sums := map[string]Drop{}
	for _, drop := range drops {
		sum := sums[drop.Name]
		sums[drop.Name] = Drop{Packets: sum.Packets + drop.Packets, Bytes: sum.Bytes + drop.Bytes}
	}
	return sums
}

// mustGoOn fails unless the next frame of a conversation goes the way of this one.
func mustGoOn(t *testing.T, d *Datapath, o *Oracle, frame []byte, first Outcome) {
	t.Helper()
	var err error
	o.HostFlows, err = d.hostFlows.All()
	check(t, err)
	if then := o.FromPort(loopback, frame); !bytes.Equal(then.Frame, first.Frame) {
		t.Fatalf("in    %s\nfirst %s\nthen  %s", hex.EncodeToString(frame), show(first), show(then))
	}
}

// TestTraceChangesNothing runs frames through the trace build and finds every
// table as it was, counters included.
func TestTraceChangesNothing(t *testing.T) {
	g := newGenerator(seeded(t))
	d := tablesForTest(t, smallSizes)
	install(t, d, g.o)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	before := dump(t, d)
	for range 2000 {
		ifindex := 1 + g.IntN(testPorts)
		if _, frame := g.frame(ifindex); runnable(frame) {
			_, err = tracer.FromPort(ifindex, frame)
			check(t, err)
			_, err = tracer.FromTunnel(testTunnelDevice, &TunnelKey{VNI: 1001, Remote: poolAddress(false, 1)}, frame)
			check(t, err)
		}
	}
	if after := dump(t, d); !reflect.DeepEqual(before, after) {
		t.Errorf("tables before\n%v\nafter\n%v", before, after)
	}
	counters, err := d.Counters()
	check(t, err)
	drops, err := d.Drops()
	check(t, err)
	if len(counters)+len(drops) != 0 {
		t.Errorf("tracing counted %v, %v", counters, drops)
	}
}

// dump returns the tables as an oracle holds them.
func dumpBalance(t testing.TB, d *Datapath, o *Oracle) {
	t.Helper()
	var err error
	o.Listeners, err = d.Listeners.All()
	check(t, err)
	o.PoolMembers, err = d.PoolMembers.All()
	check(t, err)
	o.Floats, err = d.Floats.All()
	check(t, err)
	o.Mappings, err = d.Mappings.All()
	check(t, err)
}

func dump(t testing.TB, d *Datapath) *Oracle {
	t.Helper()
	var o Oracle
	var errs [9]error
	o.Ports, errs[0] = d.Ports.All()
	o.SubPorts, errs[7] = d.SubPorts.All()
	o.PortAddresses, errs[1] = d.PortAddresses.All()
	o.Routes, errs[2] = d.Routes.All()
	o.PortPrefixes, errs[8] = d.PortPrefixes.All()
	o.NextHops, errs[3] = d.NextHops.All()
	o.VNIs, errs[4] = d.VNIs.All()
	o.TunnelSources, errs[5] = d.TunnelSources.All()
	o.Config, errs[6] = d.Config()
	for _, err := range errs {
		check(t, err)
	}
	var err error
	o.Services, err = d.Services.All()
	check(t, err)
	o.Aliases, err = d.Aliases.All()
	check(t, err)
	o.Gaps, err = d.Gaps.All()
	check(t, err)
	o.TunnelAddresses, err = d.TunnelAddresses.All()
	check(t, err)
	o.Groups, err = d.Groups.All()
	check(t, err)
	o.HostFlows, err = d.hostFlows.All()
	check(t, err)
	o.Groups, err = d.Groups.All()
	check(t, err)
	dumpBridge(t, d, &o)
	dumpBalance(t, d, &o)
	o.PortPolicies, err = d.PortPolicies.All()
	check(t, err)
	o.Managed, err = d.Managed.All()
	check(t, err)
	for used, by := range o.shares(d) {
		times, err := used.All()
		check(t, err)
		*by = map[int]bool{}
		for ifindex := range times {
			(*by)[ifindex] = true
		}
	}
	return &o
}

func dumpBridge(t testing.TB, d *Datapath, o *Oracle) {
	t.Helper()
	var errs [5]error
	o.MACs, errs[0] = d.MACs.All()
	o.Floods, errs[1] = d.Floods.All()
	o.Receivers, errs[2] = d.Receivers.All()
	o.Learned, errs[3] = d.learned.All()
	o.MACCounts, errs[4] = d.macCounts.All()
	for _, err := range errs {
		check(t, err)
	}
}

// TestTablesReadBackWhatWasWritten also is the test of all conversions.
func TestTablesReadBackWhatWasWritten(t *testing.T) {
	r := seeded(t)
	d := tablesForTest(t, smallSizes)
	for range 5 {
		g := newGenerator(r)
		install(t, d, g.o)
		want := *g.o
		want.Now, want.Tick, want.LearnedRoom, want.Occupied = 0, 0, 0, nil // not tables
		want.Choices, want.Affinities = nil, nil                            // never read back
		want.Rulesets = nil                                                 // compiled: TestPolicyTablesGiveBackWhatWasWritten
		if got := dump(t, d); !reflect.DeepEqual(*got, want) {
			t.Fatalf("got\n%v\nwant\n%v", *got, want)
		}
	}
}

// TestReasonsAreDocumented: the page defines the packet path, so it has every
// word, and each word has a meaning of its own.
func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../doc/packet-path.md")
	check(t, err)
	reasons, err := Reasons()
	check(t, err)
	texts := map[string]string{}
	for _, r := range reasons {
		if !strings.Contains(string(page), "*"+r.Name+"*") {
			t.Errorf("doc/packet-path.md does not say when *%s* is given", r.Name)
		}
		if r.Stage == "" || r.Stage == "none" || (r.Verdict != "dropped" && r.Verdict != "consumed") || r.Text == "" {
			t.Errorf("reason is incomplete: %+v", r)
		}
		if other, taken := texts[r.Text]; taken {
			t.Errorf("reasons %s and %s have one text", r.Name, other)
		}
		texts[r.Text] = r.Name
	}
	if len(reasons) != int(layoutReasonREASON_COUNT)-1 {
		t.Errorf("%d reasons, want %d", len(reasons), layoutReasonREASON_COUNT-1)
	}
}

// mustBeGiven wants the agent to be given the frame if it was handed over or is
// told of, and nothing else. A frame whose connection is known is not told of
// once more.
func mustBeGiven(t *testing.T, requests *Requests, kind string, frame []byte, want Outcome) {
	t.Helper()
	given := waiting(t, requests)
	for _, asked := range given {
		handed := want.Verdict == "handed" && bytes.Equal(asked.Frame, frame)
		told := want.Told && bytes.HasPrefix(frame, asked.Frame) // without what pads it
		if asked.Ifindex != loopback || !handed && !told {
			t.Fatalf("%s frame\n in     %s\n handed %s from interface %d", kind, hex.EncodeToString(frame), hex.EncodeToString(asked.Frame), asked.Ifindex)
		}
	}
	if want.Verdict == "handed" && len(given) == 0 {
		t.Fatalf("%s frame\n in     %s\n was not handed over", kind, hex.EncodeToString(frame))
	}
}

// waiting takes what the agent would be given.
func waiting(t *testing.T, requests *Requests) (all []Request) {
	t.Helper()
	requests.ring.SetDeadline(time.Unix(1, 0)) // in the past: what is there is read, and nothing waited for
	for {
		asked, err := requests.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		check(t, err)
		all = append(all, asked)
	}
}

// mustBeTold wants an event of the frame if it ended for a reason, and nothing
// else. That copies of a flooded frame were left out is only counted.
func mustBeTold(t *testing.T, events *Events, kind string, frame []byte, want Outcome) {
	t.Helper()
	var reasons []string
	if want.Reason != "" && want.Verdict != "flooded" {
		reasons = append(reasons, want.Reason)
	}
	var got []string
	events.ring.SetDeadline(time.Unix(1, 0)) // in the past: what is there is read, and nothing waited for
	for {
		e, err := events.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		check(t, err)
		if got = append(got, e.Reason.Name); e.Ifindex != loopback && e.Reason.Stage != "policy" || e.Length != len(frame) {
			t.Fatalf("%s frame %s is told as %+v", kind, hex.EncodeToString(frame), e)
		}
	}
	if !slices.Equal(got, reasons) {
		t.Fatalf("%s frame %s is told with %v, want %v", kind, hex.EncodeToString(frame), got, reasons)
	}
}
