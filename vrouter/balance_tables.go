// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weft-network/weft/vrouter/rules"
)

// BalanceSizes are the part of [Sizes] that is about virtual addresses.
type BalanceSizes struct {
	Listeners   uint32 // at each of their addresses
	Choices     uint32 // pages of 256 buckets
	PoolMembers uint32 // of listeners, at each of their addresses
	Mappings    uint32 // of members that are ports of this host
	Affinities  uint32 // clients that are remembered
	Floats      uint32 // addresses of ports with floating addresses
}

// All but the last cost memory only when used.
var defaultBalanceSizes = BalanceSizes{
	Listeners:   1 << 14, // 8,000 services in both families
	Choices:     1 << 16, // four pages for each, as pools of 40 members have
	PoolMembers: 1 << 17,
	Mappings:    1 << 15, // 250 pods that serve 65 listeners each, in both families
	Affinities:  1 << 14, // 2 MB
	Floats:      1 << 12, // 2,000 ports in both families
}

func (s BalanceSizes) withDefaults(or func(size, otherwise uint32) uint32) BalanceSizes {
	return BalanceSizes{
		Listeners: or(s.Listeners, defaultBalanceSizes.Listeners), Choices: or(s.Choices, defaultBalanceSizes.Choices),
		PoolMembers: or(s.PoolMembers, defaultBalanceSizes.PoolMembers), Mappings: or(s.Mappings, defaultBalanceSizes.Mappings),
		Affinities: or(s.Affinities, defaultBalanceSizes.Affinities), Floats: or(s.Floats, defaultBalanceSizes.Floats),
	}
}

func (s BalanceSizes) of() map[string]uint32 {
	return map[string]uint32{
		"listeners": s.Listeners, "choices": s.Choices, "choice_members": s.PoolMembers,
		"pool_members": s.PoolMembers, "mappings": s.Mappings, "affinities": s.Affinities,
		"floats": s.Floats,
	}
}

// BalanceRooms are the sizes that the tables have.
func (d *Datapath) BalanceRooms() BalanceSizes {
	of := func(table string) uint32 { return d.maps[table].MaxEntries() }
	return BalanceSizes{Listeners: of("listeners"), Choices: of("choices"), PoolMembers: of("pool_members"), Mappings: of("mappings"), Affinities: of("affinities"), Floats: of("floats")}
}

// ChoicePage is how many buckets an entry of choices has.
const ChoicePage = choicePage

// BalanceTables are those of virtual addresses.
type BalanceTables struct {
	Listeners   *Table[ListenerKey, Listener]
	Choices     *Choices
	PoolMembers *Table[PoolMemberKey, PoolMember]
	Mappings    *Table[uint64, Mapping] // by number
	Floats      *Table[FloatKey, Float] // what the port sends through
	affinities  *Table[AffinityKey, Affinity]
}

func listenerKeyToRaw(k ListenerKey) (layoutListenerKey, error) {
	address, family, err := addressToRaw(k.Address)
	return layoutListenerKey{Vrf: k.VRF, Family: uint8(family), Protocol: k.Protocol, Port: wirePort(k.Port), Address: address}, err
}

func listenerKeyOf(raw layoutListenerKey) ListenerKey {
	return ListenerKey{VRF: raw.Vrf, Address: addressOf(raw.Address, layoutFamily(raw.Family)), Protocol: raw.Protocol, Port: wirePort(raw.Port)}
}

var listenerCodec = codec[ListenerKey, Listener, layoutListenerKey, layoutListenerValue]{
	key: listenerKeyToRaw, keyOf: listenerKeyOf,
	value: func(l Listener) (layoutListenerValue, error) {
		raw := layoutListenerValue{Choice: l.Choice, Buckets: uint32(l.Buckets), Ticks: l.Ticks}
		if l.BySource {
			raw.Flags |= layoutListenerFlagLISTENER_BY_SOURCE
		}
		return raw, nil
	},
	valueOf: func(raw layoutListenerValue) Listener {
		return Listener{Choice: raw.Choice, Buckets: int(raw.Buckets), Ticks: raw.Ticks, BySource: raw.Flags&layoutListenerFlagLISTENER_BY_SOURCE != 0}
	},
}

