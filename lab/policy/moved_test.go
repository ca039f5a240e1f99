// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// Ports on which the workload that moves is spoken to, and on which it speaks to
// others. Rules pass nothing else: who answers may not begin, and an answer passes
// only as one.
const (
	spokenTo, spokenToLast = 20000, 20999
	speaksTo, speaksToLast = 21000, 21999
)

// hangs is how long a connection may do without anything: longer than a move takes
// on a busy machine, with what TCP then waits before it tries once more.
const hangs = 2 * time.Minute

// moving is a workload with conversations, and what must not be heard beside them.
type moving struct {
	*system
	who     Workload
	peers   []Workload // one on each host
	next    int        // of ports
	streams []*probe.Transferring
	probers []*prober
	silent  *hearing
}

// moved takes a workload from host to host, to each of which it has conversations
// of both families, that it began and that others began, in which either end has
// the next word. They all go on, others begin as the rules allow, and nothing that
// the rules refuse passes meanwhile.
func (s *system) moved(t *testing.T, m *Model) {
	v := &moving{system: s, who: find(t, "red-w2"), peers: []Workload{find(t, "red-w1"), find(t, "red-w3"), find(t, "red-w4")}}
	var operations []api.Operation
	for _, name := range []string{"mover", "peer"} {
		operations = append(operations, create(&api.SecurityGroup{Header: header(api.KindSecurityGroup, "red:shop", name)}))
	}
	operations = append(operations, allow("mover", "hears", api.Ingress, named("peer", spokenTo, spokenToLast))...)
	operations = append(operations, allow("mover", "says", api.Egress, named("peer", speaksTo, speaksToLast))...)
	operations = append(operations, allow("peer", "hears", api.Ingress, named("mover", speaksTo, speaksToLast))...)
	operations = append(operations, allow("peer", "says", api.Egress, named("mover", spokenTo, spokenToLast))...)
	operations = append(operations, s.withGroups(t, m, []string{"mover"}, v.who.Name)...)
	s.write(t, append(operations, s.withGroups(t, m, []string{"peer"}, "w1", "w3", "w4")...)...)
	defer func() {
		s.write(t, slices.Concat(s.withGroups(t, m, []string{"run"}, "w1", "w4"), s.withGroups(t, m, []string{"run", "old"}, "w2", "w3"))...)
	}()
	v.streams = v.talk(t)
	v.listen(t)
	v.goOn(t, "before it moves")
	for _, way := range [][2]int{{1, 2}, {2, 3}, {3, 1}} {
		v.move(t, way[0], way[1])
		during := fmt.Sprintf("from %s to %s", topology.HostName(way[0]), topology.HostName(way[1]))
		v.goOn(t, during)
		for _, x := range v.talk(t) { // what begins there
			if _, err := x.Stop(); err != nil {
				t.Errorf("%s, a conversation that begins there: %v", during, err)
			}
		}
	}
	v.end(t)
}

// talk opens a conversation of each family with each peer that it begins and one
// that the peer begins, for each end that may have the next word.
func (v *moving) talk(t *testing.T) (all []*probe.Transferring) {
	t.Helper()
	for _, peer := range v.peers {
		for _, way := range []struct {
			from, to Workload
			port     int
		}{{peer, v.who, spokenTo}, {v.who, peer, speaksTo}} {
			for _, a := range way.to.Addresses() {
				for _, back := range []bool{false, true} {
					v.next++
					x, err := probe.Transfer{
						Name: fmt.Sprintf("%s to %v, back %t", way.from.Short(), a, back), From: v.namespace(way.from), To: v.namespace(way.to),
						Address: a, Port: uint16(way.port + v.next), Rate: 16 << 10, Back: back, Patience: hangs,
					}.Start()
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, x)
				}
			}
		}
	}
	return all
}

