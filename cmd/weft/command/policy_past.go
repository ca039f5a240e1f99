// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
)

// policyDifference is what a change would cut and open.
type policyDifference struct {
	Revision int64               `json:"revision"`
	Looked   int                 `json:"looked"` // conversations, each once
	Cut      int                 `json:"cut"`
	Opened   int                 `json:"opened"`
	Items    []conversationGroup `json:"items"`
	More     int                 `json:"more,omitempty"` // items that are left out
	Unknown  []string            `json:"unknown,omitempty"`
}

// conversationGroup is conversations that differ only in the sender's port.
type conversationGroup struct {
	What       string       `json:"what"` // cut or opened
	Count      int          `json:"count"`
	Protocol   api.Protocol `json:"protocol"`
	TargetPort uint16       `json:"targetPort,omitempty"` // of ICMP: type times 256, and code
	SourcePort uint16       `json:"sourcePort,omitempty"` // of one of them
	From       api.Speaker  `json:"from"`
	To         api.Speaker  `json:"to"`
	Live       int          `json:"live"` // of the count, those there are now
	Last       time.Time    `json:"last"`
	Now        api.Verdict  `json:"now"`
	After      api.Verdict  `json:"after"`
}

// pastConversation is one as a host tells it.
type pastConversation struct {
	conversation api.Conversation
	last         time.Time
	live         bool
}

// pastKey tells apart what hosts tell; the controller knows what two ends tell of
// one conversation.
type pastKey struct {
	protocol api.Protocol
	from, to netip.AddrPort
	port     string // that told it
}

// past is the conversations that hosts tell of, and what they could not tell.
type past struct {
	now      time.Time
	since    time.Time
	all      []pastConversation
	seen     map[pastKey]bool
	unknown  map[string][]string // hosts by what is not known
	distinct int
	dropped  int            // for want of room
	strange  map[string]int // conversations of which nothing can be said, by why
	revision int64
	groups   map[string]*conversationGroup
}

func newPast(now time.Time, last time.Duration) *past {
	return &past{now: now, since: now.Add(-last), seen: map[pastKey]bool{}, unknown: map[string][]string{}, strange: map[string]int{}, groups: map[string]*conversationGroup{}}
}

func (p *past) notKnown(host, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if !slices.Contains(p.unknown[what], host) {
		p.unknown[what] = append(p.unknown[what], host)
	}
}

// host takes what a host answered, and whether it did.
func (p *past) host(name string, t api.Table, failed error, events bool) bool {
	records, err := []api.Record(nil), failed
	if err == nil {
		records, err = api.ParseRecords(t)
	}
	if err != nil {
		p.notKnown(name, "what there was: %v", err)
		return false
	}
	for i := range records {
		if records[i].Record == api.RecordLost {
			p.lost(name, &records[i], events)
			continue
		}
		p.add(&records[i])
	}
	return true
}

// slack is how much later than asked for a memory may begin.
const slack = 2 * time.Second

// lost notes what a host could not tell.
func (p *past) lost(host string, r *api.Record, events bool) {
	if r.Lost > 0 && events {
		p.notKnown(host, "%d dropped packets, which were too many to record", r.Lost)
	} else if r.Lost > 0 {
		p.notKnown(host, "%d more conversations: ask for a port or a network", r.Lost)
	}
	late := r.Start != nil && r.Start.After(p.since.Add(slack))
	switch {
	case events && r.Sequence > 0 && r.Start == nil && r.Lost == 0:
		p.notKnown(host, "who was refused: no dropped packets are recorded, see --wait")
	case late && events:
		p.notKnown(host, "who was refused more than %v ago", p.now.Sub(*r.Start).Round(time.Second))
	case late:
		p.notKnown(host, "which conversations ended more than %v ago", p.now.Sub(*r.Start).Round(time.Second))
	}
}

// refusals are the reasons of drops that a change of policy may take away.
var refusals = []string{"policy-denied", "policy-rejected", "identity-pending", "no-route"}

// add takes a conversation that is, was or was refused.
func (p *past) add(r *api.Record) {
	c := api.Conversation{
		Began: r.Direction == string(api.Egress), Protocol: api.Protocol(r.Protocol),
		From: r.Source.Address, To: r.Destination.Address, SourcePort: r.Source.Port, TargetPort: r.Destination.Port,
	}
	if c.Port = r.Destination.ID; c.Began {
		c.Port = r.Source.ID
	}
	if _, known := c.Protocol.Number(); !known || r.Record == api.RecordDrop && !slices.Contains(refusals, r.Reason) {
		return
	}
	if c.Port == "" || !c.From.IsValid() || !c.To.IsValid() {
		p.strange["it is not known whose they were"]++
		return
	}
	if c.Protocol == "icmp" || c.Protocol == "icmpv6" {
		if r.Record == api.RecordDrop {
			c.SourcePort, c.TargetPort = 0, c.SourcePort<<8|c.TargetPort
		} else { // conversations of ICMP are echoes
			c.TargetPort = map[api.Protocol]uint16{"icmp": 8 << 8, "icmpv6": 128 << 8}[c.Protocol]
		}
	}
	last := r.Time
	if r.End != nil {
		last = *r.End
	}
	key := pastKey{c.Protocol, netip.AddrPortFrom(c.From, c.SourcePort), netip.AddrPortFrom(c.To, c.TargetPort), c.Port}
	switch {
	case p.seen[key]:
	case len(p.all) == maxJudged:
		p.dropped++
	default:
		p.seen[key] = true
		p.all = append(p.all, pastConversation{c, last, r.Record == api.RecordFlow})
	}
}

