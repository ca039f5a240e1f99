// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// PortPrefix is a prefix that a port may send from with a MAC.
type PortPrefix struct {
	MAC     vrouter.MAC
	Prefix  netip.Prefix
	Behind  bool // only while the longest route has this very prefix
	Standby bool // the agent is told who speaks for addresses in it
	Asked   bool // not to be sent from; the agent is told what is probed
}

func comparePrefixes(a, b PortPrefix) int {
	return cmp.Or(slices.Compare(a.MAC[:], b.MAC[:]), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
}

// permission is what the kernel has of it.
func (p PortPrefix) permission() vrouter.Permission {
	return vrouter.Permission{Behind: p.Behind, Standby: p.Standby, Asked: p.Asked}
}

// prefixesOf are a port's, sorted, one for each MAC and prefix. The packet path
// goes by the longest alone, so what lies behind the port and in a pair's range
// as well is left out: it would take away what the pair allows.
func prefixesOf(p desired.Port, subnets map[desired.SubnetKey]desired.Subnet) []PortPrefix {
	all := make([]PortPrefix, 0, len(p.Pairs)+len(p.Sources))
	for _, pair := range p.Pairs {
		all = append(all, PortPrefix{MAC: pair.MAC, Prefix: pair.Range, Standby: pair.Standby})
	}
	for _, source := range p.Sources {
		if !inPair(p, source) {
			all = append(all, PortPrefix{MAC: p.MAC, Prefix: source, Behind: true})
		}
	}
	for _, a := range p.Addresses {
		subnet := a.Prefix.Masked()
		if subnets[desired.SubnetKey{VRF: p.VRF, ID: a.Subnet}].Mode == api.ModeSLAAC && subnet.Addr().Is6() && !inPair(p, subnet) {
			all = append(all, PortPrefix{MAC: p.MAC, Prefix: subnet, Asked: true})
		}
	}
	// Of several for one MAC and prefix the first stays: a pair, of any mode.
	slices.SortStableFunc(all, comparePrefixes)
	return slices.CompactFunc(all, func(a, b PortPrefix) bool { return comparePrefixes(a, b) == 0 })
}

// inPair tells whether a pair of the port's MAC covers a prefix.
func inPair(p desired.Port, prefix netip.Prefix) bool {
	return slices.ContainsFunc(p.Pairs, func(pair desired.Pair) bool {
		return pair.MAC == p.MAC && pair.Range.Bits() <= prefix.Bits() && pair.Range.Contains(prefix.Addr())
	})
}

// portPrefixes treats all prefixes of an interface as one row, which is done
// only when those that are not wanted are gone as well.
type portPrefixes struct {
	table Table[vrouter.PortPrefix, vrouter.Permission]
	there map[int]map[vrouter.PortPrefix]held // what may be in the kernel
}

// held is what the kernel has under a key; not sure after a failed change.
type held struct {
	value vrouter.Permission
	sure  bool
}

func (t *portPrefixes) Owned(context.Context) (map[int][]PortPrefix, error) {
	all, err := t.table.All()
	if err != nil {
		return nil, err
	}
	t.there = map[int]map[vrouter.PortPrefix]held{}
	rows := map[int][]PortPrefix{}
	for k, v := range all {
		t.note(k, held{v, true})
		rows[k.Ifindex] = append(rows[k.Ifindex], PortPrefix{k.MAC, k.Prefix, v.Behind, v.Standby, v.Asked})
	}
	for _, list := range rows {
		slices.SortFunc(list, comparePrefixes)
	}
	return rows, nil
}

func (t *portPrefixes) note(k vrouter.PortPrefix, h held) {
	if t.there[k.Ifindex] == nil {
		t.there[k.Ifindex] = map[vrouter.PortPrefix]held{}
	}
	t.there[k.Ifindex][k] = h
}

func (t *portPrefixes) Update(_ context.Context, ifindex int, want []PortPrefix) error {
	var failed error
	wanted := map[vrouter.PortPrefix]bool{}
	for _, p := range want {
		key, value := vrouter.PortPrefix{Ifindex: ifindex, MAC: p.MAC, Prefix: p.Prefix}, p.permission()
		wanted[key] = true
		if t.there[ifindex][key] == (held{value, true}) {
			continue
		}
		t.note(key, held{})
		if err := t.table.Put(key, value); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		t.note(key, held{value, true})
	}
	for key := range t.there[ifindex] {
		if !wanted[key] {
			t.note(key, held{})
			if err := t.table.Delete(key); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			delete(t.there[ifindex], key)
		}
	}
	return failed
}

func (t *portPrefixes) Delete(ctx context.Context, ifindex int) error {
	err := t.Update(ctx, ifindex, nil)
	if err == nil {
		delete(t.there, ifindex)
	}
	return err
}
