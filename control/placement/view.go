// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/health"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// View is what one host needs: tables that it shares with other hosts, and
// what is its own. It never changes.
type View struct {
	Host      *routing.Host
	tables    []*Table // by VRF
	ports     []Row
	reserved  []Row
	policy    *policy.Host
	serves    []string // networks whose virtual addresses its ports serve
	rules     []Row    // selectors, then rulesets
	health    *health.Host
	checks    []Row
	proxies   *balance.Proxies
	proxied   []Row // one for each of proxies
	holds     []Row // shared by all hosts
	endpoints *endpoints
	peers     hostSet // hosts that routes lead to or that may send here
}

// Tables are those of the networks that the host has ports in, by VRF, and
// those of the names of its projects. The slice is shared.
func (v *View) Tables() []*Table { return v.tables }

// Table returns the table of a VRF, or nil.
func (v *View) Table(vrf uint32) *Table {
	if i, ok := v.find(vrf); ok {
		return v.tables[i]
	}
	return nil
}

func (v *View) find(vrf uint32) (int, bool) {
	return slices.BinarySearchFunc(v.tables, vrf, func(t *Table, vrf uint32) int { return cmp.Compare(t.VRF, vrf) })
}

// Rules are the selectors, and the rulesets that name them. The slice is shared.
func (v *View) Rules() []Row { return v.rules }

// Ports are the rows of the host's own ports. The slice is shared.
func (v *View) Ports() []Row { return v.ports }

// Endpoints yields the rows of the tunnel endpoints that the host needs, by
// name. Of what they can do each says only what this host can do, too: an agent
// knows what it could do, and not what its host's spec takes from that. For the
// same reason a host with ports is told of itself what its spec says its underlay
// carries.
func (v *View) Endpoints(yield func(Row) bool) {
	own, known := v.endpoints.number[v.Host.Ref.UUID]
	for _, h := range v.endpoints.hosts {
		i := v.endpoints.number[h.Ref.UUID]
		if known && i == own {
			if h.UnderlayMTU != 0 && len(v.Host.Ports)+len(v.Host.Reserved) > 0 && !yield(ownRow(h)) {
				return
			}
			continue
		}
		if !v.peers.has(i) {
			continue
		}
		row := v.endpoints.rows[i]
		if common, less := v.common(h); less {
			limited := *h
			limited.Encapsulations = common
			row = endpointRow(&limited)
		}
		if !yield(row) {
			return
		}
	}
}

// common are the encapsulations that both hosts can do; less: not all of the other's.
func (v *View) common(other *routing.Host) (common []string, less bool) {
	if slices.Equal(v.Host.Encapsulations, other.Encapsulations) {
		return nil, false
	}
	theirs := api.Encapsulations(other.Encapsulations)
	for _, e := range theirs {
		if slices.Contains(api.Encapsulations(v.Host.Encapsulations), e) {
			common = append(common, e)
		}
	}
	if len(common) == len(theirs) {
		return nil, false
	}
	if len(common) == 0 {
		common = []string{api.EncapsulationNone} // an empty list is VXLAN
	}
	return common, true
}

// Own yields the rows that are of no network: holds, endpoints, what is asked at
// ports, ports, how their workloads are tried, what proxies serve, then what is reserved.
func (v *View) Own(yield func(Row) bool) {
	for _, r := range v.holds {
		if !yield(r) {
			return
		}
	}
	for r := range v.Endpoints {
		if !yield(r) {
			return
		}
	}
	for _, rows := range [][]Row{v.rules, v.ports, v.checks, v.proxied, v.reserved} {
		for _, r := range rows {
			if !yield(r) {
				return
			}
		}
	}
}

// OwnSum is that of the rows that are of no network, as in hoststream.proto.
func (v *View) OwnSum() uint64 {
	var sum uint64
	for r := range v.Own {
		sum += r.sum()
	}
	return sum
}

// SameOwn tells that ports and endpoints are the same as in another view.
func (v *View) SameOwn(w *View) bool {
	return v.Host == w.Host && v.policy == w.policy && v.health == w.health && v.proxies == w.proxies && v.endpoints == w.endpoints && slices.Equal(v.peers, w.peers) && sameRows(v.holds, w.holds)
}

// sameRows tells that rows are the very same.
func sameRows(a, b []Row) bool {
	return slices.EqualFunc(a, b, func(a, b Row) bool { return a.Key == b.Key && a.Hash == b.Hash })
}

// union are the hosts of all tables but this one.
func (v *View) union() hostSet {
	var all hostSet
	for _, t := range v.tables {
		all.join(t.peers)
	}
	if i, ok := v.endpoints.number[v.Host.Ref.UUID]; ok {
		all.remove(i)
	}
	return all
}

// hostSet is a set of hosts by their numbers.
type hostSet []uint64

func (s *hostSet) grow(words int) {
	if missing := words - len(*s); missing > 0 {
		*s = append(*s, make(hostSet, missing)...)
	}
}

func (s *hostSet) add(i int) {
	s.grow(i/64 + 1)
	(*s)[i/64] |= 1 << (i % 64)
}

func (s hostSet) remove(i int) {
	if i/64 < len(s) {
		s[i/64] &^= 1 << (i % 64)
	}
}

func (s hostSet) has(i int) bool { return i/64 < len(s) && s[i/64]&(1<<(i%64)) != 0 }

func (s *hostSet) join(t hostSet) {
	s.grow(len(t))
	for i, word := range t {
		(*s)[i] |= word
	}
}

// len counts the hosts.
func (s hostSet) len() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// classes are the first parts of keys, things before what refers to them.
var classes = []string{"hold", "tunnel-endpoint", "tunnel-source", "vrf", "mac", "subnet", "name", "member", "listener", "selector", "ruleset", "port", "route"}

func classOf(key string) int {
	class, _, _ := strings.Cut(key, "/")
	return slices.Index(classes, class)
}

// collect is slices.Collect with room for what is expected.
func collect(rows iter.Seq[Row], expected int) []Row {
	return slices.AppendSeq(make([]Row, 0, expected), rows)
}
