// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/stream"
)

const (
	// tellPause is how long changes are gathered before peers are told: at most
	// five entries a second say how far all hosts of a controller are.
	tellPause = 200 * time.Millisecond
	// tellRetry is how long after a failure the next round comes.
	tellRetry = 2 * time.Second
	// toldErrors bounds how many rows that failed peers are told of a host; any
	// one makes a status, and the host's own controller knows all.
	toldErrors = 100

	keyHost       = "host/"       // and the host's UUID: told
	keyController = "controller/" // and the controller's name: reached
)

// told is what a controller tells of a host whose stream it holds. It changes
// seldom; how far the host has come, which changes with every delta, is told
// of all hosts together.
type told struct {
	Controller   string            `json:"controller"`
	Round        uint64            `json:"round"` // the first word of how far it has come is in this one
	Host         api.Ref           `json:"host"`
	AgentVersion string            `json:"agentVersion"`
	Kernel       string            `json:"kernel"`
	InSync       bool              `json:"inSync"`
	RowErrors    map[string]string `json:"rowErrors,omitempty"`
	Report       []byte            `json:"report,omitempty"` // a hoststream.Report
}

// reached says which version the hosts of a controller have acknowledged.
type reached struct {
	Round  uint64                       `json:"round"` // counts what the controller told
	All    placement.Version            `json:"all"`
	Behind map[string]placement.Version `json:"behind,omitempty"` // by host: those that have less
}

// tell keeps the entries of this controller's hosts what they should be, until
// ctx ends.
func (s *Service) tell(ctx context.Context) {
	t := &teller{peers: s.options.Peers, hosts: s.hosts, listens: listens{s.options.Streams, s.options.API}}
	retry := time.NewTimer(tellRetry)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.news:
		case <-retry.C:
		}
		if !pause(ctx, tellPause) {
			return
		}
		if err := t.round(ctx); err != nil && ctx.Err() == nil {
			s.options.Log.Warn("the other controllers do not learn of this one's hosts, will try again", "error", err)
			retry.Reset(tellRetry)
		}
	}
}

// teller remembers what was told under the present session. It belongs to one
// goroutine.
type teller struct {
	peers      Peers
	hosts      *stream.Server
	listens    listens
	generation int64
	hostsTold  map[string]hostTold // by UUID
	reached    reached
	claimed    bool // a host since reached was told
}

type hostTold struct {
	session uint64
	round   uint64
	text    []byte
}

func (t *teller) round(ctx context.Context) error {
	generation := t.peers.Generation()
	if generation == 0 {
		return nil // a token comes with the next session
	}
	if generation != t.generation {
		if err := t.peers.Claim(ctx, keyAddress+t.peers.Name(), mustJSON(t.listens)); err != nil {
			return err
		}
		t.generation, t.hostsTold, t.reached.All, t.claimed = generation, map[string]hostTold{}, placement.Version{}, false
	}
	plan := t.hosts.Plan()
	states := t.hosts.Hosts()
	others := t.peers.Others()
	for uuid, h := range states {
		_, claimed := others[keyHost+uuid]
		if err := t.host(ctx, uuid, h, claimed); err != nil {
			return err
		}
	}
	for uuid := range t.hostsTold {
		if !states[uuid].Connected {
			if err := t.peers.Drop(ctx, keyHost+uuid); err != nil {
				return err
			}
			delete(t.hostsTold, uuid)
		}
	}
	if plan == nil {
		return nil
	}
	// After the hosts, so that nobody sees a version reached and not yet its errors.
	r := reachedBy(plan.Version, states)
	r.Round = t.reached.Round
	if !t.claimed && reflect.DeepEqual(r, t.reached) {
		return nil
	}
	r.Round++
	if err := t.peers.Claim(ctx, keyController+t.peers.Name(), mustJSON(r)); err != nil {
		return err
	}
	t.reached, t.claimed = r, false
	return nil
}

// host tells of one host: it claims the entry with the first word of a stream,
// and gives the stream up when another controller has claimed it since. Whether
// one seems to have is only a reason to ask.
func (t *teller) host(ctx context.Context, uuid string, h stream.HostState, claimed bool) error {
	if !h.Connected {
		return nil
	}
	d, old := t.describe(h), t.hostsTold[uuid]
	d.Round = old.round
	if old.session != h.Session {
		d.Round = t.reached.Round + 1
	}
	text := mustJSON(d)
	switch {
	case old.session != h.Session:
		t.claimed = true
		if err := t.peers.Claim(ctx, keyHost+uuid, text); err != nil {
			return err
		}
	case bytes.Equal(old.text, text) && !claimed:
		return nil
	default:
		ours, err := t.peers.Update(ctx, keyHost+uuid, text)
		if err != nil {
			return err
		}
		if !ours {
			t.hosts.Yield(uuid, h.Session)
		}
	}
	t.hostsTold[uuid] = hostTold{h.Session, d.Round, text}
	return nil
}

