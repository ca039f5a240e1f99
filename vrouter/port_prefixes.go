// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"maps"
	"net/netip"
)

// PortPrefixes is one table to the caller; below, there is a trie for each
// family.
type PortPrefixes struct {
	four, six *Table[PortPrefix, Permission]
}

func (p *PortPrefixes) of(key PortPrefix) *Table[PortPrefix, Permission] {
	if key.Prefix.Addr().Is4() {
		return p.four
	}
	return p.six
}

// Put writes a prefix, new or not.
func (p *PortPrefixes) Put(key PortPrefix, value Permission) error {
	value.bits = uint8(key.Prefix.Bits())
	return p.of(key).Put(key, value)
}

// Delete removes a prefix; absence is success.
func (p *PortPrefixes) Delete(key PortPrefix) error { return p.of(key).Delete(key) }

// All returns the prefixes of all interfaces and both families.
func (p *PortPrefixes) All() (map[PortPrefix]Permission, error) {
	all, err := p.four.All()
	if err != nil {
		return nil, err
	}
	six, err := p.six.All()
	if err != nil {
		return nil, err
	}
	maps.Copy(all, six)
	return all, nil
}

// prefixHead is how much of a key comes before its address, in bits, always
// matched in full.
const prefixHead = 96

var portPrefix4Codec = codec[PortPrefix, Permission, layoutPortPrefix4Key, layoutPortPrefixValue]{
	key: func(k PortPrefix) (layoutPortPrefix4Key, error) {
		address, err := prefixToRaw(k)
		return layoutPortPrefix4Key{
			PrefixLength: prefixHead + uint32(k.Prefix.Bits()), Ifindex: uint32(k.Ifindex), Mac: layoutMac{Byte: k.MAC}, Address: address.Word[0],
		}, err
	},
	keyOf: func(raw layoutPortPrefix4Key) PortPrefix {
		address := addressOf(layoutAddress{Word: [4]uint32{raw.Address}}, layoutFamilyFAMILY_4)
		return PortPrefix{int(raw.Ifindex), raw.Mac.Byte, netip.PrefixFrom(address, int(raw.PrefixLength-prefixHead))}
	},
	value:   permissionToRaw,
	valueOf: permissionOf,
}

var portPrefix6Codec = codec[PortPrefix, Permission, layoutPortPrefix6Key, layoutPortPrefixValue]{
	key: func(k PortPrefix) (layoutPortPrefix6Key, error) {
		address, err := prefixToRaw(k)
		return layoutPortPrefix6Key{
			PrefixLength: prefixHead + uint32(k.Prefix.Bits()), Ifindex: uint32(k.Ifindex), Mac: layoutMac{Byte: k.MAC}, Address: address,
		}, err
	},
	keyOf: func(raw layoutPortPrefix6Key) PortPrefix {
		address := addressOf(raw.Address, layoutFamilyFAMILY_6)
		return PortPrefix{int(raw.Ifindex), raw.Mac.Byte, netip.PrefixFrom(address, int(raw.PrefixLength-prefixHead))}
	},
	value:   permissionToRaw,
	valueOf: permissionOf,
}

func prefixToRaw(k PortPrefix) (layoutAddress, error) {
	address, _, err := addressToRaw(k.Prefix.Addr())
	if err == nil {
		err = checkPrefix(k.Prefix)
	}
	if err != nil {
		err = fmt.Errorf("prefix of interface %d: %w", k.Ifindex, err)
	}
	return address, err
}

func permissionToRaw(p Permission) (layoutPortPrefixValue, error) {
	raw := layoutPortPrefixValue{Length: uint32(p.bits)}
	for flag, set := range map[layoutPortPrefixFlag]bool{
		layoutPortPrefixFlagPORT_PREFIX_BEHIND: p.Behind, layoutPortPrefixFlagPORT_PREFIX_STANDBY: p.Standby, layoutPortPrefixFlagPORT_PREFIX_ASKED: p.Asked,
	} {
		if set {
			raw.Flags |= flag
		}
	}
	return raw, nil
}

func permissionOf(raw layoutPortPrefixValue) Permission {
	return Permission{
		Behind:  raw.Flags&layoutPortPrefixFlagPORT_PREFIX_BEHIND != 0,
		Standby: raw.Flags&layoutPortPrefixFlagPORT_PREFIX_STANDBY != 0,
		Asked:   raw.Flags&layoutPortPrefixFlagPORT_PREFIX_ASKED != 0,
	}
}
