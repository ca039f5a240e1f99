// SPDX-License-Identifier: Apache-2.0

package reserve_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/reserve"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// host is a machine that gives reserved addresses away while it is isolated.
type host struct {
	name     string
	isolated bool
	revision int64
	has      map[string]bool // reserved address, and whether it may be given away
	taken    map[string]string
}

// system is a store, in which addresses are given out in order, and hosts.
type system struct {
	*world.World
	t     *testing.T
	n     *api.Network
	hosts []*host
	next  int
	gave  int
}

func newSystem(t *testing.T, hosts int) *system {
	text := "network blue 10\nsubnet blue 10.0.0.0/16\nsubnet blue fd00::/64"
	s := &system{t: t}
	for i := range hosts {
		name := fmt.Sprintf("h%d", i)
		text += fmt.Sprintf("\nhost %s 192.0.2.%d", name, i+1)
		s.hosts = append(s.hosts, &host{name: name, has: map[string]bool{}, taken: map[string]string{}})
	}
	s.World = world.New(text)
	s.n = s.Get(api.KindNetwork, world.UUID(api.KindNetwork, "blue")).(*api.Network)
	return s
}

func (s *system) states() map[string]stream.HostState {
	states := map[string]stream.HostState{}
	for _, h := range s.hosts {
		state := stream.HostState{Connected: !h.isolated, InSync: !h.isolated, Settled: placement.Version{Epoch: 1, Revision: h.revision}}
		if !h.isolated {
			state.Report = &hoststream.Report{}
			for id, port := range h.taken {
				state.Report.Taken = append(state.Report.Taken, &hoststream.TakenAddress{Address: id, Port: port})
			}
		}
		states[world.UUID(api.KindHost, h.name)] = state
	}
	return states
}

// control does one round of what the leader does.
func (s *system) control() (changes int) {
	states := s.states()
	for _, a := range api.ListOf[*api.Address](s, api.KindAddress) { // the status that is written
		if r := a.Spec.Reservation; r != nil {
			a.Status.Taken = reserve.Taken(a, states[r.Host.UUID])
		}
	}
	all := reserve.Changes(reserve.Input{Snapshot: s.Snapshot(), Epoch: 1, Hosts: states}, 100)
	for _, c := range all {
		for _, op := range c.Operations {
			s.apply(op)
		}
	}
	return len(all)
}

func (s *system) apply(op api.Operation) {
	s.Do("network other 99") // a write
	a := op.Object.(*api.Address)
	switch op.Op {
	case api.OpCreate:
		s.next++
		ip := fmt.Sprintf("10.0.%d.%d", s.next/250, s.next%250+2)
		if strings.Contains(a.Spec.Subnet.Name, "fd00") {
			ip = fmt.Sprintf("fd00::%x", s.next+1)
		}
		r := a.Spec.Reservation
		s.Do("address blue " + ip)
		s.Get(api.KindAddress, world.UUID(api.KindAddress, "blue:"+ip)).(*api.Address).Spec.Reservation = r
	case api.OpUpdate:
		now := s.Get(api.KindAddress, a.Meta.UUID).(*api.Address)
		now.Spec.Reservation = a.Spec.Reservation
		now.Meta.Revision = s.Revision()
	case api.OpDelete:
		s.Remove(api.KindAddress, "blue:"+a.Spec.IP.String())
	}
}

// deliver brings a host that is not isolated up to date.
func (s *system) deliver(h *host) {
	if h.isolated {
		return
	}
	h.revision, h.has = s.Revision(), map[string]bool{}
	for _, a := range api.ListOf[*api.Address](s, api.KindAddress) {
		if r := a.Spec.Reservation; r != nil && r.Host.Name == h.name {
			h.has[a.Meta.UUID] = !r.Releasing
		}
	}
	for id := range h.taken {
		if _, reserved := h.has[id]; !reserved {
			delete(h.taken, id)
		}
	}
}

// give gives an address to a new workload of an isolated host. Nobody else may
// have it.
func (s *system) give(h *host) {
	ids := slices.Sorted(func(yield func(string) bool) {
		for id, may := range h.has {
			if _, gone := h.taken[id]; may && !gone && !yield(id) {
				return
			}
		}
	})
	if len(ids) == 0 || !h.isolated {
		return
	}
	s.gave++
	h.taken[ids[0]] = fmt.Sprintf("port%d", s.gave)
}

// adopt makes a port of what a host reports as taken: the claim moves.
func (s *system) adopt() {
	for _, a := range api.ListOf[*api.Address](s, api.KindAddress) {
		if a.Status.Taken != nil && a.Spec.Reservation != nil {
			s.Do(fmt.Sprintf("port blue %s", a.Status.Taken.Port))
			a.Spec.Reservation, a.Spec.Port = nil, world.Ref(api.KindPort, a.Status.Taken.Port)
			a.Meta.Revision = s.Revision()
			return
		}
	}
}

// check holds at every moment: an address that a host has given away, or may
// give away, is claimed for that host, or was made its port's.
func (s *system) check(step int) {
	s.t.Helper()
	for _, h := range s.hosts {
		for id, may := range h.has {
			a, _ := s.Get(api.KindAddress, id).(*api.Address)
			port, taken := h.taken[id]
			if !may && !taken {
				continue
			}
			if a == nil || a.Spec.Reservation != nil && a.Spec.Reservation.Host.Name != h.name || a.Spec.Reservation == nil && a.Spec.Port != world.Ref(api.KindPort, port) {
				s.t.Fatalf("step %d: host %s may give away or gave away (%q) an address that is not its own: %+v", step, h.name, port, a)
			}
		}
	}
}

// Hosts are isolated at random, demand what they can get, come back; the
// setting goes up and down; ports are made of what was taken. No address is
// ever free for others while a host may use it, and in the end each host has
// as many as the network says.
func TestNoAddressTwice(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	gave := 0
	for round := 0; round < 30 || round < 300 && gave < 100; round++ {
		s := newSystem(t, 3)
		for step := range 300 {
			h := s.hosts[random.IntN(len(s.hosts))]
			switch random.IntN(8) {
			case 0:
				h.isolated = !h.isolated
			case 1:
				s.n.Spec.HostReserve = random.IntN(4)
			case 2, 3:
				s.give(h)
			case 4:
				s.adopt()
			case 5, 6:
				s.deliver(h)
			default:
				s.control()
			}
			s.check(step)
		}
		for _, h := range s.hosts {
			h.isolated = false
		}
		s.n.Spec.HostReserve = 2
		for round := 0; ; round++ {
			for _, h := range s.hosts {
				s.deliver(h)
			}
			s.adopt()
			if n := s.control(); n == 0 && round > 30 {
				break
			}
			if round > 300 {
				t.Fatal("the reservations do not settle")
			}
		}
		for _, h := range s.hosts {
			s.deliver(h)
			if len(h.has) != 4 {
				t.Errorf("host %s has %v, want 2 of each family", h.name, h.has)
			}
		}
		gave += s.gave
	}
	if gave < 100 {
		t.Errorf("only %d addresses were given away", gave)
	}
}
