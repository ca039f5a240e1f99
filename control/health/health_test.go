// SPDX-License-Identifier: Apache-2.0

package health_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/health"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// dump prints all that anybody reads of what was derived.
func dump(s api.Snapshot, d *health.Derived) string {
	var b strings.Builder
	for _, p := range s.List(api.KindPool) {
		pool := d.Pool(p.Head().Meta.UUID)
		if pool == nil {
			fmt.Fprintf(&b, "pool %s: nobody is tried\n", p.Head().Meta.Name)
			continue
		}
		for i, m := range pool.Members {
			fmt.Fprintf(&b, "pool %s member %s host %q %s", p.Head().Meta.Name, m.UUID, m.Host.Name, m.Why)
			if m.Check != nil {
				fmt.Fprintf(&b, "%x %s", m.Check.Hash, placement.Describe(m.Check.Body))
			}
			if pool.Member(m.UUID) != &pool.Members[i] {
				b.WriteString(" is not found")
			}
			b.WriteByte('\n')
		}
	}
	for _, p := range s.List(api.KindPort) {
		port := d.Port(p.Head().Meta.UUID)
		if port == nil {
			continue
		}
		for _, c := range port.Checks {
			fmt.Fprintf(&b, "port %s check %s withdraws %t host %q %s", p.Head().Meta.Name, c.HealthCheck.Name, c.Withdraws, c.Host.Name, c.Why)
			if c.Check != nil {
				fmt.Fprintf(&b, "%x %s", c.Check.Hash, placement.Describe(c.Check.Body))
			}
			b.WriteByte('\n')
		}
	}
	for _, h := range s.List(api.KindHost) {
		if tries := d.Host(h.Head().Meta.UUID); tries != nil {
			for _, c := range tries.Checks {
				fmt.Fprintf(&b, "host %s tries %s %x\n", h.Head().Meta.Name, c.ID, c.Hash)
			}
		}
	}
	return b.String()
}

// What Update makes of an earlier outcome and the events since is what Derive
// makes of the objects alone, after any edits, few or many at a time; and what
// did not change is the same as before.
func TestUpdateEqualsDerive(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 7))
	t.Logf("seed %d", seed)
	seen := map[string]int{}
	words := []string{"tries", "nobody is tried", "is on no host", "has no address", "no workload of its project", "not tried by sctp", "by ping", "by http", "subnet", "shared",
		"withdraws true", "withdraws false", "ports are not tried segment yet", "names no transport port", "the port is on no host", "the port is disabled"}
	unseen := func() []string {
		return slices.DeleteFunc(slices.Clone(words), func(word string) bool { return seen[word] > 0 || word == "subnet" })
	}
	// More rounds until chance has made one of each.
	for round := 0; round < 8 || round < 200 && len(unseen()) > 0; round++ {
		w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3\nbalancer lb0\npool lb0 po0\nmonitor po0 tcp\nmember po0 me0 80 port=p0\npolicy pol0 any any")
		for i := range 4 {
			w.Do(fmt.Sprintf("network n%d %d\nsubnet n%d 10.0.0.0/24\nport n%d p%d\naddress n%d 10.0.0.%d p%d\nbind p%d h%d\nattach pol0 n%d", i, i+1, i, i, i, i, i+1, i, i, 1+r.IntN(3), i))
		}
		before := w.Snapshot()
		routes := routing.Derive(before)
		derived := health.Derive(routes)
		var story []string
		for step := range 150 {
			for range 1 + r.IntN(3)*r.IntN(3) {
				line := world.RandomHealth(r)
				if r.IntN(2) == 0 {
					line = world.RandomEdit(r)
				}
				story = append(story, line)
				w.Do(line)
			}
			after := w.Snapshot()
			events := world.Changes(before, after)
			first := dump(before, derived)
			routes = routing.Update(routes, after, events)
			next := health.Update(derived, routes, events)
			if now := dump(before, derived); now != first {
				t.Fatalf("seed %d round %d step %d: the earlier outcome was changed after\n%s", seed, round, step, strings.Join(story, "\n"))
			}
			got, want := dump(after, next), dump(after, health.Derive(routing.Derive(after)))
			if got != want {
				t.Fatalf("seed %d round %d step %d: after\n%s\nUpdate gives\n%s\nDerive gives\n%s", seed, round, step, strings.Join(story, "\n"), w.Names(got), w.Names(want))
			}
			for _, word := range words {
				seen[word] += strings.Count(got, word)
			}
			for _, h := range after.List(api.KindHost) {
				if tries := next.Host(h.Head().Meta.UUID); tries != nil && tries == derived.Host(h.Head().Meta.UUID) {
					seen["shared"]++
				}
			}
			before, derived = after, next
		}
	}
	t.Logf("seen: %v", seen)
	if left := unseen(); len(left) > 0 {
		t.Errorf("seed %d: never seen: %q", seed, left)
	}
}

