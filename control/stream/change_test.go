// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// change is what a host makes of a change of a selector.
func (m *model) change(t *testing.T, c *hoststream.SelectorChange) {
	var row hoststream.Row
	if err := proto.Unmarshal([]byte(m.rows[c.Key]), &row); err != nil || xxhash.Sum64String(m.rows[c.Key]) != c.Was {
		t.Fatalf("%v is a change of what the host does not have", c)
	}
	s := row.GetSelector()
	s.Identities = slices.DeleteFunc(append(s.Identities, c.Came...), func(id uint64) bool { return slices.Contains(c.Went, id) })
	slices.Sort(s.Identities)
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&row)
	if err != nil || xxhash.Sum64(body) != c.Is {
		t.Fatalf("%v does not lead to the row", c)
	}
	m.rows[c.Key] = string(body)
}

// When workloads come to a selector or leave it, a host that takes changes is sent
// who came and went, also when it has missed some, and after it began anew with
// what it has; one that does not take them is sent the selector. Both have then
// what follows from the objects alone.
func TestSelectorsAreSentByWhatChanges(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nnetwork n 1\nsecurity-group web\nallow web in ingress IPv4 tcp/80 group=web\nport n own\nsecured own web\nbind own h1")
	member := func(i int) {
		w.Do(fmt.Sprintf("port n p%[1]d\naddress n 10.0.1.%[1]d p%[1]d\nsecured p%[1]d web\ntag t%[1]d tier=%[1]d\ntagged t%[1]d port p%[1]d\nbind p%[1]d h2", i))
	}
	for i := range 60 {
		member(i + 1)
	}
	before := w.Snapshot()
	plan := placement.New(1, routing.Derive(before), nil)
	edit := func(do func()) {
		do()
		after := w.Snapshot()
		events := world.Changes(before, after)
		plan = placement.Of(1, policy.Update(plan.Policy, routing.Update(plan.Derived, after, events), events), plan)
		before = after
	}
	id := world.UUID(api.KindHost, "h1")
	for i, takes := range []bool{true, false} {
		host := &model{rows: map[string]string{}}
		p := newProgress(id, nil)
		// turn sends what there is, and returns how many selectors were sent whole and by what changed.
		turn := func() (whole, changed, identities int) {
			p.changes = takes
			p.aim(plan)
			for d := p.next(); d != nil; d = p.next() {
				for _, row := range d.Put {
					if strings.HasPrefix(row.Key, "selector/") {
						whole++
					}
				}
				for _, c := range d.Change {
					host.change(t, c)
					changed, identities = changed+1, identities+len(c.Came)+len(c.Went)
				}
				host.apply(d)
				p.ack(&hoststream.Ack{Sequence: d.Sequence})
			}
			return whole, changed, identities
		}
		expect := func(what string, ids int) {
			t.Helper()
			want := [3]int{0, 1, ids}
			if !takes {
				want = [3]int{1, 0, 0}
			}
			if whole, changed, identities := turn(); [3]int{whole, changed, identities} != want {
				t.Errorf("%s, a host takes changes %t: %d selectors are sent whole, %d by %d identities; want %v", what, takes, whole, changed, identities, want)
			}
			if want := texts(placement.New(1, routing.Derive(w.Snapshot()), nil).For(id)); !maps.Equal(want, host.rows) {
				t.Errorf("%s, a host takes changes %t: it has other rows than follow from the objects", what, takes)
			}
		}
		if whole, changed, _ := turn(); whole != 1 || changed != 0 {
			t.Errorf("at first %d selectors are sent whole and %d changed", whole, changed)
		}
		edit(func() { member(101 + 10*i) })
		expect("one came", 1)
		edit(func() { member(102 + 10*i) })
		edit(func() { member(103 + 10*i) })
		edit(func() { w.Do(fmt.Sprintf("remove tag-binding t%[1]d-port-p%[1]d", 5+i)) })
		p, _ = resumeProgress(id, plan.View(id), hoststream.Sums(host.hello()))
		p.list(host.hello())
		expect("the stream began anew after two more came and one went", 3)
	}
}
