// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// LongestRoute returns the longest route of a VRF to an address, as a frame
// would find it. In a gap none is found, and the prefix is the gap's.
func (d *Datapath) LongestRoute(vrf uint32, to netip.Addr) (prefix netip.Prefix, route Route, found bool, err error) {
	key := RouteKey{VRF: vrf, Prefix: netip.PrefixFrom(to, to.BitLen())}
	raw, found, err := lookUp(d.maps["host_routes"], hostRouteCodec, key)
	switch {
	case found || err != nil:
	case to.Is4():
		raw, found, err = lookUp(d.maps["routes4"], route4Codec, key)
	default:
		raw, found, err = lookUp(d.maps["routes6"], route6Codec, key)
	}
	if err != nil || !found {
		return prefix, route, false, err
	}
	prefix = netip.PrefixFrom(to, int(raw.Length)).Masked()
	if raw.Flags&layoutRouteFlagROUTE_GAP != 0 {
		return prefix, route, false, nil
	}
	return prefix, routeOf(raw), true, nil
}

// ConnectionAt returns what the end of a connection behind an interface
// remembers, if anything.
func (d *Datapath) ConnectionAt(k ConnectionKey) (c Connection, found bool, err error) {
	now, err := ticksNow()
	if err != nil {
		return c, false, err
	}
	raw, err := connectionKeyToRaw(k)
	if err != nil {
		return c, false, fmt.Errorf("look up connection: %w", err)
	}
	for _, name := range connectionTables {
		var value layoutConnectionValue
		switch err := d.maps[name].Lookup(&raw, &value); {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			continue
		case err != nil:
			return c, false, fmt.Errorf("look up connection in table %s: %w", name, err)
		}
		c = connectionOf(now, &value)
		c.HalfOpen = name == halfOpenTable
		return c, true, nil
	}
	return c, false, nil
}

// lookUp reads what a table has under a key, as the programs read it.
func lookUp[K comparable, V, RawK, RawV any](m *ebpf.Map, c codec[K, V, RawK, RawV], key K) (raw RawV, found bool, err error) {
	rawK, err := c.key(key)
	if err != nil {
		return raw, false, err
	}
	switch err := m.Lookup(&rawK, &raw); {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return raw, false, nil
	case err != nil:
		return raw, false, fmt.Errorf("look up %v: %w", key, err)
	}
	return raw, true, nil
}
