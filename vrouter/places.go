// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"
)

// PlaceOwner is a port on an interface. A port with a limit has so many places
// for conversations.
type PlaceOwner struct {
	Ifindex int
	Port    uint32 // the control plane's id
}

// Place is that of one conversation at one end.
type Place struct {
	ConnectionKey
	Port uint32
}

// placeCount is what programs have counted. Both only grow, and wrap around.
type placeCount struct{ taken, left uint32 }

type placeTables struct {
	places         *Table[Place, uint32] // ticks
	placeCounts    *Table[PlaceOwner, placeCount]
	placesReturned *Table[PlaceOwner, uint32]

	halfOpenCounts   *Table[PlaceOwner, placeCount]
	halfOpenReturned *Table[PlaceOwner, uint32]
}

var placeCodec = codec[Place, uint32, layoutPlaceKey, uint32]{
	key: func(p Place) (layoutPlaceKey, error) {
		raw, err := connectionKeyToRaw(p.ConnectionKey)
		return layoutPlaceKey{Connection: raw, Port: p.Port}, err
	},
	keyOf: func(raw layoutPlaceKey) Place {
		return Place{ConnectionKey: connectionKeyOf(&raw.Connection), Port: raw.Port}
	},
	value: same32, valueOf: identity[uint32],
}

func placeOwnerToRaw(o PlaceOwner) (layoutPlaceOwner, error) {
	return layoutPlaceOwner{Ifindex: uint32(o.Ifindex), Port: o.Port}, nil
}

func placeOwnerOf(raw layoutPlaceOwner) PlaceOwner {
	return PlaceOwner{Ifindex: int(raw.Ifindex), Port: raw.Port}
}

var placeCountCodec = codec[PlaceOwner, placeCount, layoutPlaceOwner, layoutPlaceCount]{
	key: placeOwnerToRaw, keyOf: placeOwnerOf,
	value: func(c placeCount) (layoutPlaceCount, error) {
		return layoutPlaceCount{Taken: c.taken, Left: c.left}, nil
	},
	valueOf: func(raw layoutPlaceCount) placeCount { return placeCount{taken: raw.Taken, left: raw.Left} },
}

var placesReturnedCodec = codec[PlaceOwner, uint32, layoutPlaceOwner, uint32]{
	key: placeOwnerToRaw, keyOf: placeOwnerOf, value: same32, valueOf: identity[uint32],
}

func (d *Datapath) makePlaceTables() {
	d.places = newTable("places", d.maps["places"], placeCodec)
	d.placeCounts = newTable("place_counts", d.maps["place_counts"], placeCountCodec)
	d.placesReturned = newTable("places_returned", d.maps["places_returned"], placesReturnedCodec)
	d.halfOpenCounts = newTable("half_open_counts", d.maps["half_open_counts"], placeCountCodec)
	d.halfOpenReturned = newTable("half_open_returned", d.maps["half_open_returned"], placesReturnedCodec)
}

// fewShares is how many shares there are at least: a port that is flooded on a host
// with few ports leaves room for those that come.
const fewShares = 64

// writeShare gives each port its share of half-open entries. Together they fill
// half of the table, so that new ports find room before the next time.
func (d *Datapath) writeShare(ports int) error {
	size := d.maps[halfOpenTable].MaxEntries()
	share := max(1, size/uint32(max(fewShares, 2*ports)))
	if err := d.maps["half_open_share"].Put(uint32(0), share); err != nil {
		return fmt.Errorf("write the share of half-open connections: %w", err)
	}
	return nil
}

// Places returns how many conversations have a place at each port that has had a limit.
func (d *Datapath) Places() (map[PlaceOwner]int, error) {
	counts, err := d.placeCounts.All()
	if err != nil {
		return nil, err
	}
	returned, err := d.placesReturned.All()
	if err != nil {
		return nil, err
	}
	all := map[PlaceOwner]int{}
	for owner, c := range counts {
		all[owner] = max(0, int(int32(c.taken-c.left-returned[owner])))
	}
	return all, nil
}

// placeSweep makes places and conversations agree, while programs take and leave
// places. It only ever errs towards too many taken, until the next sweep.
type placeSweep struct {
	d       *Datapath
	now     uint32
	ports   map[int]Port
	limited map[int]bool
	before  map[PlaceOwner]placeCount   // read before anything else
	live    map[layoutPlaceKey]struct{} // conversations that need a place
	held    map[PlaceOwner]uint32
	// The same of entries of half_open, which are their own places.
	halfBefore map[PlaceOwner]placeCount
	halfHeld   map[PlaceOwner]uint32
}

