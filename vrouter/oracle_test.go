// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Reasons only a failing kernel gives: see doc/packet-path.md, last section.
var unreachable = map[string]bool{
	"answer-failed": true, "error-failed": true, "rewrite-failed": true, "redirect-failed": true,
	"copy-failed": true, "request-unheard": true, "host-redirect-failed": true, "fabric-redirect-failed": true, "tunnel-key-failed": true, "tunnel-redirect-failed": true,
	"label-redirect-failed": true, "label-aggregated": true, "unlabel-failed": true, "places-full": true,
	"egress-limited": true, "ingress-limited": true, // by programs of their own, see TestLimitsAgreeWithOracle
}

// distribution counts outcomes and knows what share was sent on.
type distribution struct {
	counts map[string]int
	total  int
	sent   int
	told   int            // the agent was told of their source
	met    map[string]int // what the oracle has met besides; nil: that is not counted
}

func (d *distribution) add(o Outcome) {
	if d.counts == nil {
		d.counts = map[string]int{}
	}
	d.total++
	if o.Told {
		d.told++
	}
	if o.Verdict == "delivered" || o.Verdict == "tunnelled" || o.Verdict == "hosted" || o.Verdict == "routed" || o.Verdict == "flooded" {
		d.sent++
	}
	d.counts[strings.TrimSpace(o.Verdict+" "+o.Reason)]++
	if o.Verdict == "answered" && o.Reason == "policy-rejected" {
		d.counts[kindOfAnswer(o)]++
	}
}

// kindOfAnswer is how the sender of a rejected packet is told.
func kindOfAnswer(o Outcome) string {
	kind, family := "error", "IPv4"
	if parse(o.Frame).protocol == 6 {
		kind = "reset"
	}
	if parse(o.Frame).source.Is6() {
		family = "IPv6"
	}
	switch {
	case o.Tunnel != nil:
		return kind + " through a tunnel"
	case o.Redirect == testUplink:
		return kind + " from an uplink"
	}
	return kind + " of " + family
}

func (d *distribution) String() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(d.counts)) {
		fmt.Fprintf(&b, "%7d  %s\n", d.counts[what], what)
	}
	return b.String()
}

// missing names what has fewer cases than wanted: reasons, errors that are
// answered, and verdicts.
func (d *distribution) missing(t *testing.T, cases int) (all []string) {
	t.Helper()
	reasons, err := Reasons()
	check(t, err)
	lacks := func(what string) {
		if n := d.counts[what]; n < cases {
			all = append(all, fmt.Sprintf("%d frames were %s, want %d", n, what, cases))
		}
	}
	for _, r := range reasons {
		switch {
		case unreachable[r.Name]:
		case d.met == nil && (r.Name == "mapping-taken" || r.Name == "mapping-exhausted"): // without what went before nothing is taken
		case r.Name == "flood-bound":
			lacks("flooded " + r.Name)
		default:
			lacks(r.Verdict + " " + r.Name)
		}
		if slices.Contains([]string{"ttl-expired", "too-big", "policy-rejected", "no-listener", "no-member"}, r.Name) {
			lacks("answered " + r.Name)
		}
	}
	for _, kind := range []string{"reset", "error"} {
		lacks(kind + " of IPv4")
		lacks(kind + " of IPv6")
		lacks(kind + " through a tunnel")
	}
	lacks("handed")
	lacks("hosted")
	lacks("routed")
	lacks("passed")
	lacks("flooded")
	lacks("flooded frame-too-big")
	for _, what := range []string{"frame passed", "frame refused", "flood passed", "flood refused", "copy passed", "copy refused", "stateless passed", "stateless refused", "strict passed", "strict refused", "error passed", "error refused",
		"passed, logged", "refused, logged", "passed, audited", "refused, audited", "several rules, logged"} {
		want := cases / 4 // a conversation that was passed is seldom refused later
		if n := d.met[what]; d.met != nil && n < want {
			all = append(all, fmt.Sprintf("%s by policy %d times, want %d", what, n, want))
		}
	}
	return all
}

// sentShare is how many of a hundred frames must be sent on: a generator with fewer
// tests refusals and little else.
const sentShare = 40