var poolMemberCodec = codec[PoolMemberKey, PoolMember, layoutPoolMemberKey, layoutPoolMemberValue]{
	key: func(k PoolMemberKey) (layoutPoolMemberKey, error) {
		listener, err := listenerKeyToRaw(k.ListenerKey)
		return layoutPoolMemberKey{Listener: listener, Mac: layoutMac{Byte: k.MAC}}, err
	},
	keyOf: func(raw layoutPoolMemberKey) PoolMemberKey {
		return PoolMemberKey{listenerKeyOf(raw.Listener), raw.Mac.Byte}
	},
	value: func(m PoolMember) (layoutPoolMemberValue, error) {
		internal, family, err := addressToRaw(m.Internal.Addr())
		raw := layoutPoolMemberValue{NextHop: m.NextHop, Mtu: uint32(m.MTU), Internal: internal, InternalPort: wirePort(m.Internal.Port()), Family: uint8(family), Identity: uint64(m.Identity), Mapping: m.Mapping}
		if m.Chosen {
			raw.Chosen = 1
		}
		return raw, err
	},
	valueOf: func(raw layoutPoolMemberValue) PoolMember {
		internal := addrPortOf(raw.Internal, raw.Family, raw.InternalPort)
		return PoolMember{NextHop: raw.NextHop, MTU: int(raw.Mtu), Internal: internal, Identity: rules.Identity(raw.Identity), Chosen: raw.Chosen != 0, Mapping: raw.Mapping}
	},
}

var mappingCodec = codec[uint64, Mapping, uint64, layoutMappingValue]{
	key: func(number uint64) (uint64, error) { return number, nil }, keyOf: identity[uint64],
	value: func(m Mapping) (layoutMappingValue, error) {
		external, family, err1 := addressToRaw(m.External.Addr())
		internal, other, err2 := addressToRaw(m.Internal.Addr())
		err := errors.Join(err1, err2)
		if err == nil && family != other {
			err = fmt.Errorf("%v and %v are of different families", m.External, m.Internal)
		}
		return layoutMappingValue{
			Ifindex: uint32(m.Ifindex), Vrf: m.VRF, Protocol: m.Protocol, Family: uint8(family), External: external, Internal: internal,
			ExternalPort: wirePort(m.External.Port()), InternalPort: wirePort(m.Internal.Port()),
		}, err
	},
	valueOf: func(raw layoutMappingValue) Mapping {
		return Mapping{
			Ifindex: int(raw.Ifindex), VRF: raw.Vrf, Protocol: raw.Protocol,
			External: addrPortOf(raw.External, raw.Family, raw.ExternalPort), Internal: addrPortOf(raw.Internal, raw.Family, raw.InternalPort),
		}
	},
}

var floatCodec = codec[FloatKey, Float, layoutFloatKey, layoutFloatValue]{
	key: func(k FloatKey) (layoutFloatKey, error) {
		address, family, err := addressToRaw(k.Internal)
		return layoutFloatKey{Ifindex: uint32(k.Ifindex), Family: family, Internal: address}, err
	},
	keyOf: func(raw layoutFloatKey) FloatKey {
		return FloatKey{int(raw.Ifindex), addressOf(raw.Internal, raw.Family)}
	},
	value: func(f Float) (layoutFloatValue, error) {
		return layoutFloatValue{Mappings: f.Mappings, Alias: f.Alias}, nil
	},
	valueOf: func(raw layoutFloatValue) Float { return Float{raw.Mappings, raw.Alias} },
}

var affinityCodec = codec[AffinityKey, Affinity, layoutAffinityKey, layoutAffinityValue]{
	key: func(k AffinityKey) (layoutAffinityKey, error) {
		listener, err := listenerKeyToRaw(k.Listener)
		client, _, failed := addressToRaw(k.Client)
		return layoutAffinityKey{Vrf: k.VRF, Listener: listener, Client: client}, errors.Join(err, failed)
	},
	keyOf: func(raw layoutAffinityKey) AffinityKey {
		return AffinityKey{raw.Vrf, listenerKeyOf(raw.Listener), addressOf(raw.Client, layoutFamily(raw.Listener.Family))}
	},
	value: func(a Affinity) (layoutAffinityValue, error) {
		return layoutAffinityValue{Mac: layoutMac{Byte: a.MAC}, Tick: a.Tick}, nil
	},
	valueOf: func(raw layoutAffinityValue) Affinity { return Affinity{raw.Mac.Byte, raw.Tick} },
}

