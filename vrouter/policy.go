// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/vrouter/rules"
)

// PolicySizes bounds the tables of policy, in entries. Those of rulesets count
// all rulesets of the host together.
type PolicySizes struct {
	Rulesets       uint32
	RemoteClasses  uint32 // identities that rulesets name
	RemoteRanges   uint32 // prefixes that they name, of each family
	ServiceClasses uint32 // pages of ports that they name
	Verdicts       uint32 // about as many as rules that name a service
	Managed        uint32 // subnets of each family
	RuleHits       uint32 // rules that have decided something
}

// Their memory is that of 16 bytes for each entry that there may be, 6 MB
// together; an entry costs more only when used.
var defaultPolicySizes = PolicySizes{
	Rulesets:       1 << 13, // eight a port
	RemoteClasses:  1 << 17, // a hundred groups with a thousand kinds of workloads
	RemoteRanges:   1 << 17,
	ServiceClasses: 1 << 15,
	Verdicts:       1 << 17,
	Managed:        1 << 15,
	RuleHits:       1 << 15,
}

func (s PolicySizes) withDefaults(or func(size, otherwise uint32) uint32) PolicySizes {
	return PolicySizes{
		Rulesets:       or(s.Rulesets, defaultPolicySizes.Rulesets),
		RemoteClasses:  or(s.RemoteClasses, defaultPolicySizes.RemoteClasses),
		RemoteRanges:   or(s.RemoteRanges, defaultPolicySizes.RemoteRanges),
		ServiceClasses: or(s.ServiceClasses, defaultPolicySizes.ServiceClasses),
		Verdicts:       or(s.Verdicts, defaultPolicySizes.Verdicts),
		Managed:        or(s.Managed, defaultPolicySizes.Managed),
		RuleHits:       or(s.RuleHits, defaultPolicySizes.RuleHits),
	}
}

func (s PolicySizes) of(ports uint32) map[string]uint32 {
	return map[string]uint32{
		"port_policies":   ports,
		"rulesets":        s.Rulesets,
		"remote_classes":  s.RemoteClasses,
		"remote_ranges4":  s.RemoteRanges,
		"remote_ranges6":  s.RemoteRanges,
		"service_classes": s.ServiceClasses,
		"service_pages":   s.ServiceClasses,
		"verdicts":        s.Verdicts,
		"managed4":        s.Managed,
		"managed6":        s.Managed,
		"rule_hits":       s.RuleHits + 1,
	}
}

// PortPolicy is what a port asks. A ruleset's number is chosen by its content
// and never means another.
type PortPolicy struct {
	Identity        rules.Identity
	Rulesets        [rules.Directions][rules.Layers]uint32 // 0: nothing in that layer
	ConnectionLimit int                                    // 0: none
	Stateless       bool                                   // its security-groups are asked for every packet, if the port is so too
	// Strict says that the rulesets from before a change are asked, too, which
	// is to hold everywhere at once.
	Strict          bool
	Former          [rules.Directions][rules.Layers]uint32
	FormerStateless bool
}

// RulesetValue is what a ruleset begins with, and which other lookups can find
// something.
type RulesetValue struct {
	Identities, Ranges4, Ranges6, Services, SourcePorts bool
	NamesAnybody                                        bool   // there are verdicts of remote class 0
	Audit                                               uint32 // the ruleset of its audit rules, with the same orders; 0: none
	// Outside is what is said of anybody without identity and any service,
	// Identified of anybody with one: by a rule, or as nothing matched.
	Outside, Identified rules.Verdict
}

// RemoteClassKey is an identity that a ruleset names.
type RemoteClassKey struct {
	Ruleset  uint32
	Identity rules.Identity
}

// RemoteRangeKey is a prefix that a ruleset names. The longest is taken.
type RemoteRangeKey struct {
	Ruleset uint32
	Prefix  netip.Prefix
}

// RemoteClass is what a ruleset makes of an identity or an address. Any is what
// it says of the class and any service; its Order is 0 if nothing.
type RemoteClass struct {
	Class uint32 // from 1
	Any   rules.Verdict
}

// The pages of a ServiceClassKey.
const (
	OtherPages  = uint16(layoutServicePageSERVICE_PAGE_OTHERS) // all that are not there; of protocol 0 all protocols that are not
	SourcePages = uint16(layoutServicePageSERVICE_PAGE_SOURCE) // besides: of source ports
)

// ServiceClassKey is 256 ports of a protocol: a page is a port divided by 256,
// and of ICMP a type.
type ServiceClassKey struct {
	Ruleset          uint32
	Family, Protocol uint8 // 4 or 6
	Page             uint16
}

// ServiceClass is what a ruleset makes of a page: one class, or one for each port.
type ServiceClass struct {
	Class uint32 // 0: none
	Page  uint32 // of ServicePages, from 1; 0: all have Class
}

