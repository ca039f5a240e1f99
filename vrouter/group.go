// SPDX-License-Identifier: Apache-2.0

package vrouter

import "fmt"

// The bounds of a group.
const (
	GroupMembers = int(layoutGroupBoundGROUP_MEMBERS)
	GroupBuckets = int(layoutGroupBoundGROUP_BUCKETS)
	// NoMember stands in a bucket that has none.
	NoMember = uint8(layoutGroupBoundGROUP_NONE)
)

// GroupFields are what of a packet chooses a member.
type GroupFields uint32

// The fields.
const (
	GroupSource          = GroupFields(layoutGroupFieldGROUP_SOURCE)
	GroupDestination     = GroupFields(layoutGroupFieldGROUP_DESTINATION)
	GroupProtocol        = GroupFields(layoutGroupFieldGROUP_PROTOCOL)
	GroupSourcePort      = GroupFields(layoutGroupFieldGROUP_SOURCE_PORT)
	GroupDestinationPort = GroupFields(layoutGroupFieldGROUP_DESTINATION_PORT)
	GroupAllFields       = GroupSource | GroupDestination | GroupProtocol | GroupSourcePort | GroupDestinationPort
)

// GroupMember is one of several equal next hops.
type GroupMember struct {
	NextHop uint32 // id in NextHops
	Ifindex int    // of the port that it is; 0: it is none
	MTU     int    // as in a Route
	MAC     MAC
}

// Group is several next hops that are equally good. It must not be changed once
// a next hop has its id.
type Group struct {
	Fields  GroupFields
	Members []GroupMember
	// All and Local say by bucket which member a packet takes: of all, and of
	// those that are ports of this host. NoMember is none.
	All, Local [GroupBuckets]uint8
}

var groupCodec = codec[uint32, Group, uint32, layoutGroupValue]{
	key:   same32,
	keyOf: identity[uint32],
	value: func(g Group) (layoutGroupValue, error) {
		raw := layoutGroupValue{Fields: layoutGroupField(g.Fields), Count: uint32(len(g.Members)), All: g.All, Local: g.Local}
		if len(g.Members) > GroupMembers {
			return raw, fmt.Errorf("group has %d members, more than %d", len(g.Members), GroupMembers)
		}
		for i, m := range g.Members {
			raw.Members[i] = layoutGroupMember{NextHop: m.NextHop, Ifindex: uint32(m.Ifindex), Mtu: uint32(m.MTU), Mac: layoutMac{Byte: m.MAC}}
		}
		return raw, nil
	},
	valueOf: func(raw layoutGroupValue) Group {
		g := Group{Fields: GroupFields(raw.Fields), All: raw.All, Local: raw.Local}
		for _, m := range raw.Members[:min(int(raw.Count), GroupMembers)] {
			g.Members = append(g.Members, GroupMember{NextHop: m.NextHop, Ifindex: int(m.Ifindex), MTU: int(m.Mtu), MAC: m.Mac.Byte})
		}
		return g
	},
}
