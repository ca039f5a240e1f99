// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/stream"
)

// keyAddress begins the entries that say where a controller listens; its name
// follows: listens.
const keyAddress = "address/"

// listens is where a controller listens, for hosts and for other controllers.
type listens struct {
	Streams []string `json:"streams"`
	API     []string `json:"api"`
}

// name is how hosts and people call this controller.
func (o *Options) name() string {
	if o.Peers != nil {
		return o.Peers.Name()
	}
	return o.Name
}

// introduce tells hosts of all controllers that are alive.
func (s *Service) introduce() {
	all := []*hoststream.Controller{{Name: s.options.name(), Streams: s.options.Streams}}
	for name, l := range s.listeners() {
		all = append(all, &hoststream.Controller{Name: name, Streams: l.Streams})
	}
	slices.SortFunc(all, func(a, b *hoststream.Controller) int { return strings.Compare(a.Name, b.Name) })
	s.hosts.SetControllers(all)
}

// listeners returns where the other controllers listen, by name.
func (s *Service) listeners() map[string]listens {
	all := map[string]listens{}
	if s.options.Peers == nil {
		return all
	}
	for key, text := range s.options.Peers.Others() {
		name, ok := strings.CutPrefix(key, keyAddress)
		if !ok || name == s.options.Peers.Name() { // our own of a session that was lost
			continue
		}
		var l listens
		if err := json.Unmarshal(text, &l); err != nil {
			s.options.Log.Warn("an entry of another controller is not what it should be", "key", key, "error", err)
			continue
		}
		all[name] = l
	}
	return all
}

// forward asks the controller that holds a host's stream for a table. That one
// answers by itself or not at all, so a question goes one step at most.
func (s *Service) forward(ctx context.Context, h away, uuid, table string) (api.Table, error) {
	fail := func(format string, args ...any) (api.Table, error) {
		args = append([]any{table, h.state.Host, h.controller}, args...)
		return api.Table{}, api.Errorf(api.CodeUnavailable, "read table %s: host %s has its stream at controller %s, "+format, args...).About(api.KindHost, uuid, "")
	}
	if stream.IsOnlyHere(ctx) {
		return fail("which was asked not to ask further: ask again, the host has just moved")
	}
	at := s.listeners()[h.controller]
	if s.options.Ask == nil || len(at.API) == 0 {
		return fail("which does not say where its API is: ask it directly")
	}
	t, err := s.options.Ask(ctx, at.API, uuid, table)
	if err != nil {
		return fail("which did not give it: %v", err)
	}
	return t, nil
}

// moveGrace is how long a host without a stream may take to appear at another
// controller before it counts as not connected. It moves in less than a second.
const moveGrace = 3 * time.Second

// movers remembers hosts that had a stream a moment ago. It belongs to one
// goroutine.
type movers map[string]*mover

type mover struct {
	state stream.HostState // while it was connected
	since time.Time        // when its stream was missed; zero: it has one
}

// hold returns states in which hosts that may be on their way from one
// controller to another are as they were, and how long that is to be believed:
// zero when no host is on its way.
func (m movers) hold(states map[string]stream.HostState, now time.Time) (again time.Duration) {
	for uuid, h := range states {
		if h.Connected {
			m[uuid] = &mover{state: h}
		}
	}
	for uuid, was := range m {
		if states[uuid].Connected {
			continue
		}
		if was.since.IsZero() {
			was.since = now
		}
		left := moveGrace - now.Sub(was.since)
		if left <= 0 {
			delete(m, uuid)
			continue
		}
		states[uuid] = was.state
		if again == 0 || left < again {
			again = left
		}
	}
	return again
}
