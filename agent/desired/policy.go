// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter/rules"
)

// Bounds of what one row may hold: far more than a person writes, and little
// enough that a row cannot take the host's memory.
const (
	maxRules      = 1 << 16 // of a ruleset
	maxOfRule     = 1 << 16 // selectors, ranges, exceptions or services of a rule
	maxVia        = 16
	maxIdentities = 1 << 20 // of a selector
)

// PortRuleset is what is asked at a port in one layer and direction. The words
// are the stream's: what this agent does not know is said where it is compiled.
type PortRuleset struct {
	Layer   string
	Ingress bool
	Ruleset string // key in Rows.Rulesets
}

// Digest is of a row's contents.
type Digest [sha256.Size]byte

// Ruleset is the ordered rules of one layer and direction, without the
// identities that its selectors stand for.
type Ruleset struct {
	ID, Name            string
	Rules               []Rule
	Outside, Identified rules.Action
	Rest                *Cause // who counts and logs what no rule matches; nil: nobody
	Digest              Digest
}

// Causes are where what the ruleset decides comes from, of rules that it counts.
func (r *Ruleset) Causes(yield func(Cause) bool) {
	for i := range r.Rules {
		if !yield(r.Rules[i].Cause) {
			return
		}
	}
	if r.Rest != nil {
		yield(*r.Rest)
	}
}

// Rule is a rule with whose it is.
type Rule struct {
	Cause Cause
	// Body is the rule but for its number and its identities.
	Body      rules.Rule
	Selectors []string // keys in Rows.Selectors
}

// Cause says where a rule comes from.
type Cause struct {
	Object, Kind, Name, Owner string
	Index                     int // its place among the object's rules, from 1; 0: the object is the rule
	Via                       []string
}

// Selector is the workloads that some rule means.
type Selector struct {
	ID         string
	Identities []rules.Identity // ascending
	Digest     Digest
}

// RulesetRow is the key of a ruleset's row.
func RulesetRow(id string) string { return "ruleset/" + id }

// SelectorRow is the key of a selector's row.
func SelectorRow(id string) string { return "selector/" + id }

func (r *Rows) insertRuleset(key string, m *hoststream.Ruleset) (string, error) {
	v, err := ruleset(m)
	if err != nil {
		return "", fmt.Errorf("ruleset %s: %w", m.Name, err)
	}
	k := RulesetRow(v.ID)
	if k == key {
		r.Rulesets[v.ID] = v
	}
	return k, nil
}

func (r *Rows) insertSelector(key string, m *hoststream.Selector) (string, error) {
	v := Selector{ID: m.Selector}
	if len(m.Identities) > maxIdentities {
		return "", fmt.Errorf("selector has %d identities, at most %d are taken", len(m.Identities), maxIdentities)
	}
	for _, identity := range m.Identities {
		v.Identities = append(v.Identities, rules.Identity(identity))
	}
	slices.Sort(v.Identities)
	v.Identities = slices.Compact(v.Identities)
	if len(v.Identities) > 0 && v.Identities[0] <= rules.Pending {
		return "", fmt.Errorf("selector has identity %d, which no workload has", v.Identities[0])
	}
	var err error
	v.Digest, err = digest(m)
	k := SelectorRow(v.ID)
	if err == nil && k == key {
		r.Selectors[v.ID] = v
	}
	return k, err
}

// digest sums up a message.
func digest(m proto.Message) (Digest, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return sha256.Sum256(body), err
}

func ruleset(m *hoststream.Ruleset) (v Ruleset, err error) {
	v = Ruleset{ID: m.Ruleset, Name: m.Name}
	if len(m.Needs) > 0 {
		return v, fmt.Errorf("it needs %q, which this agent does not know: upgrade it", m.Needs)
	}
	if len(m.Rules) > maxRules {
		return v, fmt.Errorf("it has %d rules, at most %d are taken", len(m.Rules), maxRules)
	}
	if v.Outside, err = rules.ParseAction(m.Outside); err != nil {
		return v, err
	}
	if v.Identified, err = rules.ParseAction(m.Identified); err != nil {
		return v, err
	}
	if r := m.Rest; r != nil && r.Log {
		v.Rest = &Cause{Object: r.Object, Kind: r.Kind, Name: r.Name, Owner: r.Owner}
	}
	for i, raw := range m.Rules {
		one, err := rule(raw)
		if err != nil {
			return v, fmt.Errorf("rule %d, of %s %s: %w", i+1, raw.Kind, raw.Name, err)
		}
		v.Rules = append(v.Rules, one)
	}
	v.Digest, err = digest(m)
	return v, err
}

