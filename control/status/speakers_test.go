// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// announcement is that a port spoke for an address with its own MAC.
func announcement(port, address string, sequence uint64) *hoststream.Announcement {
	mac, err := api.MACFromUUID(world.UUID(api.KindPort, port)).Bytes()
	if err != nil {
		panic(err)
	}
	return &hoststream.Announcement{Port: world.UUID(api.KindPort, port), Address: netip.MustParseAddr(address).AsSlice(), Mac: mac[:], Sequence: sequence}
}

// speaking is a system in which two ports may have one address, and what
// follows from each round of what their hosts report.
type speaking struct {
	*system
	tracker status.Tracker
	shown   api.Snapshot // what the leader sees: it may lag behind the store
}

func (s *speaking) say(host string, said ...*hoststream.Announcement) {
	s.host(host, func(h *stream.HostState) { h.Report = &hoststream.Report{Announced: said} })
}

// round lets the leader look, at what it saw before if it lags.
func (s *speaking) round(lags bool) {
	s.t.Helper()
	s.now = s.now.Add(time.Second)
	if s.shown == nil || !lags {
		s.shown = s.Snapshot()
	}
	plan := placement.New(1, routing.Derive(s.shown), nil)
	s.store(s.tracker.Changes(status.Input{Snapshot: s.shown, Plan: plan, Hosts: s.hosts, Now: s.now}))
}

// has is the port to which the address leads now.
func (s *speaking) has(address string) string {
	n := routing.Derive(s.Snapshot()).Network(world.UUID(api.KindNetwork, "blue"))
	for i := range n.Routes {
		if n.Routes[i].Prefix.Addr().String() == address {
			return n.Routes[i].Port.Name
		}
	}
	return ""
}

// The newest words about an address win, also before the store shows the ones
// before; what is repeated, or comes late, changes nothing, nor does it that a host
// or a leader forgets.
func TestWhoSpokeLast(t *testing.T) {
	const vip = "10.0.0.100"
	s := &speaking{system: newSystem(t, "host h1 192.0.2.1\nhost h2 192.0.2.2\nnetwork blue 10\nsubnet blue 10.0.0.0/24\n"+
		"port blue a\nport blue b\nbind a h1\nbind b h2\npair a "+vip+"/32\npair b "+vip+"/32")}
	want := func(what, port string) {
		t.Helper()
		if got := s.has(vip); got != port {
			t.Fatalf("%s: %s has the address, want %s", what, got, port)
		}
	}
	want("nobody spoke", "")
	s.say("h1", announcement("a", vip, 100))
	s.round(false)
	want("a spoke", "d:p:a")
	s.say("h2", announcement("b", vip, 7)) // a clock far behind
	s.round(true)
	want("b spoke, and the leader does not see yet what it wrote", "d:p:b")
	s.round(true)
	want("nothing new, and the leader lags", "d:p:b")
	s.round(false)
	s.say("h1", announcement("a", vip, 100))
	s.round(false)
	want("a repeats itself", "d:p:b")
	s.say("h1", announcement("a", vip, 99))
	s.round(false)
	want("an old report of a comes late", "d:p:b")
	s.say("h1")
	s.say("h2")
	s.tracker = status.Tracker{}
	s.round(false)
	want("hosts and leader forgot", "d:p:b")
	s.say("h1", announcement("a", vip, 101))
	s.round(false)
	want("a speaks again", "d:p:a")
	s.say("h1", announcement("a", vip, 103))
	s.say("h2", announcement("b", vip, 104))
	s.round(false)
	want("both spoke at one time, b after a", "d:p:b")
	var many []*hoststream.Announcement
	for n := range 2 * api.MaxAnnounced {
		many = append(many, announcement("a", fmt.Sprintf("10.0.0.%d", 10+n), uint64(200+n)))
	}
	s.say("h1", many...)
	s.round(false)
	if p := s.Get(api.KindPort, world.UUID(api.KindPort, "a")).(*api.Port); len(p.Status.Announced) != api.MaxAnnounced {
		t.Errorf("a port has announced %d addresses, at most %d are kept", len(p.Status.Announced), api.MaxAnnounced)
	}
}