// ServicePageKey is a page with several classes.
type ServicePageKey struct{ Ruleset, Page uint32 }

// ServicePage has the class of each port of a page.
type ServicePage [256]uint16

// VerdictKey is what a rule of a ruleset matches. 0 is anybody, anything, and
// from any port; all 0 is in RulesetValue.
type VerdictKey struct{ Ruleset, Remote, Service, Source uint32 }

// PolicyTables are what the programs know of policy. A ruleset's entries are
// written before a port asks it, and never changed.
type PolicyTables struct {
	PortPolicies   *Table[int, PortPolicy] // by interface
	Rulesets       *Table[uint32, RulesetValue]
	RemoteClasses  *Table[RemoteClassKey, RemoteClass]
	RemoteRanges   *Prefixes[RemoteRangeKey, RemoteClass]
	ServiceClasses *Table[ServiceClassKey, ServiceClass]
	ServicePages   *Table[ServicePageKey, ServicePage]
	Verdicts       *Table[VerdictKey, rules.Verdict]
	Managed        *Prefixes[RouteKey, struct{}] // subnets of a VRF's networks, in which addresses have identities
}

// Prefixes is one table to the caller and one for each family below.
type Prefixes[K comparable, V any] struct {
	prefix    func(K) netip.Prefix
	four, six *Table[K, V]
}

func (p *Prefixes[K, V]) of(key K) *Table[K, V] {
	if p.prefix(key).Addr().Is4() {
		return p.four
	}
	return p.six
}

// Put writes an entry, new or not.
func (p *Prefixes[K, V]) Put(key K, value V) error { return p.of(key).Put(key, value) }

// Delete removes an entry; absence is success.
func (p *Prefixes[K, V]) Delete(key K) error { return p.of(key).Delete(key) }

// All returns the entries of both families.
func (p *Prefixes[K, V]) All() (map[K]V, error) {
	all, err := p.four.All()
	if err != nil {
		return nil, err
	}
	if err := p.six.scan(func(k K, v V) { all[k] = v }); err != nil {
		return nil, fmt.Errorf("list table %s: %w", p.six.name, err)
	}
	return all, nil
}

func (d *Datapath) makePolicyTables() {
	d.makePlaceTables()
	d.PortPolicies = newTable("port_policies", d.maps["port_policies"], portPolicyCodec).settle(d.WaitForPackets).then(d.generations.renewPort)
	d.Rulesets = newTable("rulesets", d.maps["rulesets"], rulesetCodec)
	d.RemoteClasses = newTable("remote_classes", d.maps["remote_classes"], remoteClassCodec)
	d.RemoteRanges = &Prefixes[RemoteRangeKey, RemoteClass]{
		prefix: func(k RemoteRangeKey) netip.Prefix { return k.Prefix },
		four:   newTable("remote_ranges4", d.maps["remote_ranges4"], remoteRange4Codec),
		six:    newTable("remote_ranges6", d.maps["remote_ranges6"], remoteRange6Codec),
	}
	d.ServiceClasses = newTable("service_classes", d.maps["service_classes"], serviceClassCodec)
	d.ServicePages = newTable("service_pages", d.maps["service_pages"], servicePageCodec)
	d.Verdicts = newTable("verdicts", d.maps["verdicts"], verdictCodec)
	ofVRF := func(k RouteKey) error { return d.generations.renewVRF(k.VRF) }
	d.Managed = &Prefixes[RouteKey, struct{}]{
		prefix: func(k RouteKey) netip.Prefix { return k.Prefix },
		four:   newTable("managed4", d.maps["managed4"], managed4Codec).then(ofVRF),
		six:    newTable("managed6", d.maps["managed6"], managed6Codec).then(ofVRF),
	}
}

// AnyRule is no rule: what rules decided whose own counts found no room.
const AnyRule = 0

// RuleHits returns how many conversations each rule has decided, by its number.
func (d *Datapath) RuleHits() (map[uint32]uint64, error) {
	hits := map[uint32]uint64{}
	var rule uint32
	var onCPU []uint64
	entries := d.maps["rule_hits"].Iterate()
	for entries.Next(&rule, &onCPU) {
		for _, n := range onCPU {
			hits[rule] += n
		}
	}
	if hits[AnyRule] == 0 {
		delete(hits, AnyRule)
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list table rule_hits: %w", err)
	}
	return hits, nil
}

// ForgetRuleHits removes the count of a rule that is gone; absence is success.
// That of AnyRule stays, for programs do not make it.
func (d *Datapath) ForgetRuleHits(rule uint32) error {
	if rule == AnyRule {
		return nil
	}
	err := d.maps["rule_hits"].Delete(rule)
	if err != nil && !isAbsent(err) {
		return fmt.Errorf("delete %d from table rule_hits: %w", rule, err)
	}
	return nil
}
