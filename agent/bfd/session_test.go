// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// line is two sessions and the packets between them, on a clock.
type line struct {
	t     *testing.T
	now   time.Time
	ends  [2]*Session
	cut   [2]bool // what this end sends is lost
	delay time.Duration
	sent  [2]int
	fly   []flight
	story []string // changes of state
}

type flight struct {
	at time.Time
	to int
	b  []byte
}

func newLine(t *testing.T, a, b Options) *line {
	l := &line{t: t, now: time.Unix(1000, 0), delay: time.Millisecond}
	r := rand.New(rand.NewPCG(1, 2))
	for i, o := range []Options{a, b} {
		o.Random = func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
		l.ends[i] = New(o, l.now)
	}
	return l
}

func (l *line) send(from int, packets []Control) {
	for _, c := range packets {
		l.sent[from]++
		if !l.cut[from] {
			l.fly = append(l.fly, flight{l.now.Add(l.delay), 1 - from, c.Encode()})
		}
	}
}

// run lets time pass.
func (l *line) run(d time.Duration) {
	l.t.Helper()
	for end := l.now.Add(d); l.now.Before(end); l.now = l.now.Add(time.Millisecond) {
		for i, s := range l.ends {
			if s == nil {
				continue
			}
			before := s.State()
			if at, ok := s.Wake(); ok && !at.After(l.now) {
				l.send(i, s.Tick(l.now))
				if at, ok := s.Wake(); ok && !at.After(l.now) {
					l.t.Fatalf("end %d is to be woken at once again", i)
				}
			}
			for len(l.fly) > 0 && !l.fly[0].at.After(l.now) && l.fly[0].to == i {
				c, err := Parse(l.fly[0].b)
				if err != nil {
					l.t.Fatal(err)
				}
				l.fly = l.fly[1:]
				l.send(i, s.Receive(c, l.now))
			}
			if s.State() != before {
				l.story = append(l.story, fmt.Sprintf("%d %v", i, s.State()))
			}
		}
	}
}

func (l *line) want(story string) {
	l.t.Helper()
	if got := strings.Join(l.story, ", "); got != story {
		l.t.Errorf("states went %s, want %s", got, story)
	}
	l.story = nil
}

func options(discriminator uint32, interval time.Duration, multiplier uint8) Options {
	return Options{Discriminator: discriminator, Interval: interval, Multiplier: multiplier}
}

// Two ends find each other, slowly at first, then as fast as the slower of the
// two wants; and lose each other when either direction is cut, within the
// other's multiplier of intervals.
func TestTwoEnds(t *testing.T) {
	l := newLine(t, options(7, 50*time.Millisecond, 3), options(9, 100*time.Millisecond, 4))
	l.run(4 * time.Second)
	l.want("1 Init, 0 Up, 1 Up")
	l.sent = [2]int{}
	l.run(10 * time.Second)
	for i, n := range l.sent {
		if n < 99 || n > 136 { // every 100 ms, less up to a quarter
			t.Errorf("end %d sent %d packets in 10 s", i, n)
		}
	}
	if d := l.ends[0].Detection(); d != 400*time.Millisecond {
		t.Errorf("end 0 waits %v, want 400 ms", d)
	}
	if d := l.ends[1].Detection(); d != 300*time.Millisecond {
		t.Errorf("end 1 waits %v, want 300 ms", d)
	}
	l.cut[1] = true
	l.run(290 * time.Millisecond)
	l.want("")
	l.run(120 * time.Millisecond)
	l.want("0 Down, 1 Down, 1 Init") // the one misses packets and tells the other, which still hears it
	if a, b := l.ends[0].Diagnostic(), l.ends[1].Diagnostic(); a != Expired || b != NeighborSaysDown {
		t.Errorf("diagnostics are %d and %d", a, b)
	}
	l.run(3 * time.Second)
	l.story = nil
	l.cut[1] = false
	l.run(4 * time.Second)
	if l.ends[0].State() != Up || l.ends[1].State() != Up {
		t.Errorf("states are %v and %v after the cut", l.ends[0].State(), l.ends[1].State())
	}
	l.story = nil
	l.cut = [2]bool{true, true}
	l.run(time.Second)
	if l.ends[0].State() != Down || l.ends[1].State() != Down || l.ends[0].Diagnostic() != Expired || l.ends[1].Diagnostic() != Expired {
		t.Errorf("both directions cut: %v, %v", l.story, l.ends)
	}
}

