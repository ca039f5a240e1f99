// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/vrouter/rules"
)

// Check says whether an assertion holds, and if not by which packet.
func (m *Model) Check(ctx context.Context, seen api.Snapshot, a api.Assertion) (api.Checked, error) {
	said, never := a.Never, true
	if said == nil {
		said, never = a.Allows, false
	}
	out := api.Checked{Assertion: words(a), Holds: true}
	if said == nil || a.Never != nil && a.Allows != nil {
		return out, api.Errorf(api.CodeInvalid, "check assertion %q: it is to have never or allows, one of the two", a.Name)
	}
	services, err := servicesOf(said)
	if err != nil {
		return out, api.Errorf(api.CodeInvalid, "check assertion %q: %v", out.Assertion, err)
	}
	done, err := m.checkOutside(ctx, seen, said, services, never, &out)
	if done || err != nil {
		return out, err
	}
	from, err := m.Find(seen, said.From)
	if err != nil {
		return out, err
	}
	to, err := m.Find(seen, said.To)
	if err != nil {
		return out, err
	}
	out.NotExact = NotExact(from, to)
	err = m.pairs(ctx, from, to, func(a, b *routing.Port) (bool, error) {
		out.Pairs++
		out.Counter, err = m.counter(ctx, seen, a, b, services, never)
		out.Holds = out.Counter == nil
		return out.Holds, err
	})
	return out, err
}

// counter finds a packet by which an assertion does not hold for two ports. That
// something never passes is meant of whatever they may send from and be reached at,
// that it is allowed of their own addresses.
func (m *Model) counter(ctx context.Context, seen api.Snapshot, from, to *routing.Port, services []rules.Service, never bool) (*api.CounterExample, error) {
	ways, why, err := m.Between(from, to)
	if err != nil {
		return nil, err
	}
	if len(ways) == 0 && !never {
		return &api.CounterExample{From: from.Ref, To: to.Ref, Packet: "any", Verdicts: []string{why}}, nil
	}
	if never {
		more, err := m.Beside(ctx, from, to)
		if err != nil {
			return nil, err
		}
		ways = append(ways, more...)
	}
	for i := range ways {
		w := &ways[i]
		if p, found := w.wrong(services, never); found {
			return &api.CounterExample{From: from.Ref, To: to.Ref, Packet: packetWords(w, p), Allowed: never, Verdicts: w.explain(seen, p)}, nil
		}
	}
	return nil, nil
}

// wrong finds a packet of services that passes though it never should, or does not
// pass though it should.
func (w *Way) wrong(services []rules.Service, never bool) (rules.Packet, bool) {
	said := rules.SetOf(services, w.Allowed.Family)
	if never {
		return said.Intersect(*w.Allowed).Example()
	}
	return said.Minus(*w.Allowed).Example()
}

// checkOutside checks what is said about workloads and addresses, if it is.
func (m *Model) checkOutside(ctx context.Context, seen api.Snapshot, said *api.Encounter, services []rules.Service, never bool, out *api.Checked) (done bool, err error) {
	workloads, r, direction, is, err := OutsideOf(said.From, said.To)
	if !is || err != nil {
		return is, err
	}
	ports, err := m.Find(seen, workloads)
	if err != nil {
		return true, err
	}
	if err := m.bounded(len(ports), 1); err != nil {
		return true, err
	}
	out.NotExact = NotExact(ports, nil)
	for _, p := range ports {
		out.Pairs++
		if out.Counter, err = m.counterOutside(ctx, seen, p, direction, r, services, never); out.Counter != nil || err != nil {
			break
		}
	}
	out.Holds = out.Counter == nil
	return true, err
}

// counterOutside finds a packet by which an assertion does not hold for a port and
// the addresses of a range, of those from which anybody sends.
func (m *Model) counterOutside(ctx context.Context, seen api.Snapshot, p *routing.Port, direction policy.Direction, r netip.Prefix, services []rules.Service, never bool) (*api.CounterExample, error) {
	e, err := m.endOf(p.Ref.UUID, direction)
	if err != nil {
		return nil, err
	}
	c, way := api.CounterExample{From: p.Ref, Allowed: never}, "to"
	if direction == policy.Ingress {
		c.From, c.To, way = api.Ref{}, p.Ref, "from"
	}
	by := append(e.ranges(), m.table(p.Network.Ref.UUID).prefixes()...)
	if direction == policy.Ingress {
		by = append(by, unsendable...)
	}
	pieces, err := piecesOf(r, by)
	if err != nil {
		return nil, err
	}
	for _, a := range pieces {
		if err := late(ctx); err != nil {
			return nil, err
		}
		if direction == policy.Ingress && !sendable(a) {
			continue
		}
		if why := m.unasked(p, a, never && direction == policy.Ingress); why != "" {
			if !never {
				c.Packet, c.Verdicts = fmt.Sprintf("any %s %v", way, a), []string{why}
				return &c, nil
			}
			continue
		}
		remote := m.peer(p.Network.Ref.UUID, a)
		w := Way{From: rules.Peer{Address: addressOf(p, a)}, To: remote, Allowed: m.ask(e, remote), egress: e}
		if direction == policy.Ingress {
			w = Way{From: remote, To: w.From, Allowed: w.Allowed, ingress: e}
		}
		if packet, found := w.wrong(services, never); found {
			c.Packet, c.Verdicts = packetWords(&w, packet), w.explain(seen, packet)
			return &c, nil
		}
	}
	return nil, nil
}

