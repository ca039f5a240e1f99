// SPDX-License-Identifier: Apache-2.0

package health

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/desired"
)

// What a row of tries comes to: + is a good one, a letter a failed one for a
// reason, ! that it cannot be tried, ? that the host could not. Rise is 2 and fall 3.
func TestStates(t *testing.T) {
	for tries, want := range map[string]string{
		"":           "",
		"+":          "",
		"++":         "up",
		"a+a+a+":     "",
		"aaa":        "down a",
		"aab":        "down b",
		"++aa":       "up",
		"++aa+aa+":   "up",
		"++aaa":      "up, down a",
		"++aaa+a+a":  "up, down a",
		"++aaa++":    "up, down a, up",
		"aaabb":      "down a",
		"aaabbb":     "down a, down b",
		"aaababab":   "down a",
		"aaabbb++":   "down a, down b, up",
		"!":          "untried x",
		"!!":         "untried x",
		"++!":        "up, untried x",
		"++!+":       "up, untried x",
		"++!++":      "up, untried x, up",
		"aaa!aaa":    "down a, untried x, down a",
		"a+aa+++aaa": "up, down a",
		"??":         "",
		"???":        "untried y",
		"++aa?a":     "up, down a",
		"++??+??":    "up",
		"++??a??":    "up",
		"aaa??":      "down a",
		"aaa????":    "down a",
		"aaa????++":  "down a, up",
		"++???+":     "up, untried y",
		"++???++":    "up, untried y, up",
	} {
		var p progress
		var got []string
		for _, o := range tries {
			news := false
			switch o {
			case '!':
				news = p.untried("x")
			case '?':
				news = p.note(Outcome{Unmade: true, Why: "y"}, 2, 3)
			default:
				why := string(o)
				if o == '+' {
					why = ""
				}
				news = p.note(Outcome{Good: o == '+', Why: why}, 2, 3)
			}
			if news {
				got = append(got, strings.TrimSpace(p.state+" "+p.why))
			}
		}
		if all := strings.Join(got, ", "); all != want {
			t.Errorf("%q comes to %q, want %q", tries, all, want)
		}
	}
}

// plan is a schedule with a clock and the tries that it made.
type plan struct {
	*schedule
	now   time.Time
	tries map[string][]time.Duration // by member
	begin time.Time
}

func newPlan() *plan {
	n := time.Duration(0)
	spread := func(d time.Duration) time.Duration { n++; return d * (n % 8) / 8 }
	begin := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	return &plan{newSchedule(spread), begin, map[string][]time.Duration{}, begin}
}

// run lets time pass, with tries that take no time.
func (p *plan) run(d time.Duration, outcome func(member string) Outcome) (news int) {
	end := p.now.Add(d)
	for {
		at, ok := p.wake()
		if !ok || at.After(end) {
			p.now = end
			return news
		}
		p.now = at
		for _, t := range p.due(p.now, 1000) {
			p.tries[t.ID] = append(p.tries[t.ID], p.now.Sub(p.begin))
			if p.done(t, outcome(t.ID), p.now) {
				news++
			}
		}
	}
}

func wanted(n int, interval time.Duration) Wanted {
	return Wanted{Check: desired.Check{
		ID: fmt.Sprintf("m%04d", n), Type: "tcp", Address: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), TransportPort: 80,
		Interval: interval, Timeout: time.Second, Rise: 2, Fall: 3,
	}}
}

func all(ws ...Wanted) map[string]Wanted {
	m := map[string]Wanted{}
	for _, w := range ws {
		m[w.ID] = w
	}
	return m
}

func (p *plan) says() string {
	var words []string
	for _, r := range p.reports() {
		words = append(words, strings.TrimSpace(r.Id+" "+r.State+" "+r.Message))
	}
	return strings.Join(words, ", ")
}

func good(string) Outcome   { return Outcome{Good: true} }
func failed(string) Outcome { return Outcome{Why: "refused"} }

// Members are tried once an interval, each at its own moment; one whose question
// changes begins anew, and of one that goes nothing is left.
func TestSchedule(t *testing.T) {
	p := newPlan()
	a, b := wanted(1, time.Second), wanted(2, time.Second)
	p.want(all(a, b), p.now)
	p.run(20*time.Second, good)
	if p.says() != "m0001 up, m0002 up" {
		t.Fatalf("after 20 good tries: %s", p.says())
	}
	for _, m := range []string{"m0001", "m0002"} {
		if n := len(p.tries[m]); n < 18 || n > 22 {
			t.Errorf("%s was tried %d times in 20 s", m, n)
		}
	}
	if p.tries["m0001"][0] == p.tries["m0002"][0] {
		t.Error("both were tried at the same moment")
	}
	if news := p.run(10*time.Second, good); news != 0 {
		t.Errorf("%d good tries more were news", news)
	}
	slower := a
	slower.Interval = 2 * time.Second
	if p.want(all(slower, b), p.now) || p.says() != "m0001 up, m0002 up" {
		t.Errorf("another interval changes what is known: %s", p.says())
	}
	other := b
	other.TransportPort = 81
	if !p.want(all(slower, other), p.now) || p.says() != "m0001 up" {
		t.Errorf("asked something else, it is still known: %s", p.says())
	}
	p.run(10*time.Second, failed)
	if p.says() != "m0001 down refused, m0002 down refused" {
		t.Errorf("after failures: %s", p.says())
	}
	untried := slower
	untried.Untried = "no gateway"
	before := len(p.tries["m0001"])
	if !p.want(all(untried), p.now) || p.says() != "m0001 untried no gateway" || len(p.queue) != 1 || len(p.checks) != 1 {
		t.Errorf("one gone, one untried: %s, %d in the queue, %d checks", p.says(), len(p.queue), len(p.checks))
	}
	p.run(10*time.Second, failed)
	if len(p.tries["m0001"]) != before {
		t.Error("what cannot be tried was")
	}
	p.want(nil, p.now)
	if p.says() != "" || len(p.queue) != 0 || len(p.checks) != 0 {
		t.Errorf("something is left: %s, %d in the queue", p.says(), len(p.queue))
	}
}

