// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/vrouter/rules"
)

// speaker is an end of a conversation: of no port where it is outside, or
// nobody says whose it is.
type speaker struct {
	port    *routing.Port
	address netip.Addr
	lost    bool // no route leads there
}

func (s speaker) key() string {
	if s.port == nil {
		return s.address.String()
	}
	return s.port.Ref.UUID + " " + s.address.String()
}

func (s speaker) shown(seen api.Snapshot) api.Speaker {
	out := api.Speaker{Address: s.address}
	if s.port != nil && seen.Get(api.KindPort, s.port.Ref.UUID) != nil {
		out.Port, out.Network = s.port.Ref, s.port.Network.Ref
	}
	return out
}

// Judge says which conversations one outcome of control lets pass and another
// does not, or the other way, each once also if both of its ends told it. Each
// outcome has what the asker sees of it.
func Judge(now, after *Model, seenNow, seenAfter api.Snapshot, all []api.Conversation) (api.Judgements, error) {
	out := api.Judgements{Differ: []api.Judgement{}}
	known := map[string]bool{}
	for i := range all {
		c := &all[i]
		e, err := now.between(seenNow, c)
		if err != nil {
			return out, err
		}
		if e.away {
			out.Unknown = append(out.Unknown, api.Unjudgeable{Index: i, Why: "their port is not there any more"})
			continue
		}
		then, err := after.between(seenAfter, c)
		if err != nil {
			return out, err
		}
		e.learn(now, &then)
		then.learn(after, &e)
		j := api.Judgement{Index: i, From: e.from.shown(seenNow), To: e.to.shown(seenNow)}
		key := fmt.Sprint(e.from.key(), e.to.key(), c.Protocol, c.SourcePort, c.TargetPort)
		if known[key] {
			continue
		}
		known[key] = true
		out.Distinct++
		if j.Now, err = now.verdict(seenNow, e, c); err != nil {
			return out, err
		}
		if j.After, err = after.verdict(seenAfter, then, c); err != nil {
			return out, err
		}
		if j.Now.Passes == j.After.Passes {
			continue
		}
		if j.From.Port.IsZero() {
			j.From = then.from.shown(seenAfter)
		}
		if j.To.Port.IsZero() {
			j.To = then.to.shown(seenAfter)
		}
		out.Differ = append(out.Differ, j)
	}
	return out, nil
}

// ends are both ends of a conversation.
type ends struct {
	from, to speaker
	away     bool // the port that told it is not there
}

// between finds the ends of a conversation: the port that told it, and whom its
// network leads the other address to.
func (m *Model) between(seen api.Snapshot, c *api.Conversation) (e ends, err error) {
	if _, known := c.Protocol.Number(); !known || !c.From.IsValid() || !c.To.IsValid() || c.From.Is4() != c.To.Is4() {
		return e, api.Errorf(api.CodeInvalid, "judge a conversation of protocol %q from %v to %v: it needs a protocol and two addresses of one family", c.Protocol, c.From, c.To)
	}
	e = ends{from: speaker{address: c.From}, to: speaker{address: c.To}}
	here := m.routing.Port(c.Port)
	if e.away = here == nil || seen.Get(api.KindPort, c.Port) == nil; e.away {
		return e, nil
	}
	one, other := &e.to, &e.from
	if c.Began {
		one, other = other, one
	}
	one.port = here
	if r := m.table(here.Network.Ref.UUID).find(other.address); r == nil {
		other.lost = true
	} else if !r.Port.IsZero() {
		other.port = m.routing.Port(r.Port.UUID)
	}
	return e, nil
}

// learn takes from another outcome who has an address to which no route leads
// here, so that it does not matter which end told the conversation.
func (e *ends) learn(m *Model, other *ends) {
	for _, of := range []struct{ mine, theirs *speaker }{{&e.from, &other.from}, {&e.to, &other.to}} {
		if of.mine.lost && of.theirs.port != nil {
			of.mine.port = m.routing.Port(of.theirs.port.Ref.UUID)
		}
	}
}