// explain says what each layer of the two ends says about a packet.
func (w *Way) explain(seen api.Snapshot, p rules.Packet) (verdicts []string) {
	for _, at := range []struct {
		*end
		remote rules.Peer
		word   string
	}{{w.egress, w.To, "egress"}, {w.ingress, w.From, "ingress"}} {
		if at.end == nil {
			continue // it is addresses, of whom no policy is known here
		}
		p.Identity, p.Remote = at.remote.Identity, at.remote.Address
		d := at.Decide(p)
		for _, asked := range d.Asked {
			verdicts = append(verdicts, fmt.Sprintf("%s %v: %v%s", at.word, asked.Layer, asked.Verdict.Action, by(seen, at.rows[asked.Layer], asked.Verdict)))
		}
		if len(d.Asked) == 0 {
			verdicts = append(verdicts, at.word+": pass, nothing is asked")
		}
		if d.Action.Drops() {
			return verdicts
		}
	}
	return verdicts
}

// by names the rule, as far as the asker may see it.
func by(seen api.Snapshot, row *hoststream.Ruleset, v rules.Verdict) string {
	if !v.Matched() {
		return ", no rule matches"
	}
	r := row.Rules[v.Rule-1]
	if seen.Get(api.Kind(r.Kind), r.Object) == nil {
		return " by a rule that these credentials may not see"
	}
	name := " by " + r.Kind + " " + r.Name
	if r.Index > 0 {
		name += fmt.Sprintf(" rule %d", r.Index)
	}
	return name
}

func packetWords(w *Way, p rules.Packet) string {
	name := string(api.ProtocolOf(int(p.Protocol)))
	switch {
	case rules.HasPorts(p.Protocol):
		return fmt.Sprintf("%s from %v to %v", name, portAt(w.From, p.SourcePort), portAt(w.To, p.Port))
	case rules.IsICMP(w.Allowed.Family, p.Protocol):
		return fmt.Sprintf("%s type %d code %d from %v to %v", name, p.Port>>8, p.Port&255, w.From.Address, w.To.Address)
	}
	return fmt.Sprintf("protocol %s from %v to %v", name, w.From.Address, w.To.Address)
}

func portAt(peer rules.Peer, port uint16) string {
	if peer.Address.Is6() {
		return fmt.Sprintf("[%v]:%d", peer.Address, port)
	}
	return fmt.Sprintf("%v:%d", peer.Address, port)
}

func servicesOf(e *api.Encounter) ([]rules.Service, error) {
	m, err := e.Match()
	if err != nil {
		return nil, err
	}
	s := rules.Service{Family: uint8(e.Family), AnyProtocol: m.Protocol == ""}
	if number, ok := m.Protocol.Number(); ok {
		s.Protocol = uint8(number)
	}
	if m.Ports != nil {
		s.Ports = &rules.Range{First: uint16(m.Ports.From), Last: uint16(m.Ports.Last())}
	}
	if m.ICMPType != nil {
		t := uint8(*m.ICMPType)
		s.ICMPType = &t
	}
	return []rules.Service{s}, nil
}

// words is an assertion as people read it.
func words(a api.Assertion) string {
	said, word := a.Never, "never"
	if said == nil {
		said, word = a.Allows, "allows"
	}
	if said == nil {
		return a.Name
	}
	parts := []string{word, said.From, "to", said.To}
	if said.Family != 0 {
		parts = append(parts, fmt.Sprintf("IPv%d", said.Family))
	}
	if said.Protocol != "" {
		parts = append(parts, string(said.Protocol))
	}
	if said.Port != 0 {
		parts = append(parts, fmt.Sprint(said.Port))
	}
	if said.Ports != nil {
		parts = append(parts, said.Ports.String())
	}
	if said.ICMPType != nil {
		parts = append(parts, fmt.Sprint("type ", *said.ICMPType))
	}
	text := strings.Join(parts, " ")
	if a.Name != "" {
		text = a.Name + ": " + text
	}
	return text
}