// sort puts what two ends tell of one conversation into one request.
func (p *past) sort() {
	slices.SortStableFunc(p.all, func(a, b pastConversation) int {
		x, y := &a.conversation, &b.conversation
		return cmp.Or(x.From.Compare(y.From), x.To.Compare(y.To), cmp.Compare(x.SourcePort, y.SourcePort), cmp.Compare(x.TargetPort, y.TargetPort), strings.Compare(string(x.Protocol), string(y.Protocol)))
	})
}

// take notes what would be judged otherwise, of the conversations from one on.
func (p *past) take(first int, answer api.Judgements) {
	p.revision, p.distinct = answer.Revision, p.distinct+answer.Distinct
	for _, u := range answer.Unknown {
		p.strange[u.Why]++
	}
	for i := range answer.Differ {
		j := &answer.Differ[i]
		at := first + j.Index
		if j.Index < 0 || at >= len(p.all) {
			continue
		}
		one := &p.all[at]
		g := conversationGroup{
			What: "cut", Protocol: one.conversation.Protocol, TargetPort: one.conversation.TargetPort, SourcePort: one.conversation.SourcePort,
			From: j.From, To: j.To, Now: j.Now, After: j.After,
		}
		if j.After.Passes {
			g.What = "opened"
		}
		key := fmt.Sprint(g.What, g.Protocol, g.TargetPort, g.From, g.To, decisive(g.Now, g.After), decisive(g.After, g.Now))
		known := p.groups[key]
		if known == nil {
			known = &g
			p.groups[key] = known
		}
		known.Count++
		if one.live {
			known.Live++
		}
		if one.last.After(known.Last) {
			known.Last = one.last
		}
	}
}

// difference is all that was noted, what would be cut first.
func (p *past) difference() policyDifference {
	d := policyDifference{Revision: p.revision, Looked: p.distinct, Items: []conversationGroup{}}
	for _, g := range p.groups {
		d.Items = append(d.Items, *g)
		if g.What == "cut" {
			d.Cut += g.Count
		} else {
			d.Opened += g.Count
		}
	}
	slices.SortFunc(d.Items, func(a, b conversationGroup) int {
		return cmp.Or(strings.Compare(a.What, b.What), cmp.Compare(b.Count, a.Count), strings.Compare(fmt.Sprint(a.From, a.To, a.Protocol), fmt.Sprint(b.From, b.To, b.Protocol)), cmp.Compare(a.TargetPort, b.TargetPort))
	})
	for _, what := range slices.Sorted(maps.Keys(p.unknown)) {
		d.Unknown = append(d.Unknown, "of host "+firstOf(p.unknown[what])+": "+what)
	}
	for _, why := range slices.Sorted(maps.Keys(p.strange)) {
		d.Unknown = append(d.Unknown, fmt.Sprintf("what would be with %d conversations: %s", p.strange[why], why))
	}
	if p.dropped > 0 {
		d.Unknown = append(d.Unknown, fmt.Sprintf("what would be with %d more conversations: name a host, port, network or project", p.dropped))
	}
	return d
}

// firstOf names some of many.
func firstOf(names []string) string {
	if len(names) <= shownPorts {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shownPorts], ", "), len(names)-shownPorts)
}

// row is a group for people.
func (g *conversationGroup) row(project string, now time.Time) []string {
	service := string(g.Protocol)
	switch {
	case g.Protocol == "icmp" || g.Protocol == "icmpv6":
		service += fmt.Sprintf(" type %d", g.TargetPort>>8)
	case g.TargetPort != 0:
		service += fmt.Sprintf("/%d", g.TargetPort)
	}
	return []string{
		g.What, fmt.Sprint(g.Count), service, speakerCell(project, g.From), speakerCell(project, g.To),
		decisive(g.Now, g.After), decisive(g.After, g.Now), age(now.Sub(g.Last)),
	}
}

// speakerCell names an end and its address, which also tells the family; one
// without a name is its address.
func speakerCell(project string, s api.Speaker) string {
	if s.Port.IsZero() {
		return s.Address.String()
	}
	return fmt.Sprintf("%s (%v)", refName(project, s.Port), s.Address)
}

// decisive says what decides one way, beside the verdict that decides the other:
// what refuses, or of what passes the layer where the other refuses.
func decisive(v, other api.Verdict) string {
	switch {
	case v.Reason != "":
		return v.Reason
	case !v.Passes && len(v.Layers) > 0:
		return layerWords(v.Layers[len(v.Layers)-1])
	case len(other.Layers) == 0 || other.Reason != "":
		return "pass"
	}
	at := other.Layers[len(other.Layers)-1]
	for _, l := range v.Layers {
		if l.End == at.End && l.Layer == at.Layer {
			return layerWords(l)
		}
	}
	for i := len(v.Layers) - 1; i >= 0; i-- { // an earlier tier decided
		if l := v.Layers[i]; l.End == at.End && strings.HasPrefix(l.Layer, "firewall") && strings.HasPrefix(at.Layer, "firewall") {
			return layerWords(l)
		}
	}
	return fmt.Sprintf("pass: %s %s is not asked", at.End, at.Layer)
}

// layerWords are what a layer says, by which rule and whose.
func layerWords(l api.LayerVerdict) string {
	text := fmt.Sprintf("%s: %s %s: ", l.Action, l.End, l.Layer)
	switch {
	case l.Hidden:
		return text + "a rule that you may not see"
	case l.Rule == "":
		return text + "no rule matches"
	case l.Owner == "":
		return text + l.Rule
	}
	return text + l.Rule + " (of " + l.Owner + ")"
}