// The outcome of a try that was on its way when its question changed, or went,
// counts for nothing, and nothing is tried twice at once.
func TestLateOutcome(t *testing.T) {
	p := newPlan()
	a := wanted(1, time.Second)
	a.Rise = 1
	p.want(all(a), p.now)
	p.now = p.now.Add(time.Hour)
	tries := p.due(p.now, 10)
	if len(tries) != 1 || !tries[0].Late || len(p.due(p.now, 10)) != 0 {
		t.Fatalf("%d tries at once: %v", len(tries), tries)
	}
	b := a
	b.TransportPort = 81
	p.want(all(b), p.now)
	if p.done(tries[0], Outcome{Good: true}, p.now) || p.says() != "" || len(p.queue) != 1 {
		t.Errorf("an answer to another question counts: %s", p.says())
	}
	p.now = p.now.Add(time.Hour)
	tries = p.due(p.now, 10)
	p.want(nil, p.now)
	if len(tries) != 1 || p.done(tries[0], Outcome{Good: true}, p.now) || p.says() != "" || len(p.queue) != 0 {
		t.Errorf("one that went is there: %s", p.says())
	}
}

// A host tries a bounded number of members, and says so of the others.
func TestTooManyMembers(t *testing.T) {
	p := newPlan()
	many := map[string]Wanted{}
	for n := range MaxChecks + 2 {
		w := wanted(n, time.Minute)
		many[w.ID] = w
	}
	p.want(many, p.now)
	if got := p.says(); got != "m4096 untried "+tooMany+", m4097 untried "+tooMany {
		t.Errorf("says %s", got)
	}
}

// Workloads with a session are watched and not tried: what it says counts at
// once, one that is asked for anew otherwise is another session, and there is none while there is
// no way to the workload.
func TestSessions(t *testing.T) {
	p := newPlan()
	w := wanted(1, time.Second)
	w.Type, w.TransportPort = "bfd", 0
	open := func(want int) Try {
		t.Helper()
		all := p.watches()
		if len(all) != want {
			t.Fatalf("%d are watched, want %d", len(all), want)
		}
		return all[w.ID]
	}
	p.want(all(w), p.now)
	first := open(1)
	if p.run(time.Hour, good); len(p.tries) != 0 {
		t.Errorf("it was tried: %v", p.tries)
	}
	for _, step := range []struct {
		o    Outcome
		want string
	}{{Outcome{Good: true}, "m0001 up"}, {Outcome{Why: "silent"}, "m0001 down silent"}, {Outcome{Why: "gone"}, "m0001 down gone"}, {Outcome{Good: true}, "m0001 up"}} {
		if news := p.done(first, step.o, p.now); !news || p.says() != step.want {
			t.Errorf("%+v: news %t, says %s, want %s", step.o, news, p.says(), step.want)
		}
	}
	w.Interval /= 2
	p.want(all(w), p.now)
	if second := open(1); second == first || p.says() != "" || p.done(first, Outcome{Why: "late"}, p.now) {
		t.Errorf("the former session counts: %s", p.says())
	}
	w.Down = "its port is not plugged"
	if !p.want(all(w), p.now) || p.says() != "m0001 down its port is not plugged" {
		t.Errorf("says %s", p.says())
	}
	open(0)
	w.Down, w.Untried = "", "no gateway"
	if !p.want(all(w), p.now) || p.says() != "m0001 untried no gateway" {
		t.Errorf("says %s", p.says())
	}
	open(0)
	w.Untried = ""
	p.want(all(w), p.now)
	if !p.done(open(1), Outcome{Good: true}, p.now) || p.says() != "m0001 up" {
		t.Errorf("says %s", p.says())
	}
	many := map[string]Wanted{}
	for n := range MaxSessions + 1 {
		w := wanted(n, time.Second)
		w.Type = "bfd"
		many[w.ID] = w
	}
	p.want(many, p.now)
	if open(MaxSessions); !strings.HasSuffix(p.says(), "m0512 untried "+tooManySessions) {
		t.Errorf("says %s", p.says())
	}
}
