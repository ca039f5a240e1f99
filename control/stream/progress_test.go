// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// row makes a row whose body is text; progress does not look inside.
func row(key, text string) placement.Row {
	return placement.Row{Key: key, Hash: xxhash.Sum64String(text), Body: []byte(text)}
}

// model is the host's end: what it has and the deltas it has not acknowledged.
type model struct {
	rows     map[string]string
	received []uint64
}

func (m *model) hello() []*hoststream.RowHash {
	var have []*hoststream.RowHash
	for key, body := range m.rows {
		have = append(have, &hoststream.RowHash{Key: key, Hash: xxhash.Sum64String(body)})
	}
	return have
}

func (m *model) apply(d *hoststream.Delta) {
	for _, r := range d.Put {
		m.rows[r.Key] = string(r.Body)
	}
	for _, key := range d.Delete {
		delete(m.rows, key)
	}
	m.received = append(m.received, d.Sequence)
}

func printDelta(d *hoststream.Delta) string {
	if d == nil {
		return "nothing"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d at %d.%d:", d.Sequence, d.Version.Epoch, d.Version.Revision)
	for _, r := range d.Put {
		fmt.Fprintf(&b, " put %s=%s", r.Key, r.Body)
	}
	for _, key := range d.Delete {
		fmt.Fprintf(&b, " delete %s", key)
	}
	if d.InSync {
		b.WriteString(" in sync")
	}
	return b.String()
}

// What is sent is the difference between what the host says it has and the rows.
func TestDifference(t *testing.T) {
	rows := []placement.Row{row("vrf/1", "v"), row("port/a", "A"), row("route/1/10.0.0.1/32", "r")}
	for _, c := range []struct{ name, have, want string }{
		{"nothing", "", "1 at 7.5: put vrf/1=v put port/a=A put route/1/10.0.0.1/32=r in sync"},
		{"everything", "vrf/1=v port/a=A route/1/10.0.0.1/32=r", "1 at 7.5: in sync"},
		{"stale", "vrf/1=v port/a=OLD", "1 at 7.5: put port/a=A put route/1/10.0.0.1/32=r in sync"},
		{"foreign", "vrf/1=v port/a=A route/1/10.0.0.1/32=r vrf/9=x port/z=Z route/9/10.0.0.1/32=q tunnel-endpoint/h=e odd=o",
			"1 at 7.5: delete odd delete route/9/10.0.0.1/32 delete port/z delete vrf/9 delete tunnel-endpoint/h in sync"},
	} {
		host := model{rows: map[string]string{}}
		for _, pair := range strings.Fields(c.have) {
			key, body, _ := strings.Cut(pair, "=")
			host.rows[key] = body
		}
		p := newProgress("", host.hello())
		p.retarget(placement.Version{Epoch: 7, Revision: 5}, placement.ViewOf(rows))
		if got := printDelta(p.next()); got != c.want {
			t.Errorf("a host that has %s is sent\n%s\nwant\n%s", c.name, got, c.want)
		}
		if got := printDelta(p.next()); got != "nothing" {
			t.Errorf("a host that has %s is then sent %s", c.name, got)
		}
	}
}

// Large differences go in several deltas; only the last says in sync, and
// deletes come after all puts.
func TestDeltasAreBounded(t *testing.T) {
	t.Run("own", func(t *testing.T) { boundedDeltas(t, "port/old", "port/%02d") })
	t.Run("of a network", func(t *testing.T) { boundedDeltas(t, "route/7/10.9.9.9/32", "route/7/10.0.0.%d/32") })
	t.Run("of networks", func(t *testing.T) { boundedDeltas(t, "route/100/10.9.9.9/32", "route/%d/10.0.0.1/32") })
	t.Run("senders", func(t *testing.T) { boundedDeltas(t, "vrf/7", "tunnel-source/7/%02d") })
}

func boundedDeltas(t *testing.T, old, pattern string) {
	var rows []placement.Row
	for i := range 30 {
		rows = append(rows, row(fmt.Sprintf(pattern, i), strings.Repeat("x", 25_000)))
	}
	host := model{rows: map[string]string{old: "x"}}
	p := newProgress("", host.hello())
	p.retarget(placement.Version{Revision: 1}, placement.ViewOf(rows))
	deltas := 0
	for {
		d := p.next()
		if d == nil {
			break
		}
		deltas++
		if size := proto.Size(d); size > maxDeltaBytes {
			t.Errorf("delta %d has %d bytes, the bound is %d", d.Sequence, size, maxDeltaBytes)
		}
		if len(d.Delete) > 0 && !d.InSync || d.InSync != (deltas == 3) {
			t.Errorf("delta %d: deletes %v, in sync %t", d.Sequence, d.Delete, d.InSync)
		}
		host.apply(d)
	}
	if deltas != 3 || len(host.rows) != 30 {
		t.Errorf("%d deltas gave %d rows, want 3 and 30", deltas, len(host.rows))
	}
}

// A host that does not acknowledge gets a bounded number of deltas; what it
// missed meanwhile is one difference to the newest rows.
func TestSlowHostGetsOneDifference(t *testing.T) {
	p := newProgress("", nil)
	sent := 0
	for revision := int64(1); revision <= 1000; revision++ {
		p.retarget(placement.Version{Revision: revision}, placement.ViewOf([]placement.Row{row("port/a", fmt.Sprint(revision))}))
		for p.next() != nil {
			sent++
		}
	}
	if sent != maxUnacked {
		t.Errorf("%d deltas were sent without an acknowledgement, want %d", sent, maxUnacked)
	}
	if err := p.ack(&hoststream.Ack{Sequence: maxUnacked}); err != nil {
		t.Fatal(err)
	}
	if got := printDelta(p.next()); got != "5 at 0.1000: put port/a=1000 in sync" {
		t.Errorf("after the acknowledgement: %s", got)
	}
	if got := printDelta(p.next()); got != "nothing" {
		t.Errorf("then: %s", got)
	}
}

// A change that is sent in many deltas says of each but the last that more follows.
// A host that keeps them back gets all of them, up to as many as are remembered here,
// and the next is to be applied; nothing counts as done before it is in the kernel.
// A host that does not know of it is sent no more than before.
func TestDeltasThatBelongTogether(t *testing.T) {
	large := row("", strings.Repeat("x", 200_000))
	for _, c := range []struct {
		name           string
		deltas, atOnce int
		keeps          bool
	}{
		{"a few", 20, 20, true}, {"too many", 300, maxTogether + 1, true}, {"older agent", 20, maxUnacked, false}, {"one", 1, 1, true},
	} {
		p := newProgress("", nil)
		var rows []placement.Row
		for i := range c.deltas {
			large.Key = fmt.Sprintf("port/%03d", i)
			rows = append(rows, large)
		}
		p.retarget(placement.Version{Revision: 1}, placement.ViewOf(rows))
		sent, done := 0, 0
		for d := p.next(); d != nil; d = p.next() {
			if sent++; d.More != (sent != c.deltas && sent%(maxTogether+1) != 0) || d.InSync != (sent == c.deltas) {
				t.Fatalf("%s: delta %d of %d says more %t, in sync %t", c.name, sent, c.deltas, d.More, d.InSync)
			}
			ack := &hoststream.Ack{Sequence: uint64(done), Kept: d.Sequence}
			switch {
			case !d.More:
				if first := done == 0 && c.keeps; first && sent != c.atOnce {
					t.Errorf("%s: after %d deltas the host is to apply them, want %d", c.name, sent, c.atOnce)
				}
				done = sent
				ack = &hoststream.Ack{Sequence: d.Sequence}
			case !c.keeps:
				continue
			}
			if err := p.ack(ack); err != nil {
				t.Fatal(err)
			}
			if state := p.rows(rows[sent-1 : sent])[0]; state.Acked == d.More || (p.settled.Revision == 1) != d.InSync {
				t.Fatalf("%s: delta %d says more %t, and when the host has it its row is %+v, settled %v", c.name, sent, d.More, state, p.settled)
			}
		}
		if want := map[bool]int{true: c.deltas, false: c.atOnce}[c.keeps]; sent != want {
			t.Errorf("%s: %d deltas were sent, want %d", c.name, sent, want)
		}
	}
	p := newProgress("", nil)
	if err := p.ack(&hoststream.Ack{Kept: 1}); err == nil {
		t.Error("a host keeps a delta back that was never sent")
	}
}

// The state of a row follows its way: not sent, sent, acknowledged, changed.
// The errors of the last acknowledgement are all there are.
func TestRowStates(t *testing.T) {
	p := newProgress("", nil)
	a, b := row("port/a", "1"), row("port/b", "1")
	check := func(when string, r placement.Row, want RowState) {
		t.Helper()
		if got := p.rows([]placement.Row{r})[0]; got != want {
			t.Errorf("%s: %s is %+v, want %+v", when, r.Key, got, want)
		}
	}
	settled := func(when string, revision int64) {
		t.Helper()
		if p.settled.Revision != revision {
			t.Errorf("%s: settled at %d, want %d", when, p.settled.Revision, revision)
		}
	}
	p.retarget(placement.Version{Revision: 3}, placement.ViewOf([]placement.Row{a, b}))
	check("before", a, RowState{})
	p.next()
	check("sent", a, RowState{Sent: true})
	settled("sent", 0)
	p.ack(&hoststream.Ack{Sequence: 1, Errors: []*hoststream.RowError{{Key: "port/b", Error: "no room"}}})
	check("acknowledged", a, RowState{Sent: true, Acked: true})
	check("failed", b, RowState{Sent: true, Acked: true, Error: "no room"})
	settled("acknowledged", 3)
	p.ack(&hoststream.Ack{Sequence: 1})
	check("retried", b, RowState{Sent: true, Acked: true})
	a = row("port/a", "2")
	p.retarget(placement.Version{Revision: 4}, placement.ViewOf([]placement.Row{a, b}))
	check("changed", a, RowState{})
	settled("changed", 3)
	p.retarget(placement.Version{Revision: 5}, placement.ViewOf([]placement.Row{row("port/a", "1"), b}))
	if d := p.next(); d != nil {
		t.Errorf("changed back before it was sent: sent %s", printDelta(d))
	}
	settled("changed back before it was sent", 5)
	for revision, text := range []string{"3", "4"} {
		a = row("port/a", text)
		p.retarget(placement.Version{Revision: int64(6 + revision)}, placement.ViewOf([]placement.Row{a, b}))
		p.next()
	}
	p.ack(&hoststream.Ack{Sequence: 2})
	check("an earlier form acknowledged", a, RowState{Sent: true})
	if err := p.ack(&hoststream.Ack{Sequence: 4}); err == nil {
		t.Error("an acknowledgement of a delta that was never sent was taken")
	}
}

// texts are the bodies of rows by key.
func texts(rows []placement.Row) map[string]string {
	all := map[string]string{}
	for _, r := range rows {
		all[r.Key] = string(r.Body)
	}
	return all
}

// talk is a few hosts and their sessions with a controller.
type talk struct {
	t             *testing.T
	r             *rand.Rand
	seed          uint64
	plan          *placement.Plan
	hosts         map[string]*model
	sessions      map[string]*progress // nil: a new one is to begin
	tables, asked int                  // that hosts summed up; of which rows were asked for
}

// again begins a session with what the host has, told in either way.
func (k *talk) again(id string) *progress {
	have := k.hosts[id].hello()
	if k.r.IntN(3) == 0 {
		return newProgress(id, have)
	}
	sums := hoststream.Sums(have)
	p, unknown := resumeProgress(id, k.plan.View(id), sums)
	p.list(slices.DeleteFunc(have, func(h *hoststream.RowHash) bool { return !slices.Contains(unknown, hoststream.TableOf(h.Key)) }))
	k.tables, k.asked = k.tables+len(sums), k.asked+len(unknown)
	return p
}

// turn sends what there is. With breaks the connection may be lost before
// any delta arrives; the host then begins again with what it has.
func (k *talk) turn(id string, breaks bool) {
	host := k.hosts[id]
	if k.plan.View(id) == nil { // it was deleted, which ends its session; it keeps what it has
		host.received, k.sessions[id] = nil, nil
		return
	}
	if k.sessions[id] == nil {
		k.sessions[id] = k.again(id)
	}
	p := k.sessions[id]
	p.aim(k.plan)
	for d := p.next(); d != nil; d = p.next() {
		if breaks && k.r.IntN(5) == 0 {
			host.received = nil
			k.sessions[id] = k.again(id)
			return
		}
		host.apply(d)
	}
	if n := len(host.received); n > 0 && k.r.IntN(3) == 0 {
		if err := p.ack(&hoststream.Ack{Sequence: host.received[k.r.IntN(n)]}); err != nil {
			k.t.Fatalf("seed %d: %v", k.seed, err)
		}
	}
}

// Whatever was edited in whatever order, with acknowledgements late, sessions
// broken and hosts deleted at any point, each host ends with exactly the rows
// that follow from the final objects alone.
func TestHistoryDoesNotShow(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	const all = "host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3"
	ids := []string{world.UUID(api.KindHost, "h1"), world.UUID(api.KindHost, "h2"), world.UUID(api.KindHost, "h3")}
	k := &talk{t: t, r: r, seed: seed}
	for round := range 20 {
		w := world.New(all)
		k.plan, k.hosts, k.sessions = nil, map[string]*model{}, map[string]*progress{}
		for _, id := range ids {
			k.hosts[id] = &model{rows: map[string]string{}}
		}
		before := w.Snapshot()
		derived := routing.Derive(before)
		for step := range 101 {
			line := all // in the end
			if step < 100 {
				line = world.RandomEdit(r)
			}
			w.Do(line)
			after := w.Snapshot()
			derived = routing.Update(derived, after, world.Changes(before, after))
			k.plan, before = placement.New(1, derived, k.plan), after
			k.turn(ids[r.IntN(3)], true)
		}
		want := placement.New(1, routing.Derive(w.Snapshot()), nil)
		for _, id := range ids {
			if p := k.sessions[id]; p != nil {
				p.ack(&hoststream.Ack{Sequence: p.sequence})
			}
			k.turn(id, false)
			full := texts(want.For(id))
			if has := k.hosts[id].rows; !maps.Equal(has, full) {
				t.Fatalf("seed %d round %d: %s has %d rows that differ from the %d that follow from the objects", seed, round, w.Names(id), len(has), len(full))
			}
			if _, unknown := resumeProgress(id, k.plan.View(id), hoststream.Sums(k.hosts[id].hello())); len(unknown) > 0 {
				t.Fatalf("seed %d round %d: %s has everything and is asked for the rows of %v", seed, round, w.Names(id), unknown)
			}
		}
	}
	if k.asked == 0 || k.asked == k.tables {
		t.Errorf("seed %d: of %d tables the rows of %d were asked for", seed, k.tables, k.asked)
	}
}

// A host that is deleted while its stream begins gets none, also if its
// deletion was published before it could be told; and when one of its UUID is
// made again it is asked for all that it has.
func TestDeletedWhileItBegins(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nnetwork n 1\nport n a\nbind a h1")
	id := world.UUID(api.KindHost, "h1")
	has := &model{rows: map[string]string{}}
	p := newProgress(id, nil)
	p.aim(placement.New(1, routing.Derive(w), nil))
	has.apply(p.next())
	w.Do("remove binding a:h1\nremove host h1")
	deleted := placement.New(1, routing.Derive(w), nil)
	s := &Server{sessions: map[string]*session{}, plan: deleted}
	if err := s.register(&session{host: world.Ref(api.KindHost, "h1")}); status.Code(err) != codes.PermissionDenied || len(s.sessions) > 0 {
		t.Errorf("a session of a deleted host: %v", err)
	}
	sums := hoststream.Sums(has.hello())
	if _, unknown := resumeProgress(id, deleted.View(id), sums); len(sums) == 0 || len(unknown) != len(sums) {
		t.Errorf("rows of %v are asked for, the host has %v", unknown, sums)
	}
}