// Who tries which member, at which address and port, and why nobody does.
func TestWhoTries(t *testing.T) {
	const begin = `host h1 192.0.2.1
host h2 192.0.2.2
network n 1
network other 2
subnet n 10.0.0.0/24 10.0.0.254
subnet other 10.0.1.0/24
port n a
port n b
port n foreign q
address n 10.0.0.1 a
address n 2001:db8::1 a
address n 10.0.0.2 b
address n 10.0.0.3 foreign
address n 10.0.0.9
bind a h1
bind foreign h2
balancer l address=n:10.0.0.9
pool l o
monitor o tcp every=1000 patience=500 rise=3 fall=4
port n silent
bind silent h1
`
	for _, c := range []struct{ lines, host, want string }{
		{"member o m 80 port=a", "h1", "10.0.0.1 by tcp port 80 every 1000 ms, 500 ms patience, up after 3, down after 4"},
		{"member o m 80 port=a ip=2001:db8::1", "h1", "2001:db8::1 by tcp port 80"},
		{"member o m 80 port=a at-port=81", "h1", "by tcp port 81"},
		{"member o m 80 port=a at=2001:db8::1", "h1", "2001:db8::1 by tcp port 80"},
		{"member o m 80 port=a ip=10.0.0.2", "", "port d:p:a has no address 10.0.0.2"},
		{"member o m 80 port=b", "", "port d:p:b is on no host"},
		{"member o m 80 port=b\nbind b h2", "h2", "10.0.0.2 by tcp port 80"},
		{"member o m 80 port=gone", "", "port d:p:gone is on no host"},
		{"member o m 80 ip=10.0.0.1", "h1", "10.0.0.1 by tcp port 80"},
		{"member o m 80 ip=10.0.0.1 subnet=other:10.0.1.0/24", "", "no workload of its project has the address 10.0.0.1"},
		{"policy p any any\nattach p n\nattach p other\nmember o m 80 ip=10.0.0.1 subnet=other:10.0.1.0/24", "h1", "10.0.0.1 by tcp port 80"},
		{"member o m 80 ip=10.0.0.3", "", "no workload of its project has the address 10.0.0.3"},
		{"member o m 80 port=foreign", "h2", "10.0.0.3 by tcp port 80"}, // by a share
		{"balancer l\nmember o m 80 ip=10.0.0.1", "", "in which network it is, nobody says"},
		{"monitor o sctp\nmember o m 80 port=a", "", "not tried by sctp yet"},
		{"monitor o ping\nmember o m 80 port=a", "h1", "by ping every 5000 ms, 2000 ms patience, up after 2, down after 3"},
		{"monitor o https codes=200-204\nmember o m 80 port=a", "h1", `GET /healthz HTTP/1.0 host "" wants 200-204`},
		{"monitor o tcp down\nmember o m 80 port=a", "", "nobody is tried"},
		{"pool l o down\nmember o m 80 port=a", "", "nobody is tried"},
		{"balancer l down\nmember o m 80 port=a", "", "nobody is tried"},
		{"remove health-monitor o\nmember o m 80 port=a", "", "nobody is tried"},
		{"member o m 80 port=a down", "", ""},
		{"health-check c ping\ncheck a c", "h1", `port a check d:p:c withdraws false host "h1"`},
		{"health-check c ping every=1000 rise=3 fall=4 withdraw\ncheck a c", "h1", "withdraws true"},
		{"health-check c ping every=1000 rise=3 fall=4 withdraw\ncheck a c", "h1", "10.0.0.1 by ping every 1000 ms, 1000 ms patience, up after 3, down after 4"},
		{"health-check c tcp port=81\ncheck foreign c", "h2", "10.0.0.3 by tcp port 81"},
		{"health-check c tcp\ncheck a c", "", "the health-check names no transport port"},
		{"health-check c http codes=200-204\ncheck a c", "h1", "10.0.0.1 by http port 80"},
		{"health-check c https\ncheck a c", "h1", "10.0.0.1 by https port 443"},
		{"health-check c bfd every=100\ncheck a c", "h1", "10.0.0.1 by bfd every 100 ms"},
		{"health-check c sctp port=1\ncheck a c", "", "ports are not tried by sctp yet"},
		{"health-check c ping scope=end-to-end\ncheck a c", "", "ports are not tried end-to-end yet"},
		{"health-check c ping\ncheck b c", "", "the port is on no host"},
		{"health-check c ping\ncheck silent c", "", "the port has no address"},
		{"health-check c ping\ncheck a c\ndisable-port a", "", "the port is disabled"},
		{"check a gone", "", ""},
	} {
		w := world.New(begin + c.lines)
		d := health.Derive(routing.Derive(w))
		got := strings.ReplaceAll(dump(w, d), "\t", " ")
		if !strings.Contains(got, c.want) || strings.Contains(got, "tries") != (c.host != "") || c.host != "" && !strings.Contains(got, "host "+c.host+" tries") || c.want == "" && got != "" {
			t.Errorf("%s:\n%s\nwant host %q and %q", c.lines, w.Names(got), c.host, c.want)
		}
	}
}

// A health-check has the same id for as long as it asks the same, however often.
func TestQuestions(t *testing.T) {
	w := world.New(`host h1 192.0.2.1
network n 1
subnet n 10.0.0.0/24 10.0.0.254
port n a
address n 10.0.0.1 a
bind a h1`)
	before := ""
	for i, c := range []struct {
		lines string
		same  bool
	}{
		{"health-check c tcp port=80\ncheck a c", false},
		{"health-check c tcp port=80 every=100 patience=50 rise=7 fall=9 withdraw", true},
		{"health-check c tcp port=81", false},
		{"health-check c http port=81", false},
		{"health-check c http port=81 codes=204", false},
		{"health-check c http port=81 codes=204", true},
		{"address n 10.0.0.2 a\nremove address n:10.0.0.1", false},
		{"health-check d http port=81 codes=204\nremove health-check c\ncheck a d", false},
	} {
		w.Do(c.lines)
		now := ""
		for _, p := range health.Derive(routing.Derive(w)).Port(world.UUID(api.KindPort, "a")).Checks {
			now = p.Check.ID
		}
		if now == "" || i > 0 && (now == before) != c.same {
			t.Errorf("%s: %q, before %q, want the same: %t", c.lines, now, before, c.same)
		}
		before = now
	}
}
