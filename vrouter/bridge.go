// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// MACKey names a MAC of a network.
type MACKey struct {
	VRF uint32
	MAC MAC
}

// LearnedMAC is where a MAC that no port has was heard last: behind a port, or
// behind another host.
type LearnedMAC struct {
	Ifindex int        // of the port; 0: behind another host
	Port    uint32     // the control plane's id of the port; else the entry is of a former port of the interface
	VNI     uint32     // with Remote
	Remote  netip.Addr // the other host's underlay address
	Seen    uint32     // tick
	Moved   uint32     // tick of the first of the moves
	Moves   uint32
}

// MACCount names a number of learned MACs: those of a network behind an
// interface, where the tunnel device stands for all other hosts, and allMACs
// for everywhere.
type MACCount struct {
	VRF     uint32
	Ifindex int
}

// Flood is what a network that floods knows of its list of receivers.
type Flood struct {
	Places  int // to look at in Receivers; some may be empty
	LeftOut int // receivers that found no place
}

// Receiver is a place in the list of receivers of a network.
type Receiver struct {
	VRF   uint32
	Place int
}

// FloodReceivers is how many receivers a frame is copied to at most.
const FloodReceivers = int(layoutFloodBoundFLOOD_RECEIVERS)

// Bounds of learning.
const (
	learnedFromTunnel = int(layoutLearningBoundLEARNED_FROM_TUNNEL)
	moveTicks         = uint32(layoutLearningBoundMOVE_TICKS)
	maxMoves          = uint32(layoutLearningBoundMOVES)
	macTimeout        = 300 * time.Second // as bridges have it (IEEE 802.1Q, 8.8.3)
)

// In a word that is read at once: which VRF an entry is of, and its next hop.
const vrfShift = 32

func macToRaw(k MACKey) (layoutMacKey, error) {
	return layoutMacKey{Vrf: k.VRF, Mac: layoutMac{Byte: k.MAC}}, nil
}

func macOf(raw layoutMacKey) MACKey { return MACKey{raw.Vrf, raw.Mac.Byte} }

// newHopTable is a table of next hops by something of a VRF. The value's word
// has the VRF too.
func newHopTable[K comparable, RawK any](name string, m *ebpf.Map, vrf func(K) uint32, toRaw func(K) (RawK, error), of func(RawK) K) *Table[K, uint32] {
	c := codec[K, uint32, RawK, uint64]{key: toRaw, keyOf: of, value: func(hop uint32) (uint64, error) { return uint64(hop), nil }, valueOf: func(raw uint64) uint32 { return uint32(raw) }}
	t := newTable(name, m, c)
	t.put = func(k K, hop uint32) error {
		rawK, err := toRaw(k)
		if err != nil {
			return err
		}
		word := uint64(vrf(k))<<vrfShift | uint64(hop)
		return m.Put(&rawK, &word)
	}
	return t
}

var learnedCodec = codec[MACKey, LearnedMAC, layoutMacKey, layoutLearnedMacValue]{
	key:   macToRaw,
	keyOf: macOf,
	value: func(v LearnedMAC) (layoutLearnedMacValue, error) {
		raw := layoutLearnedMacValue{Port: v.Port, Seen: v.Seen, Moved: v.Moved, Moves: v.Moves}
		var err error
		if v.Ifindex != 0 {
			raw.At.Kind, raw.At.Ifindex = layoutNextHopKindNEXT_HOP_PORT, uint32(v.Ifindex)
			return raw, nil
		}
		raw.At.Kind, raw.At.Vni = layoutNextHopKindNEXT_HOP_TUNNEL, v.VNI
		raw.At.Remote, raw.At.Family, err = addressToRaw(v.Remote)
		return raw, err
	},
	valueOf: func(raw layoutLearnedMacValue) LearnedMAC {
		return LearnedMAC{
			Ifindex: int(raw.At.Ifindex), Port: raw.Port, VNI: raw.At.Vni, Remote: addressOf(raw.At.Remote, raw.At.Family),
			Seen: raw.Seen, Moved: raw.Moved, Moves: raw.Moves,
		}
	},
}

// putLearned is for tests: the programs write this table.
func (d *Datapath) putLearned(k MACKey, v LearnedMAC) error {
	raw, err := learnedCodec.value(v)
	if err != nil {
		return err
	}
	raw.Vrf = k.VRF
	key, err := macToRaw(k)
	if err != nil {
		return err
	}
	return d.maps["learned_macs"].Put(&key, &raw)
}

var macCountCodec = codec[MACCount, uint32, layoutMacCountKey, uint32]{
	key: func(k MACCount) (layoutMacCountKey, error) {
		return layoutMacCountKey{Vrf: k.VRF, Ifindex: uint32(k.Ifindex)}, nil
	},
	keyOf:   func(raw layoutMacCountKey) MACCount { return MACCount{raw.Vrf, int(raw.Ifindex)} },
	value:   same32,
	valueOf: identity[uint32],
}