// Who ends in order says so, and is not taken for failed; one that begins anew,
// under another discriminator, is found again.
func TestEndAndBeginning(t *testing.T) {
	l := newLine(t, options(7, 50*time.Millisecond, 3), options(9, 50*time.Millisecond, 3))
	l.run(4 * time.Second)
	l.story = nil
	last := l.ends[1].End()
	if last.State != AdminDown || last.Diagnostic != Administratively {
		t.Errorf("the last packet is %+v", last)
	}
	l.send(1, []Control{last})
	l.ends[1] = nil
	l.run(time.Second)
	l.want("0 Down")
	if d := l.ends[0].Diagnostic(); d != NeighborSaysDown {
		t.Errorf("diagnostic %d", d)
	}
	o := options(11, 50*time.Millisecond, 3)
	o.Random = l.ends[0].Random
	l.ends[1] = New(o, l.now)
	l.run(4 * time.Second)
	if l.ends[0].State() != Up || l.ends[1].State() != Up {
		t.Errorf("states are %v and %v", l.ends[0].State(), l.ends[1].State())
	}
}

// The transitions of RFC 5880, section 6.8.6, by the state of the session, what
// the other end says, and whether it asks to be answered.
func TestTransitions(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		state, says State
		want        State
		why         Diagnostic
	}{
		{Down, AdminDown, Down, NoDiagnostic}, {Down, Down, Init, NoDiagnostic}, {Down, Init, Up, NoDiagnostic}, {Down, Up, Down, NoDiagnostic},
		{Init, AdminDown, Down, NeighborSaysDown}, {Init, Down, Init, NoDiagnostic}, {Init, Init, Up, NoDiagnostic}, {Init, Up, Up, NoDiagnostic},
		{Up, AdminDown, Down, NeighborSaysDown}, {Up, Down, Down, NeighborSaysDown}, {Up, Init, Up, NoDiagnostic}, {Up, Up, Up, NoDiagnostic},
		{AdminDown, Down, AdminDown, NoDiagnostic}, {AdminDown, Up, AdminDown, NoDiagnostic},
	} {
		o := options(7, 50*time.Millisecond, 3)
		o.Random = func(time.Duration) time.Duration { return 0 }
		s := New(o, now)
		s.state = c.state
		got := s.Receive(Control{State: c.says, Poll: true, Multiplier: 3, My: 9, Your: 7, MinTransmit: time.Second, MinReceive: time.Second}, now)
		if s.State() != c.want || s.Diagnostic() != c.why {
			t.Errorf("%v hears %v: %v, diagnostic %d; want %v, %d", c.state, c.says, s.State(), s.Diagnostic(), c.want, c.why)
		}
		if answers := c.state != AdminDown; answers != (len(got) > 0 && got[0].Final && !got[0].Poll) {
			t.Errorf("%v hears a poll and says %+v", c.state, got)
		}
		s = New(o, now)
		if s.Receive(Control{State: Down, Multiplier: 3, My: 9, Your: 8}, now); s.State() != Down {
			t.Error("somebody else's packet counted")
		}
	}
}

// Packets are what RFC 5880, section 4.1, says; what is none is refused.
func TestControl(t *testing.T) {
	c := Control{Diagnostic: 3, State: Up, Poll: true, Multiplier: 5, My: 0x01020304, Your: 0x05060708, MinTransmit: time.Second, MinReceive: 50 * time.Millisecond}
	want := []byte{0x23, 0xe0, 5, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x0f, 0x42, 0x40, 0, 0, 0xc3, 0x50, 0, 0, 0, 0}
	if got := c.Encode(); !bytes.Equal(got, want) {
		t.Errorf("%+v is\n%x, want\n%x", c, got, want)
	}
	if got, err := Parse(append(want, 0, 0)); err != nil || got != c {
		t.Errorf("read as %+v, %v", got, err)
	}
	for why, change := range map[string]func(b []byte) []byte{
		"control packet": func(b []byte) []byte { return b[:23] },
		"version":        func(b []byte) []byte { b[0] = 0x43; return b },
		"length 23":      func(b []byte) []byte { b[3] = 23; return b },
		"length 25":      func(b []byte) []byte { b[3] = 25; return b },
		"authentication": func(b []byte) []byte { b[1] |= 4; return b },
		"multipoint":     func(b []byte) []byte { b[1] |= 1; return b },
		"multiplier":     func(b []byte) []byte { b[2] = 0; return b },
		"no discr":       func(b []byte) []byte { copy(b[4:8], make([]byte, 4)); return b },
		"without":        func(b []byte) []byte { copy(b[8:12], make([]byte, 4)); return b },
	} {
		if _, err := Parse(change(bytes.Clone(want))); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Control{State: Init, Multiplier: 1, My: 1, Your: 2}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := Parse(b); err == nil {
			if again, err := Parse(c.Encode()); err != nil || again != c {
				t.Errorf("%+v is read as %+v, %v", c, again, err)
			}
		}
	})
}