// fewSent tells whether fewer were.
func (d *distribution) fewSent() bool { return d.sent*100 < d.total*sentShare }

// mustBeFair wants at least so many cases of each reason, and enough frames sent on.
func (d *distribution) mustBeFair(t *testing.T, cases int) {
	t.Helper()
	for _, what := range d.missing(t, cases) {
		t.Error(what)
	}
	if d.fewSent() {
		t.Errorf("only %d of %d frames were sent on, want %d %%", d.sent, d.total, sentShare)
	}
}

func compare(t *testing.T, what string, in []byte, got, want Outcome) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	t.Fatalf("%s\n in    %s\n got   %s\n want  %s", what, hex.EncodeToString(in), show(got), show(want))
}

func show(o Outcome) string {
	var copies string
	for _, c := range o.Copies {
		copies += fmt.Sprintf(" copy to %d VLAN %d %v", c.Redirect, c.VLAN, c.Tunnel)
	}
	return fmt.Sprintf("%s %s redirect=%d peer=%t told=%t vlan=%d tunnel=%v%s\n       %s",
		o.Verdict, o.Reason, o.Redirect, o.Peer, o.Told, o.VLAN, o.Tunnel, copies, hex.EncodeToString(o.Frame))
}

// runnable is what the kernel asks of a test run: a whole IP header.
// TestFramesOnTheWire sends the shorter ones.
func runnable(frame []byte) bool {
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		return len(frame) >= 34
	case 0x86dd:
		return len(frame) >= 54
	}
	return true
}

// TestProgramsAgreeWithOracle runs the trace build on random frames in random worlds.
func TestProgramsAgreeWithOracle(t *testing.T) {
	// More worlds than these until every reason was met, within a bound that chance
	// does not come to: in few worlds each is met a few times only.
	const worlds, atMost, perWorld = 60, 2000, 500
	r := seeded(t)
	d := tablesForTest(t, smallSizes)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	var seen distribution
	for world := 0; world < worlds || world < atMost && (len(seen.missing(t, 1)) > 0 || seen.told < 20 || seen.fewSent()); world++ {
		g := newGenerator(r)
		install(t, d, g.o)
		var answers []sent
		for n := range perWorld {
			what := fmt.Sprintf("world %d frame %d", world, n)
			if g.chance(20) {
				seen.add(g.underlayStep(t, d, tracer, what))
				continue
			}
			s := g.single(&answers)
			if !runnable(s.frame) {
				continue
			}
			got := g.step(t, tracer, what, s)
			seen.add(got)
			if s.ifindex != testHostDevice && slices.Contains([]string{"delivered", "tunnelled", "routed", "flooded"}, got.Verdict) {
				if back, can := g.reply(s, got); can {
					answers = append(answers, back)
				}
			}
		}
	}
	t.Logf("%d frames, %d %% sent on, the agent was told of %d\n%s", seen.total, seen.sent*100/seen.total, seen.told, &seen)
	if seen.told < 20 {
		t.Errorf("the agent was told of the source of only %d frames", seen.told)
	}
	seen.mustBeFair(t, 1)
}

// single is an answer to a frame that was sent on, which again may be answered, or
// something new: of new frames less than a third are sent on.
func (g *generator) single(answers *[]sent) sent {
	if last := len(*answers) - 1; last >= 0 && g.chance(55) {
		s := (*answers)[last]
		*answers = (*answers)[:last]
		return s
	}
	ifindex := 1 + g.IntN(testPorts)
	_, frame := g.frame(ifindex)
	switch {
	case g.chance(3):
		return g.rejected()
	case g.chance(12):
		return g.toVirtual()
	case g.chance(12):
		return g.toFloating()
	case g.chance(10):
		return sent{ifindex: testHostDevice, frame: g.fromHost()}
	case g.chance(8):
		return sent{ifindex: testUplink, frame: g.fromFabric()}
	case g.chance(30):
		return sent{ifindex: testTunnelDevice, key: g.tunnelKey(ifindex), frame: frame}
	case g.chance(2):
		ifindex = 77 // not a port
	}
	return sent{ifindex: ifindex, frame: frame}
}