// listen begins what must not be heard: attempts to begin on other ports, and
// datagrams, from each peer and to each.
func (v *moving) listen(t *testing.T) {
	t.Helper()
	refused := func(f probe.Finding) bool { return f != probe.Connected && f != probe.Refused }
	v.silent = &hearing{}
	attempts := map[Workload][]probe.Attempt{}
	for _, peer := range v.peers {
		for _, way := range [][2]Workload{{peer, v.who}, {v.who, peer}} {
			attempts[way[0]] = append(attempts[way[0]], both(way[1], probe.ProtocolTCP, 80, 443)...)
			for _, a := range way[1].Addresses() {
				name := fmt.Sprintf("%s to %v", way[0].Short(), a)
				f, err := probe.Flow{Name: name, From: v.namespace(way[0]), To: v.namespace(way[1]), Address: a, Rate: 500}.Start()
				if err != nil {
					t.Fatal(err)
				}
				v.silent.flows, v.silent.names = append(v.silent.flows, f), append(v.silent.names, name)
			}
		}
	}
	for from, list := range attempts {
		v.probers = append(v.probers, v.trying(from, "refused", refused, 300*time.Millisecond, list))
	}
}

// move takes the workload's interface from it, moves its port, and gives it another
// one at once: nobody waits until hosts have heard of it.
func (v *moving) move(t *testing.T, from, to int) {
	t.Helper()
	began := time.Now()
	if err := v.lab.Unplug(t.Context(), from, v.who.Port()); err != nil {
		t.Fatal(err)
	}
	v.bind(t, to)
	if err := v.lab.Plug(t.Context(), to, v.who.Port(), v.who.Short()); err != nil {
		t.Fatal(err)
	}
	t.Logf("from %s to %s: plugged after %v", topology.HostName(from), topology.HostName(to), time.Since(began))
}

// bind makes the binding to a host the active one, in one transaction, and leaves the others.
func (v *moving) bind(t *testing.T, to int) {
	t.Helper()
	var operations []api.Operation
	there := false
	m := v.model(t)
	for _, b := range all[*api.Binding](m, api.KindBinding) {
		if b.Meta.Parent.UUID != m.Port(v.who.Port()).Meta.UUID {
			continue
		}
		is := b.Spec.Host.Name == topology.HostName(to)
		if there = there || is; is != b.Spec.Active {
			operations = append(operations, update(b, func(b *api.Binding) { b.Spec.Active = is }))
		}
	}
	if !there {
		b := &api.Binding{Header: header(api.KindBinding, v.who.Port(), topology.HostName(to))}
		b.Spec.Host, b.Spec.Active = api.Ref{Name: topology.HostName(to)}, true
		operations = append(operations, create(b))
	}
	if _, err := v.client.Transaction(t.Context(), operations, false); err != nil {
		t.Fatal(err)
	}
}

// goOn waits until every conversation has brought more than it had.
func (v *moving) goOn(t *testing.T, during string) {
	t.Helper()
	var work sync.WaitGroup
	for i, x := range v.streams {
		had := x.Received()
		work.Go(func() {
			for end := time.Now().Add(hangs); x.Received() < had+4096; wait(t, breather) {
				if time.Now().After(end) || t.Context().Err() != nil {
					t.Errorf("%s: conversation %d does not go on", during, i)
					return
				}
			}
		})
	}
	work.Wait()
}

// end stops all. Nothing was heard that is refused, and nothing was lost of what is not.
func (v *moving) end(t *testing.T) {
	t.Helper()
	attempts := int64(0)
	for _, p := range v.probers {
		attempts += p.attempts.Load()
		p.end(t, "while a workload moves")
	}
	came, sent := v.silent.end(t)
	t.Logf("of %d attempts and %d datagrams that the rules refuse there came: %v", attempts, sent, came)
	if len(came) > 0 || sent < 1000 || attempts < 100 {
		t.Errorf("of %d attempts and %d datagrams that the rules refuse there came: %v", attempts, sent, came)
	}
	for _, x := range v.streams {
		if _, err := x.Stop(); err != nil {
			t.Errorf("a conversation of a workload that moved: %v", err)
		}
	}
}
