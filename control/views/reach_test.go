// SPDX-License-Identifier: Apache-2.0

package views_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/views"
	"github.com/weft-network/weft/control/world"
)

// twoGroups is a network where web may begin everything, and db takes web's TCP 5432.
const twoGroups = `host h1 192.0.2.1
network blue 10
subnet blue 10.0.0.0/24
port blue w
port blue d
address blue 10.0.0.5 w
address blue 10.0.0.6 d
bind w h1
bind d h1
security-group web
security-group db
allow web out egress IPv4
allow db in ingress IPv4 tcp/5432 group=web
secured w web
secured d db`

func portName(name string) string { return "port/" + world.UUID(api.KindPort, name) }

// An assertion is checked for the state as it would be, which nobody else sees.
func TestCheckOfWhatIsOnlyThoughtOf(t *testing.T) {
	w := world.New(twoGroups)
	v := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)})
	never := []api.Assertion{{Never: &api.Encounter{From: portName("w"), To: portName("d"), Protocol: "tcp", Port: 22}}}
	allows := []api.Assertion{{Allows: &api.Encounter{From: portName("w"), To: portName("d"), Protocol: "tcp", Port: 5432}}}

	other := world.New(twoGroups + "\nallow db ssh ingress IPv4 tcp/22")
	opened := &api.Changes{Put: []api.Object{other.Get(api.KindSecurityGroupRule, world.UUID(api.KindSecurityGroupRule, "db:ssh"))}}
	closed := &api.Changes{Deleted: []api.Target{{Kind: api.KindSecurityGroupRule, UUID: world.UUID(api.KindSecurityGroupRule, "db:in")}}}
	for _, c := range []struct {
		name       string
		assertions []api.Assertion
		changes    *api.Changes
		holds      bool
	}{
		{"nothing on 22 now", never, nil, true},
		{"22 would be open", never, opened, false},
		{"5432 is open now", allows, nil, true},
		{"5432 would be closed", allows, closed, false},
		{"it still is not", never, nil, true},
	} {
		got, err := v.Check(t.Context(), w, c.assertions, c.changes)
		if err != nil {
			t.Fatal(err)
		}
		if got.Holds() != c.holds {
			t.Errorf("%s: holds %v, want %v: %+v", c.name, got.Holds(), c.holds, got.Verdicts)
		}
	}
}

// blind sees nothing of one kind.
type blind struct {
	*world.World
	kind api.Kind
}

func (b blind) Get(kind api.Kind, uuid string) api.Object {
	if kind == b.kind {
		return nil
	}
	return b.World.Get(kind, uuid)
}

func (b blind) Lookup(kind api.Kind, ref api.Ref) api.Object {
	if kind == b.kind {
		return nil
	}
	return b.World.Lookup(kind, ref)
}

func TestReachShowsOnlyWhatIsSeen(t *testing.T) {
	w := world.New(twoGroups)
	v := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)})
	network := "network/" + world.UUID(api.KindNetwork, "blue")
	all, err := v.Reach(t.Context(), w, network, network)
	if err != nil || len(all.Rows) != 2 {
		t.Fatalf("who sees all: %+v, %v", all, err)
	}
	none, err := v.Reach(t.Context(), blind{w, api.KindPort}, network, network)
	if err != nil || len(none.Rows) != 0 {
		t.Errorf("who sees no port: %+v, %v", none, err)
	}
	if _, err := v.Reach(t.Context(), blind{w, api.KindNetwork}, network, network); err == nil || !strings.Contains(err.Error(), "there is no network") {
		t.Errorf("who does not see the network: %v", err)
	}
	never := []api.Assertion{{Never: &api.Encounter{From: portName("w"), To: portName("d")}}}
	checked, err := v.Check(t.Context(), blind{w, api.KindSecurityGroupRule}, never, nil)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(checked.Verdicts[0].Counter.Verdicts, ", ")
	if checked.Holds() || strings.Contains(words, "db:in") || !strings.Contains(words, "may not see") {
		t.Errorf("who does not see the rules: %s", words)
	}
}