// Choices is one table to the caller; below, buckets are in pages, and the MACs of the
// members are in a table beside them.
type Choices struct {
	pages   *ebpf.Map
	members *ebpf.Map
}

const choicePage = int(layoutChoiceBoundCHOICE_PAGE)

// Put writes a choice. A listener may have its number once this has returned.
func (c *Choices) Put(number uint32, choice Choice) error {
	for i, mac := range choice.Members {
		key := layoutChoiceMemberKey{Choice: number, Number: uint32(i)}
		if err := refused(c.members, c.members.Put(&key, &layoutChoiceMemberValue{Mac: layoutMac{Byte: mac}})); err != nil {
			return fmt.Errorf("put member %d of choice %d: %w", i, number, err)
		}
	}
	for page := 0; page*choicePage < len(choice.Buckets); page++ {
		key, value := layoutChoiceKey{Choice: number, Page: uint32(page)}, layoutChoiceValue{}
		n := copy(value.Members[:], choice.Buckets[page*choicePage:])
		for i := n; i < choicePage; i++ {
			value.Members[i] = uint16(layoutChoiceBoundCHOICE_NONE)
		}
		if err := refused(c.pages, c.pages.Put(&key, &value)); err != nil {
			return fmt.Errorf("put page %d of choice %d: %w", page, number, err)
		}
	}
	return nil
}

// All returns every choice, also one that is there in part.
func (c *Choices) All() (map[uint32]Choice, error) {
	all := map[uint32]Choice{}
	err := eachEntry(c.pages, func(k *layoutChoiceKey, v *layoutChoiceValue) {
		choice := all[k.Choice]
		end := (int(k.Page) + 1) * choicePage
		for len(choice.Buckets) < end {
			choice.Buckets = append(choice.Buckets, uint16(layoutChoiceBoundCHOICE_NONE))
		}
		copy(choice.Buckets[end-choicePage:], v.Members[:])
		all[k.Choice] = choice
	})
	if err == nil {
		err = eachEntry(c.members, func(k *layoutChoiceMemberKey, v *layoutChoiceMemberValue) {
			choice := all[k.Choice]
			for len(choice.Members) <= int(k.Number) {
				choice.Members = append(choice.Members, MAC{})
			}
			choice.Members[k.Number] = v.Mac.Byte
			all[k.Choice] = choice
		})
	}
	if err != nil {
		return nil, fmt.Errorf("list choices: %w", err)
	}
	return all, nil
}

// Delete removes a choice; absence is success. No listener may have its number.
func (c *Choices) Delete(number uint32) error {
	for page := uint32(0); ; page++ {
		key := layoutChoiceKey{Choice: number, Page: page}
		if err := c.pages.Delete(&key); errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		} else if err != nil {
			return fmt.Errorf("delete page %d of choice %d: %w", page, number, err)
		}
	}
	for member := uint32(0); ; member++ {
		key := layoutChoiceMemberKey{Choice: number, Number: member}
		if err := c.members.Delete(&key); errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("delete member %d of choice %d: %w", member, number, err)
		}
	}
}

func (d *Datapath) makeBalanceTables() {
	d.Listeners = newTable("listeners", d.maps["listeners"], listenerCodec)
	d.Choices = &Choices{d.maps["choices"], d.maps["choice_members"]}
	d.PoolMembers = newTable("pool_members", d.maps["pool_members"], poolMemberCodec).settle(d.WaitForPackets)
	d.Mappings = newTable("mappings", d.maps["mappings"], mappingCodec).settle(d.WaitForPackets)
	d.Floats = newTable("floats", d.maps["floats"], floatCodec)
	d.affinities = newTable("affinities", d.maps["affinities"], affinityCodec)
}

// RenewVRF makes all connections of a VRF look anew where they go and whether they may:
// for changes of what no route of it says.
func (d *Datapath) RenewVRF(vrf uint32) error { return d.generations.renewVRF(vrf) }
