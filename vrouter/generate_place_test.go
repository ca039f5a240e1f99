// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"maps"
	"slices"
	"testing"
)

// limit is that of few ports, and most often soon reached.
func (g *generator) limit() int {
	if g.chance(85) {
		return 0
	}
	return pick(g, 1, 2, 5, 20)
}

// occupied lets conversations that went before have places.
func (g *generator) occupied() {
	g.o.Occupied = map[PlaceOwner]int{}
	for _, ifindex := range slices.Sorted(maps.Keys(g.o.Ports)) {
		if g.chance(30) {
			g.o.Occupied[PlaceOwner{ifindex, g.o.Ports[ifindex].ID}] = pick(g, 1, 3, 30)
		}
	}
}

// unlimit takes the limits from all ports.
func (g *generator) unlimit() {
	for ifindex, p := range g.o.PortPolicies {
		p.ConnectionLimit = 0
		g.o.PortPolicies[ifindex] = p
	}
}

// beyondCounts is added to both counts of programs, which wrap around.
const beyondCounts = 1<<32 - 3

func installPlaces(t testing.TB, d *Datapath, o *Oracle) {
	t.Helper()
	check(t, replace(d.places, map[Place]uint32{}))
	counts, returned := map[PlaceOwner]placeCount{}, map[PlaceOwner]uint32{}
	for owner, n := range o.Occupied {
		counts[owner] = placeCount{taken: uint32((beyondCounts + n + 7) & (1<<32 - 1)), left: beyondCounts}
		returned[owner] = 7
	}
	check(t, replace(d.placeCounts, counts))
	check(t, replace(d.placesReturned, returned))
}

// comparePlaces compares who has a place, and how many are counted.
func comparePlaces(t *testing.T, d *Datapath, o *Oracle) {
	t.Helper()
	have, err := d.places.All()
	check(t, err)
	for place := range o.Places {
		if _, has := have[place]; !has {
			t.Fatalf("conversation %v has no place", place)
		}
		delete(have, place)
	}
	for place := range have {
		t.Fatalf("conversation %v has a place", place)
	}
	counted, err := d.Places()
	check(t, err)
	for owner, n := range counted {
		if want := o.placesTaken(owner); n != want {
			t.Fatalf("%d places of port %d at interface %d are counted, want %d", n, owner.Port, owner.Ifindex, want)
		}
	}
}
