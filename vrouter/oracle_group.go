// SPDX-License-Identifier: Apache-2.0

package vrouter

import "encoding/binary"

// oracleWay is what the sender's end of a connection remembers of where its
// packets went.
type oracleWay struct {
	nextHop uint32
	mac     MAC
}

// throughGroup is the route of a frame whose route's next hop is a group; reason says
// why there is none.
func (o *Oracle) throughGroup(ifindex int, fromTunnel bool, p passage, route Route) (chosen Route, reason string) {
	group, found := o.Groups[route.NextHop]
	if !found {
		return route, "unresolved-next-hop"
	}
	bucket := hash(p.heard, p.heardPorts, p.known, group.Fields) % uint32(GroupBuckets)
	var member *GroupMember
	switch {
	case fromTunnel:
		member = group.meant(bucket, p.sent.ethDestination)
		reason = "tunnel-to-tunnel"
	default:
		member = group.at(group.All[bucket])
		if used := o.used(ifindex, p.sent, p.sentPorts, p.known, group); used != nil {
			member = used
		}
		reason = "unresolved-next-hop"
	}
	if member == nil {
		return route, reason
	}
	route.NextHop, route.MAC, route.MTU = member.NextHop, member.MAC, member.MTU
	return route, ""
}

func (g Group) at(number uint8) *GroupMember {
	if number == NoMember {
		return nil
	}
	return &g.Members[number]
}

// meant is the member behind a port that another host's choice looks like.
func (g Group) meant(bucket uint32, mac MAC) *GroupMember {
	member := g.at(g.Local[bucket])
	if member == nil || member.MAC == mac {
		return member
	}
	for i := range g.Members {
		if g.Members[i].Ifindex != 0 && g.Members[i].MAC == mac {
			return &g.Members[i]
		}
	}
	return member
}

// used is the member that a frame's connection has used before.
func (o *Oracle) used(ifindex int, f parsed, ports wirePorts, known bool, g Group) *GroupMember {
	if o.Connections == nil || !known {
		return nil
	}
	key := senderKey(ifindex, f, ports)
	c, noted := o.Connections[key]
	way, has := o.ways[key]
	if !noted || !has || c.Port != o.Ports[ifindex].ID {
		return nil
	}
	for i := range g.Members {
		if g.Members[i].NextHop == way.nextHop && g.Members[i].MAC == way.mac {
			return &g.Members[i]
		}
	}
	return nil
}

// hash is over ten words.
func hash(f parsed, ports wirePorts, known bool, fields GroupFields) uint32 {
	var words [10]uint32
	if fields&GroupSource != 0 {
		copy(words[0:], addressWords(f.source.AsSlice()))
	}
	if fields&GroupDestination != 0 {
		copy(words[4:], addressWords(f.destination.AsSlice()))
	}
	if known && fields&GroupProtocol != 0 {
		words[8] = uint32(f.protocol)
	}
	if known && fields&GroupSourcePort != 0 {
		words[9] += uint32(ports.source) * 65536
	}
	if known && fields&GroupDestinationPort != 0 {
		words[9] += uint32(ports.destination)
	}
	h := uint32(0)
	for _, w := range words {
		h = (h ^ w) * 0x9e3779b1
		h ^= h >> 15
	}
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

func addressWords(address []byte) (words []uint32) {
	for len(address) > 0 {
		words, address = append(words, binary.BigEndian.Uint32(address)), address[4:]
	}
	return words
}