var floodCodec = codec[uint32, Flood, uint32, layoutFloodValue]{
	key:   same32,
	keyOf: identity[uint32],
	value: func(f Flood) (layoutFloodValue, error) {
		if f.Places > FloodReceivers {
			return layoutFloodValue{}, fmt.Errorf("%d receivers are more than %d", f.Places, FloodReceivers)
		}
		return layoutFloodValue{Places: uint32(f.Places), LeftOut: uint32(f.LeftOut)}, nil
	},
	valueOf: func(raw layoutFloodValue) Flood { return Flood{int(raw.Places), int(raw.LeftOut)} },
}

func (d *Datapath) makeBridgeTables() {
	d.MACs = newHopTable("macs", d.maps["macs"], func(k MACKey) uint32 { return k.VRF }, macToRaw, macOf)
	d.Receivers = newHopTable("receivers", d.maps["receivers"], func(r Receiver) uint32 { return r.VRF },
		func(r Receiver) (layoutReceiverKey, error) {
			return layoutReceiverKey{Vrf: r.VRF, Place: uint32(r.Place)}, nil
		},
		func(raw layoutReceiverKey) Receiver { return Receiver{raw.Vrf, int(raw.Place)} })
	d.Floods = newTable("floods", d.maps["floods"], floodCodec)
	d.learned = newTable("learned_macs", d.maps["learned_macs"], learnedCodec)
	d.learned.put = d.putLearned
	d.macCounts = newTable("mac_counts", d.maps["mac_counts"], macCountCodec)
	d.floodTimes = newTable("flood_times", d.maps["flood_times"], errorTimeCodec)
}

// allMACs stands in a MACCount for everywhere.
const allMACs = int(layoutMacCountOfALL_MACS)

// freeMACs is under what the number of free places of the table is.
var freeMACs = MACCount{UnderlayVRF, allMACs}

// initMACCounts says that a new table of learned MACs is all free. An old one
// has been counted.
func (d *Datapath) initMACCounts() error {
	_, counted, err := d.macCounts.Get(freeMACs)
	if err != nil || counted {
		return err
	}
	return d.macCounts.Put(freeMACs, d.maps["learned_macs"].MaxEntries())
}

func (v LearnedMAC) idle(now uint32) time.Duration { return since(now, v.Seen) }

// LearnedMACs calls visit with every MAC that was learned and for how long it
// has not been heard.
func (d *Datapath) LearnedMACs(visit func(MACKey, LearnedMAC, time.Duration)) error {
	now, err := ticksNow()
	if err != nil {
		return err
	}
	all, err := d.learned.All()
	for k, v := range all {
		visit(k, v, v.idle(now))
	}
	return err
}

// ExpireMACs removes learned MACs that have not been heard for 300 s, those of
// interfaces that are no longer the port they were, and those that a port now
// has; and it counts the others anew.
func (d *Datapath) ExpireMACs() (removed int, err error) {
	now, err := ticksNow()
	if err != nil {
		return 0, err
	}
	config, err := d.Config()
	if err != nil {
		return 0, err
	}
	ports, err := d.Ports.All()
	if err != nil {
		return 0, err
	}
	known, err := d.MACs.All()
	if err != nil {
		return 0, err
	}
	all, err := d.learned.All()
	if err != nil {
		return 0, err
	}
	counts := map[MACCount]uint32{freeMACs: d.maps["learned_macs"].MaxEntries()}
	for k, v := range all {
		port, there := ports[v.Ifindex]
		former := v.Ifindex != 0 && (!there || port.VRF != k.VRF || port.ID != v.Port)
		if _, is := known[k]; is || former || v.idle(now) > macTimeout {
			if err := d.learned.Delete(k); err != nil {
				return removed, err
			}
			removed++
			continue
		}
		at := MACCount{k.VRF, v.Ifindex}
		if v.Ifindex == 0 {
			at.Ifindex = config.TunnelDevice
		}
		counts[at]++
		counts[MACCount{k.VRF, allMACs}]++
		counts[freeMACs]--
	}
	return removed, d.setMACCounts(counts)
}

// setMACCounts writes what was counted. MACs that are learned meanwhile are
// missed until the next time.
func (d *Datapath) setMACCounts(counts map[MACCount]uint32) error {
	have, err := d.macCounts.All()
	if err != nil {
		return err
	}
	var failed error
	for at := range have {
		if _, is := counts[at]; !is {
			failed = errors.Join(failed, d.macCounts.Delete(at))
		}
	}
	for at, n := range counts {
		if have[at] != n {
			failed = errors.Join(failed, d.macCounts.Put(at, n))
		}
	}
	return failed
}

// forgetMACs removes the counts of an interface that is no longer a port. What
// was learned behind it is as good as none.
func (d *Datapath) forgetMACs(ifindex int) error {
	counts, err := d.macCounts.All()
	if err != nil {
		return err
	}
	for at := range counts {
		if at.Ifindex == ifindex {
			err = errors.Join(err, d.macCounts.Delete(at))
		}
	}
	return err
}