// TestJudgeConversations: what a change cuts and opens is told with the rules
// that decide, and nothing else is.
func TestJudgeConversations(t *testing.T) {
	w := world.New(twoGroups)
	v := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)})
	other := world.New(twoGroups + "\nallow db ssh ingress IPv4 tcp/22")
	ssh := other.Get(api.KindSecurityGroupRule, world.UUID(api.KindSecurityGroupRule, "db:ssh"))
	changes := &api.Changes{Put: []api.Object{ssh}, Deleted: []api.Target{{Kind: api.KindSecurityGroupRule, UUID: world.UUID(api.KindSecurityGroupRule, "db:in")}}}

	toPort := func(port uint16) api.Conversation {
		return api.Conversation{Port: world.UUID(api.KindPort, "w"), Began: true, Protocol: "tcp", From: netip.MustParseAddr("10.0.0.5"), To: netip.MustParseAddr("10.0.0.6"), SourcePort: 40000, TargetPort: port}
	}
	fromDB, heard, gone := toPort(5432), toPort(5432), toPort(5432)
	fromDB.From, fromDB.To, fromDB.Began = fromDB.To, fromDB.From, false // d begins, and w's group has nothing for ingress
	heard.Port, heard.Began = world.UUID(api.KindPort, "d"), false       // the first, told by the other end
	gone.Port = "away"
	got, err := v.Judge(t.Context(), w, []api.Conversation{toPort(5432), toPort(22), toPort(80), fromDB, heard, gone}, changes)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range got.Differ {
		lines = append(lines, fmt.Sprintf("%d %s to %s: %s; after %s", d.Index, d.From.Port.Name, d.To.Port.Name, verdictLine(d.Now), verdictLine(d.After)))
	}
	for _, u := range got.Unknown {
		lines = append(lines, fmt.Sprintf("%d %s", u.Index, u.Why))
	}
	cut := "passes by security-group-rule web:out, security-group-rule db:in; after refused by security-group-rule web:out, nothing"
	want := []string{
		"0 w to d: " + cut,
		"1 w to d: refused by security-group-rule web:out, nothing; after passes by security-group-rule web:out, security-group-rule db:ssh",
		"5 their port is not there any more",
	}
	if got.Distinct != 4 {
		t.Errorf("%d conversations, want 4", got.Distinct)
	}
	if g, w := strings.ReplaceAll(strings.Join(lines, "\n"), "d:p:", ""), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
	blindly, err := v.Judge(t.Context(), blind{w, api.KindSecurityGroupRule}, []api.Conversation{toPort(5432)}, changes)
	if err != nil || len(blindly.Differ) != 1 || !blindly.Differ[0].Now.Layers[0].Hidden || blindly.Differ[0].Now.Layers[0].Rule != "" {
		t.Errorf("who does not see the rules: %+v, %v", blindly, err)
	}
}

// TestJudgeRoutes: a conversation between networks is cut, too, when what joined
// them goes.
func TestJudgeRoutes(t *testing.T) {
	joined := `host h1 192.0.2.1
network blue 10
network red 20
subnet blue 10.0.0.0/24
subnet red 10.1.0.0/24
port blue w
port red d
address blue 10.0.0.5 w
address red 10.1.0.6 d
bind w h1
bind d h1
policy joins any any
attach joins blue
attach joins red`
	w := world.New(joined)
	v := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)})
	var changes api.Changes
	for _, o := range w.List(api.KindNetworkPolicyAttachment) {
		changes.Deleted = append(changes.Deleted, api.Target{Kind: api.KindNetworkPolicyAttachment, UUID: o.Head().Meta.UUID})
	}
	c := api.Conversation{Port: world.UUID(api.KindPort, "w"), Began: true, Protocol: "udp", From: netip.MustParseAddr("10.0.0.5"), To: netip.MustParseAddr("10.1.0.6"), SourcePort: 1, TargetPort: 53}
	heard := c
	heard.Port, heard.Began = world.UUID(api.KindPort, "d"), false
	got, err := v.Judge(t.Context(), w, []api.Conversation{heard, c}, &changes)
	if err != nil || got.Distinct != 1 || len(got.Differ) != 1 || !got.Differ[0].Now.Passes || !strings.Contains(got.Differ[0].After.Reason, "no route to 10.1.0.6") {
		t.Errorf("the attachments go: %+v, %v", got, err)
	}
}

func verdictLine(v api.Verdict) string {
	text := "refused by"
	if v.Passes {
		text = "passes by"
	}
	for i, l := range v.Layers {
		if i > 0 {
			text += ","
		}
		if l.Rule == "" {
			l.Rule = "nothing"
		}
		text += " " + l.Rule
	}
	return text
}

