// SPDX-License-Identifier: Apache-2.0

package vrouter

import "github.com/weft-network/weft/vrouter/rules"

// takePlaces has both ends take their places for a packet that passed policy.
func (o *Oracle) takePlaces(p policed) string {
	sender, taken, there := o.takePlace(p, p.ifindex, false)
	if !there {
		return "connection-limit"
	}
	if _, _, there = o.takePlace(p, p.to, true); there {
		return ""
	}
	if taken {
		delete(o.Places, sender)
	}
	return "connection-limit"
}

// takePlace says whether an end has a place, or needs none, and whether it has it from now on.
func (o *Oracle) takePlace(p policed, end int, hears bool) (place Place, taken, there bool) {
	limit := o.PortPolicies[end].ConnectionLimit
	if !o.Ports[end].Policed || limit == 0 {
		return place, false, true
	}
	p = p.seenBy(hears)
	key, direction, first := o.began(p, end, hears)
	place = Place{key, o.Ports[end].ID}
	_, held := o.Places[place]
	over := !first && o.Connections[key].State.Over()
	switch {
	case direction == rules.Directions, held, over:
		return place, false, true
	case first && o.placesTaken(PlaceOwner{end, place.Port}) >= limit:
		return place, false, false
	}
	if o.Places != nil && !o.Traces {
		o.Places[place] = struct{}{}
	}
	return place, true, true
}

func (o *Oracle) placesTaken(owner PlaceOwner) int {
	n := o.Occupied[owner]
	for p := range o.Places {
		if (PlaceOwner{p.Ifindex, p.Port}) == owner {
			n++
		}
	}
	return n
}
