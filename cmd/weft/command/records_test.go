// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/weft/table"
)

// TestFlowsAreFollowed: of what a host answers, only what came, changed its
// state or went is told, and each once.
func TestFlowsAreFollowed(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	flow := func(port uint16, state string) api.Record {
		return api.Record{
			Time: now, Record: api.RecordFlow, Host: "h1", Protocol: "tcp", State: state, Start: &now, End: &now,
			Source: api.Party{Address: netip.MustParseAddr("10.0.0.1"), Port: port, Workload: "d:p:a"}, Destination: api.Party{Address: netip.MustParseAddr("10.0.0.2"), Port: 80},
		}
	}
	var followed followedFlows
	for i, step := range []struct {
		answer []api.Record
		want   string
	}{
		{[]api.Record{flow(1, "opening"), flow(2, "established")}, "start 1 opening, start 2 established"},
		{[]api.Record{flow(1, "established"), flow(2, "established")}, "update 1 established"},
		{[]api.Record{flow(2, "established")}, "end 1 established"},
		{[]api.Record{flow(2, "established")}, ""},
	} {
		var got []string
		for _, r := range followed.changes(step.answer, false, now) {
			got = append(got, strings.Join([]string{r.Record, string('0' + rune(r.Source.Port)), r.State}, " "))
		}
		slices.Sort(got)
		want := strings.Split(step.want, ", ")
		slices.Sort(want)
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("answer %d is told as %v, want %v", i, got, want)
		}
	}
}

// TestFlowsWithoutStartAreFollowed: a conversation of which a host does not say when it
// began is told with the others, before them.
func TestFlowsWithoutStartAreFollowed(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	records := []api.Record{{Host: "h1", Time: now, Start: &now, Source: api.Party{Port: 1}}, {Host: "h1", Time: now, Source: api.Party{Port: 2}}}
	var followed followedFlows
	for _, answer := range [][]api.Record{records, nil} {
		if got := followed.changes(answer, false, now); len(got) != 2 || got[0].Source.Port != 2 {
			t.Errorf("of %d conversations is told %+v", len(answer), got)
		}
	}
}

// TestFlowsAreFollowedInPart: a host that has more conversations than it tells ends
// none by telling others, and begins none by telling it again.
func TestFlowsAreFollowedInPart(t *testing.T) {
	epoch := time.Unix(1_000_000, 0)
	flow := func(at, began time.Duration, port uint16) api.Record {
		start, now := epoch.Add(began), epoch.Add(at)
		return api.Record{
			Time: now, Record: api.RecordFlow, Host: "h1", Protocol: "tcp", State: "established", Start: &start, End: &now,
			Source: api.Party{Address: netip.MustParseAddr("10.0.0.1"), Port: port}, Destination: api.Party{Address: netip.MustParseAddr("10.0.0.2"), Port: 80},
		}
	}
	var followed followedFlows
	for i, step := range []struct {
		partly bool
		answer []api.Record
		want   string
	}{
		{true, []api.Record{flow(100*time.Second, 0, 1), flow(100*time.Second, 0, 2)}, "start 1, start 2"},
		{true, []api.Record{flow(110*time.Second, 0, 2), flow(110*time.Second, 50*time.Second, 3), flow(110*time.Second, 105*time.Second, 4)}, "start 4"},
		{true, []api.Record{flow(120*time.Second, 0, 1), flow(120*time.Second, 0, 2)}, ""},
		{false, []api.Record{flow(130*time.Second, 0, 1), flow(130*time.Second, 60*time.Second, 5)}, "end 2, end 3, end 4"},
		{false, []api.Record{flow(140*time.Second, 0, 1), flow(140*time.Second, 60*time.Second, 5), flow(140*time.Second, 61*time.Second, 6)}, "start 6"},
	} {
		var got []string
		for _, r := range followed.changes(step.answer, step.partly, epoch.Add(time.Hour)) {
			got = append(got, fmt.Sprint(r.Record, " ", r.Source.Port))
		}
		slices.Sort(got)
		if strings.Join(got, ", ") != step.want {
			t.Errorf("answer %d is told as %v, want %v", i, got, step.want)
		}
	}
	many := make([]api.Record, 2*maxFollowed)
	for i := range many {
		many[i] = flow(300*time.Second, 0, uint16(i))
		many[i].Destination.Port = uint16(i >> 16)
	}
	followed.changes(many, true, epoch)
	if followed.changes(many[:1], true, epoch); len(followed.known) != maxFollowed {
		t.Errorf("%d conversations are remembered, want %d", len(followed.known), maxFollowed)
	}
}

// TestFollowedRecordsAreAligned: the header fits what is there when following
// begins, and rows that come together fit each other.
func TestFollowedRecordsAreAligned(t *testing.T) {
	var out strings.Builder
	s := &session{printer: table.Printer{W: &out}}
	write := s.recordWriter("", []string{"WHAT", "HOST"}, func(r api.Record) []string { return []string{r.Record, r.Host} })
	for _, batch := range [][]api.Record{{{Record: "end", Host: "h1"}, {Record: "update", Host: "h2"}}, {{Record: "start", Host: "h3"}, {Record: "something", Host: "h4"}}} {
		if err := write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if want := "WHAT    HOST\nend     h1\nupdate  h2\nstart      h3\nsomething  h4\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// TestEventsForPeople: a line has names where there are, and addresses always.
func TestEventsForPeople(t *testing.T) {
	r := api.Record{
		Time: time.Unix(0, 5e6), Host: "h1", Protocol: "tcp", Flags: "syn", Length: 74, Reason: "policy-denied", OneOf: 8, Layer: "firewall", Rule: "firewall-rule d:p:deny",
		Source:      api.Party{Address: netip.MustParseAddr("2001:db8::1"), Port: 40000, Workload: "d:p:a"},
		Destination: api.Party{Address: netip.MustParseAddr("2001:db8::2"), Port: 80},
	}
	want := "00:00:00.005|h1|tcp syn|d:p:a ([2001:db8::1]:40000)|[2001:db8::2]:80|74|policy-denied (one of 8)|firewall: firewall-rule d:p:deny"
	if got := strings.Join(eventRow(r), "|"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