// placeGrace is how long a place may be without a conversation: its first packet
// takes it before it is noted.
const placeGrace = 2 * tick

func (d *Datapath) newPlaceSweep(now uint32, ports map[int]Port) (*placeSweep, error) {
	s := &placeSweep{d: d, now: now, ports: ports, limited: map[int]bool{}, live: map[layoutPlaceKey]struct{}{}, held: map[PlaceOwner]uint32{}, halfHeld: map[PlaceOwner]uint32{}}
	var err error
	if s.before, err = d.placeCounts.All(); err != nil {
		return nil, err
	}
	if s.halfBefore, err = d.halfOpenCounts.All(); err != nil {
		return nil, err
	}
	policies, err := d.PortPolicies.All()
	for ifindex, p := range policies {
		s.limited[ifindex] = p.ConnectionLimit != 0
	}
	return s, err
}

// meets is told of each conversation that stays.
func (s *placeSweep) meets(table string, key *layoutConnectionKey, value *layoutConnectionValue) {
	if table == halfOpenTable {
		s.halfHeld[PlaceOwner{int(key.Ifindex), value.Port}]++
	}
	state := ConnectionState(value.State)
	if s.ports[int(key.Ifindex)].ID != value.Port { // of a former port, whose new host may ask for it
		return
	}
	if s.limited[int(key.Ifindex)] && state&ConnectionUnasked == 0 && !state.Over() {
		s.live[layoutPlaceKey{Connection: *key, Port: value.Port}] = struct{}{}
	}
}

func ownerOf(key *layoutPlaceKey) PlaceOwner {
	return PlaceOwner{Ifindex: int(key.Connection.Ifindex), Port: key.Port}
}

// end removes the places of what is over, gives one to conversations that began
// before there was a limit, and writes what has come back.
func (s *placeSweep) end() error {
	over, err := s.walk()
	if err != nil {
		return err
	}
	places := s.d.maps["places"]
	for i := range over {
		if err := places.Delete(&over[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove place of a conversation: %w", err)
		}
	}
	var failed error // of those that find no room; the others are counted all the same
	for key := range s.live {
		if err := places.Update(&key, &s.now, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			failed = fmt.Errorf("give a conversation its place: %w", refused(places, err))
			continue
		}
		s.held[ownerOf(&key)]++ // also if it has one meanwhile
	}
	return errors.Join(
		failed,
		s.write("place_counts", s.d.placeCounts, s.d.placesReturned, s.before, s.held),
		s.write("half_open_counts", s.d.halfOpenCounts, s.d.halfOpenReturned, s.halfBefore, s.halfHeld),
	)
}

// walk counts the places that are held and returns the others.
func (s *placeSweep) walk() (over []layoutPlaceKey, err error) {
	err = eachEntry(s.d.maps["places"], func(key *layoutPlaceKey, seen *uint32) {
		_, live := s.live[*key]
		if delete(s.live, *key); live || s.fresh(key, *seen) {
			s.held[ownerOf(key)]++
		} else {
			over = append(over, *key)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list table places: %w", err)
	}
	return over, nil
}

func (s *placeSweep) fresh(key *layoutPlaceKey, seen uint32) bool {
	ifindex := int(key.Connection.Ifindex)
	return s.limited[ifindex] && s.ports[ifindex].ID == key.Port && since(s.now, seen) < placeGrace
}

// write says how many places have come back besides those that programs left.
func (s *placeSweep) write(name string, counts *Table[PlaceOwner, placeCount], returned *Table[PlaceOwner, uint32], before map[PlaceOwner]placeCount, held map[PlaceOwner]uint32) error {
	after, err := counts.All()
	if err != nil {
		return err
	}
	owners := maps.Clone(after)
	for owner := range held {
		owners[owner] = after[owner]
	}
	for owner, now := range owners {
		if s.ports[owner.Ifindex].ID != owner.Port && held[owner] == 0 {
			if err := errors.Join(counts.Delete(owner), returned.Delete(owner)); err != nil {
				return err
			}
			continue
		}
		if _, known := after[owner]; !known {
			raw := layoutPlaceOwner{Ifindex: uint32(owner.Ifindex), Port: owner.Port}
			if err := s.d.maps[name].Update(&raw, &layoutPlaceCount{}, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
				return fmt.Errorf("begin to count places: %w", err)
			}
		}
		if err := returned.Put(owner, before[owner].taken-now.left-held[owner]); err != nil {
			return err
		}
	}
	return nil
}