// TestReachOfAddresses: what addresses may say is cut where rules and routes tell
// them apart, and nowhere else.
func TestReachOfAddresses(t *testing.T) {
	w := world.New(twoGroups + `
addresses clients 203.0.113.0/25 -203.0.113.64/26
allow db outside ingress IPv4 tcp/443 addresses=clients
table out 203.0.113.0/24 10.0.0.5
table-network blue out`)
	v := views.New(&fleet{plan: placement.New(1, routing.Derive(w), nil)})
	lines := func(from, to string) string {
		t.Helper()
		answer, err := v.Reach(t.Context(), w, from, to)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, r := range answer.Rows {
			all = append(all, fmt.Sprint(r.From, r.FromRanges, " to ", r.To, r.ToRanges, " ", r.Allowed, " ", r.Reason))
		}
		return strings.ReplaceAll(strings.Join(all, "\n"), "d:p:", "")
	}
	d := "port/" + world.UUID(api.KindPort, "d")
	if got, want := lines("cidr/203.0.113.0/24", d), "[] [203.0.113.0/26] to [d] [] [tcp 443] \n[] [203.0.113.64/26 203.0.113.128/25] to [d] [] [] "; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := lines("port/"+world.UUID(api.KindPort, "w"), "cidr/203.0.113.0/24"), "[w] [] to [] [203.0.113.0/24] [everything] "; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := lines("cidr/198.51.100.9", d); !strings.Contains(got, "[198.51.100.9/32] to [d] [] [] network blue has no route to it") {
		t.Errorf("without a route: %s", got)
	}
	for _, wrong := range [][2]string{{"cidr/203.0.113.0/24", "cidr/10.0.0.0/8"}, {"cidr/hello", d}} {
		if _, err := v.Reach(t.Context(), w, wrong[0], wrong[1]); err == nil {
			t.Errorf("%v is answered", wrong)
		}
	}
}

// growing is a fleet whose plan another one follows.
type growing struct {
	fleet
	mu    sync.Mutex
	newer chan struct{}
}

func (g *growing) Newest() (*placement.Plan, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plan, g.newer
}

func (g *growing) publish(w *world.World) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.plan = placement.New(1, routing.Derive(w.Snapshot()), nil)
	close(g.newer)
	g.newer = make(chan struct{})
}

// made is a world that was made at an earlier revision than it is of, as where
// what came since is nothing that is derived from.
type made struct {
	api.Snapshot
	changed int64
}

func (m made) Changed() int64 { return m.changed }

// TestAnswersAreOfWhatIsSeen: what was written before somebody asks is in the answer,
// also while this controller is still deriving it; if that takes too long it says so.
func TestAnswersAreOfWhatIsSeen(t *testing.T) {
	never := []api.Assertion{{Never: &api.Encounter{From: portName("w"), To: portName("d"), Protocol: "tcp", Port: 22}}}
	synctest.Test(t, func(t *testing.T) {
		w := world.New(twoGroups)
		g := &growing{newer: make(chan struct{})}
		v := views.New(g)
		if _, err := v.Check(t.Context(), w, never, nil); err == nil || !strings.Contains(err.Error(), "has not read the store yet") {
			t.Fatalf("before anything is derived: %v", err)
		}
		g.publish(w)
		before := w.Revision()
		w.Do("allow db ssh ingress IPv4 tcp/22")
		time.AfterFunc(time.Second, func() { g.publish(world.New(twoGroups)) }) // not newer
		time.AfterFunc(2*time.Second, func() { g.publish(w) })
		if got, err := v.Check(t.Context(), w, never, nil); err != nil || got.Holds() || got.Revision != w.Revision() {
			t.Errorf("port 22 was opened before: %+v, %v", got, err)
		}
		later := w.Snapshot()
		w.Do("network other 99")
		for name, ask := range map[string]func(seen api.Snapshot) error{
			"check": func(seen api.Snapshot) error { _, err := v.Check(t.Context(), seen, never, nil); return err },
			"reach": func(seen api.Snapshot) error {
				_, err := v.Reach(t.Context(), seen, portName("w"), portName("d"))
				return err
			},
			"judge": func(seen api.Snapshot) error {
				_, err := v.Judge(t.Context(), seen, nil, &api.Changes{})
				return err
			},
		} {
			var e *api.Error
			if err := ask(w); !errors.As(err, &e) || e.Code != api.CodeTimeout || !strings.Contains(e.Message, "ask another controller") {
				t.Errorf("%s of what is never derived: %v", name, err)
			}
			if err := ask(later); err != nil {
				t.Errorf("%s of what is derived: %v", name, err)
			}
			if err := ask(made{w, before}); err != nil {
				t.Errorf("%s where nothing that is derived from changed: %v", name, err)
			}
		}
	})
}