func (t *teller) describe(h stream.HostState) told {
	d := told{Controller: t.peers.Name(), Host: h.Host, AgentVersion: h.AgentVersion, Kernel: h.Kernel, InSync: h.InSync}
	if len(h.RowErrors) > 0 {
		d.RowErrors = map[string]string{}
		for _, key := range slices.Sorted(maps.Keys(h.RowErrors))[:min(len(h.RowErrors), toldErrors)] {
			d.RowErrors[key] = h.RowErrors[key]
		}
	}
	if h.Report != nil {
		report, err := proto.MarshalOptions{Deterministic: true}.Marshal(h.Report)
		if err != nil {
			panic(fmt.Sprintf("control: encode report of host %s: %v", h.Host, err))
		}
		d.Report = report
	}
	return d
}

func reachedBy(version placement.Version, states map[string]stream.HostState) reached {
	r := reached{All: version, Behind: map[string]placement.Version{}}
	for uuid, h := range states {
		if h.Connected && h.Settled.Before(version) {
			r.Behind[uuid] = h.Settled
		}
	}
	return r
}

// mustJSON encodes one of our own types, which cannot fail.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("control: encode %T: %v", v, err))
	}
	return text
}

// hostStates is what is known of every host, wherever its stream is.
func (s *Service) hostStates() map[string]stream.HostState {
	states := s.hosts.Hosts()
	for uuid, h := range states {
		h.Controller = s.options.name()
		states[uuid] = h
	}
	for uuid, e := range s.elsewhere() {
		states[uuid] = e.state
	}
	return states
}

// away is a host whose stream another controller holds.
type away struct {
	state      stream.HostState
	controller string
}

// elsewhere reads what the other controllers tell of their hosts. Who claimed a
// host last has its newest stream.
func (s *Service) elsewhere() map[string]away {
	if s.options.Peers == nil {
		return nil
	}
	others := s.options.Peers.Others()
	progress := map[string]reached{}
	for key, text := range others {
		if name, ok := strings.CutPrefix(key, keyController); ok {
			var r reached
			if err := json.Unmarshal(text, &r); err != nil {
				s.options.Log.Warn("an entry of another controller is not what it should be", "key", key, "error", err)
				continue
			}
			progress[name] = r
		}
	}
	hosts := map[string]away{}
	for key, text := range others {
		uuid, ok := strings.CutPrefix(key, keyHost)
		if !ok {
			continue
		}
		h, err := decodeTold(uuid, text, progress)
		if err != nil {
			s.options.Log.Warn("an entry of another controller is not what it should be", "key", key, "error", err)
			continue
		}
		hosts[uuid] = h
	}
	return hosts
}

func decodeTold(uuid string, text []byte, progress map[string]reached) (away, error) {
	var d told
	if err := json.Unmarshal(text, &d); err != nil {
		return away{}, fmt.Errorf("decode what is told of host %s: %w", uuid, err)
	}
	h := stream.HostState{
		Host: d.Host, Connected: true, Controller: d.Controller, AgentVersion: d.AgentVersion, Kernel: d.Kernel, InSync: d.InSync, RowErrors: d.RowErrors,
	}
	if len(d.Report) > 0 {
		h.Report = &hoststream.Report{}
		if err := proto.Unmarshal(d.Report, h.Report); err != nil {
			return away{}, fmt.Errorf("decode the report of host %s: %w", uuid, err)
		}
	}
	r := progress[d.Controller]
	behind, is := r.Behind[uuid]
	switch {
	case r.Round < d.Round: // what it tells is from before the host came
	case is:
		h.Settled = behind
	default:
		h.Settled = r.All
	}
	return away{h, d.Controller}, nil
}

// everywhere answers views about hosts of this controller and of others.
type everywhere struct {
	*stream.Server
	service *Service
}

// Host returns the state of one host.
func (e *everywhere) Host(uuid string) stream.HostState {
	if h, ok := e.service.elsewhere()[uuid]; ok {
		return h.state
	}
	return e.Server.Host(uuid)
}

// Rows returns how far rows have come; of a host elsewhere only whether it has
// acknowledged everything.
func (e *everywhere) Rows(host string, rows []placement.Row) []stream.RowState {
	h, ok := e.service.elsewhere()[host]
	if !ok {
		return e.Server.Rows(host, rows)
	}
	states := make([]stream.RowState, len(rows))
	done := !h.state.Settled.Before(e.Plan().Version)
	for i, r := range rows {
		states[i] = stream.RowState{Sent: done, Acked: done, Error: h.state.RowErrors[r.Key]}
	}
	return states
}

// Table asks a host for a table, through the controller that holds its stream.
func (e *everywhere) Table(ctx context.Context, host, table string) (api.Table, error) {
	if h, ok := e.service.elsewhere()[host]; ok {
		return e.service.forward(ctx, h, host, table)
	}
	return e.Server.Table(ctx, host, table)
}
