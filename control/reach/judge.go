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
}

func (s speaker) shown(seen api.Snapshot) api.Speaker {
	out := api.Speaker{Address: s.address}
	if s.port != nil && seen.Get(api.KindPort, s.port.Ref.UUID) != nil {
		out.Port, out.Network = s.port.Ref, s.port.Network.Ref
	}
	return out
}

// judged is a conversation as one outcome of control has it.
type judged struct {
	from, to api.Speaker
	verdict  api.Verdict
}

// Judge says which conversations one outcome of control lets pass and another
// does not, or the other way. Each outcome has what the asker sees of it.
func Judge(now, after *Model, seenNow, seenAfter api.Snapshot, all []api.Conversation) (api.Judgements, error) {
	out := api.Judgements{Differ: []api.Judgement{}}
	for i := range all {
		c := &all[i]
		before, why, err := now.judge(seenNow, c)
		if err != nil {
			return out, err
		}
		then, _, err := after.judge(seenAfter, c)
		switch {
		case err != nil:
			return out, err
		case why != "":
			out.Unknown = append(out.Unknown, api.Unjudgeable{Index: i, Why: why})
		case before.verdict.Passes != then.verdict.Passes:
			if before.from.Port.IsZero() {
				before.from = then.from
			}
			if before.to.Port.IsZero() {
				before.to = then.to
			}
			out.Differ = append(out.Differ, api.Judgement{Index: i, From: before.from, To: before.to, Now: before.verdict, After: then.verdict})
		}
	}
	return out, nil
}

// judge says what becomes of a conversation; why is why nothing can be said.
func (m *Model) judge(seen api.Snapshot, c *api.Conversation) (j judged, why string, err error) {
	number, known := c.Protocol.Number()
	if !known || !c.From.IsValid() || !c.To.IsValid() || c.From.Is4() != c.To.Is4() {
		return j, "", api.Errorf(api.CodeInvalid, "judge a conversation of protocol %q from %v to %v: it needs a protocol and two addresses of one family", c.Protocol, c.From, c.To)
	}
	from, to := speaker{nil, c.From}, speaker{nil, c.To}
	here := m.routing.Port(c.Port)
	if here == nil || seen.Get(api.KindPort, c.Port) == nil {
		return j, "its port is not there any more", nil
	}
	network := here.Network.Ref.UUID
	if c.Began {
		from.port, to.port = here, m.behind(network, c.To)
	} else {
		to.port, from.port = here, m.behind(network, c.From)
	}
	j.from, j.to = from.shown(seen), to.shown(seen)
	if j.verdict.Reason = m.unreachable(from, to); j.verdict.Reason != "" {
		return j, "", nil
	}
	p := rules.Packet{Protocol: uint8(number), SourcePort: c.SourcePort, Port: c.TargetPort}
	j.verdict.Passes = true
	for _, at := range []struct {
		speaker
		remote    netip.Addr
		direction policy.Direction
	}{{from, c.To, policy.Egress}, {to, c.From, policy.Ingress}} {
		if at.port == nil {
			continue
		}
		p.Remote, p.Identity = at.remote, m.seen(at.port.Network.Ref.UUID, at.remote)
		said, passes, err := m.said(seen, at.port, at.direction, p)
		if err != nil {
			return j, "", err
		}
		j.verdict.Layers = append(j.verdict.Layers, said...)
		if j.verdict.Passes = passes; !passes {
			break
		}
	}
	return j, "", nil
}

// behind is the port to which a network leads packets to an address, or nil.
func (m *Model) behind(network string, a netip.Addr) *routing.Port {
	r := m.table(network).find(a)
	if r == nil || r.Port.IsZero() {
		return nil
	}
	return m.routing.Port(r.Port.UUID)
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