// verdict is what becomes of a conversation.
func (m *Model) verdict(seen api.Snapshot, e ends, c *api.Conversation) (v api.Verdict, err error) {
	if v.Reason = m.unreachable(e.from, e.to); v.Reason != "" {
		return v, nil
	}
	number, _ := c.Protocol.Number()
	p := rules.Packet{Protocol: uint8(number), SourcePort: c.SourcePort, Port: c.TargetPort}
	v.Passes = true
	for _, at := range []struct {
		speaker
		remote    netip.Addr
		direction policy.Direction
	}{{e.from, c.To, policy.Egress}, {e.to, c.From, policy.Ingress}} {
		if at.port == nil {
			continue
		}
		p.Remote, p.Identity = at.remote, m.seen(at.port.Network.Ref.UUID, at.remote)
		said, passes, err := m.said(seen, at.port, at.direction, p)
		if err != nil {
			return v, err
		}
		v.Layers = append(v.Layers, said...)
		if v.Passes = passes; !passes {
			break
		}
	}
	return v, nil
}

// unreachable says why a conversation ends before policy is asked, or answers
// have no way back.
func (m *Model) unreachable(from, to speaker) string {
	for _, at := range []struct {
		speaker
		remote netip.Addr
		way    string
	}{{from, to.address, "to"}, {to, from.address, "back to"}} {
		switch {
		case at.port == nil:
		case at.port.Disabled || at.port.Network.Disabled:
			return "port " + at.port.Ref.String() + " or its network is disabled"
		case m.table(at.port.Network.Ref.UUID).find(at.remote) == nil:
			return fmt.Sprintf("network %s has no route %s %v", at.port.Network.Ref, at.way, at.remote)
		}
	}
	return ""
}

// said is what the layers of a port say about a packet, and whether it passes.
func (m *Model) said(seen api.Snapshot, port *routing.Port, direction policy.Direction, p rules.Packet) (all []api.LayerVerdict, passes bool, err error) {
	e, err := m.endOf(port.Ref.UUID, direction)
	if err != nil {
		return nil, false, err
	}
	d := m.decide(e, p)
	for _, asked := range d.Asked {
		v := api.LayerVerdict{End: api.Side(direction.String()), Layer: asked.Layer.String(), Action: asked.Verdict.Action.String()}
		if seen.Get(api.KindPort, port.Ref.UUID) != nil {
			v.Port = port.Ref
		}
		if asked.Verdict.Matched() {
			name(&v, seen, e, asked)
		}
		all = append(all, v)
	}
	return all, !d.Action.Drops(), nil
}

// name says which rule it was, as far as the asker may see it.
func name(v *api.LayerVerdict, seen api.Snapshot, e *end, asked rules.Asked) {
	r := e.rows[asked.Layer].Rules[asked.Verdict.Rule-1]
	if v.Hidden = seen.Get(api.Kind(r.Kind), r.Object) == nil; v.Hidden {
		return
	}
	v.Rule, v.Object, v.Owner, v.Via = r.Kind+" "+r.Name, r.Object, r.Owner, strings.Join(r.Via, " of ")
	if r.Index > 0 {
		v.Rule += fmt.Sprintf(", rule %d", r.Index)
	}
}

// maxDecided bounds what is remembered of one question.
const maxDecided = 1 << 14

// decidedKey is a question to an end.
type decidedKey struct {
	end string
	p   rules.Packet
}

// decide asks an end; many conversations differ only in the sender's port, which
// few rules name.
func (m *Model) decide(e *end, p rules.Packet) rules.Decision {
	key := decidedKey{e.key, p}
	if !e.bySource {
		key.p.SourcePort = 0
	}
	d, known := m.decided[key]
	if !known {
		d = e.Decide(p)
		if len(m.decided) < maxDecided {
			m.decided[key] = d
		}
	}
	return d
}