func rule(m *hoststream.Rule) (v Rule, err error) {
	if len(m.Via) > maxVia || m.Index > math.MaxInt32 || len(m.Services) > maxOfRule {
		return v, errors.New("it is too large")
	}
	v.Cause = Cause{Object: m.Object, Kind: m.Kind, Name: m.Name, Owner: m.Owner, Index: int(m.Index), Via: m.Via}
	v.Body = rules.Rule{Name: v.Cause.String(), Log: m.Log, Audit: m.Audit}
	if v.Body.Action, err = rules.ParseAction(m.Action); err != nil {
		return v, err
	}
	switch remote := m.Remote.(type) {
	case *hoststream.Rule_Anybody:
		v.Body.Remote = rules.Anybody
	case *hoststream.Rule_Selected:
		if v.Body.Remote, v.Selectors = rules.Workloads, remote.Selected.Selectors; len(v.Selectors) > maxOfRule {
			return v, errors.New("it names too many selectors")
		}
	case *hoststream.Rule_Ranges:
		v.Body.Remote = rules.Addresses
		if v.Body.Ranges, err = prefixes(remote.Ranges.Ranges); err == nil {
			v.Body.Except, err = prefixes(remote.Ranges.Except)
		}
	default:
		err = errors.New("its remote is of a kind this agent does not know: upgrade it")
	}
	for _, raw := range m.Services {
		s, bad := service(raw)
		v.Body.Services = append(v.Body.Services, s)
		err = errors.Join(err, bad)
	}
	return v, err
}

// String names the rule for people.
func (c Cause) String() string {
	if c.Index == 0 {
		return c.Kind + " " + c.Name
	}
	return fmt.Sprintf("%s %s, rule %d", c.Kind, c.Name, c.Index)
}

// Equal tells whether both are the same rule.
func (c Cause) Equal(o Cause) bool {
	return c.Object == o.Object && c.Kind == o.Kind && c.Name == o.Name && c.Owner == o.Owner && c.Index == o.Index && slices.Equal(c.Via, o.Via)
}

func prefixes(raw []*hoststream.Prefix) (all []netip.Prefix, err error) {
	if len(raw) > maxOfRule {
		return nil, fmt.Errorf("%d prefixes, at most %d are taken", len(raw), maxOfRule)
	}
	for _, m := range raw {
		p, ok := prefix(m.Address, m.Length)
		if !ok {
			return nil, fmt.Errorf("%d bytes with prefix length %d are not a prefix", len(m.Address), m.Length)
		}
		all = append(all, p)
	}
	return all, nil
}

func service(m *hoststream.RuleService) (s rules.Service, err error) {
	if m.Family != 0 && m.Family != 4 && m.Family != 6 {
		return s, fmt.Errorf("family %d is neither 4 nor 6", m.Family)
	}
	s = rules.Service{Family: uint8(m.Family), AnyProtocol: m.Protocol == nil}
	if m.GetProtocol() > math.MaxUint8 || m.GetIcmpType() > math.MaxUint8 || m.GetIcmpCode() > math.MaxUint8 {
		return s, fmt.Errorf("protocol %d, ICMP type %d or code %d is above 255", m.GetProtocol(), m.GetIcmpType(), m.GetIcmpCode())
	}
	s.Protocol = uint8(m.GetProtocol())
	if s.Ports, err = numbers(m.Ports); err == nil {
		s.SourcePorts, err = numbers(m.SourcePorts)
	}
	if m.IcmpType != nil {
		s.ICMPType = new(uint8(m.GetIcmpType()))
	}
	if m.IcmpCode != nil {
		s.ICMPCode = new(uint8(m.GetIcmpCode()))
	}
	if s.ICMPCode != nil && s.ICMPType == nil {
		err = errors.New("an ICMP code without a type")
	}
	return s, err
}

func numbers(m *hoststream.NumberRange) (*rules.Range, error) {
	if m == nil {
		return nil, nil
	}
	if m.First > m.Last || m.Last > math.MaxUint16 {
		return nil, fmt.Errorf("ports %d to %d are no range", m.First, m.Last)
	}
	return &rules.Range{First: uint16(m.First), Last: uint16(m.Last)}, nil
}

// policyOf reads what a port's row says of its policy.
func (p *Port) policyOf(m *hoststream.Port) {
	p.Identity, p.Rulesets = rules.Identity(m.Identity), portRulesets(m.Rulesets)
	p.ConnectionLimit, p.Stateless, p.Tags = m.ConnectionLimit, m.Stateless, m.Tags
}

func portRulesets(rows []*hoststream.PortRuleset) (all []PortRuleset) {
	for _, r := range rows {
		all = append(all, PortRuleset{r.Layer, r.Ingress, r.Ruleset})
	}
	return all
}
