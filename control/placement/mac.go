// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

// macPlace is where a port's MAC is.
type macPlace struct {
	mac  api.MAC
	port api.Ref
	host api.Ref
}

// macsOf are the MACs of a network's ports that have no address: those of the
// others follow from the routes to them. A network that forwards packets only
// needs none.
func macsOf(n *routing.Network) []macPlace {
	if n.Forwarding == api.ForwardingPackets {
		return nil
	}
	var all []macPlace
	for _, p := range n.Ports() {
		if len(p.Addresses) == 0 {
			all = append(all, macPlace{p.MAC, p.Ref, p.Host})
		}
	}
	slices.SortFunc(all, func(a, b macPlace) int { return cmp.Compare(a.mac, b.mac) })
	// A network has a MAC once; were there two, the first would have it.
	return slices.CompactFunc(all, func(a, b macPlace) bool { return a.mac == b.mac })
}

// addMACs encodes them, and orders the facts of the table, which are then complete.
func (t *Table) addMACs(e *endpoints) {
	for _, m := range t.macs {
		row := encode(MACKey(t.VRF, m.mac), &hoststream.Row{Body: &hoststream.Row_Mac{Mac: &hoststream.Mac{
			Vrf: t.VRF, Mac: macBytes(m.mac), Port: m.port.UUID, Host: m.host.UUID,
		}}})
		t.facts = append(t.facts, row)
		t.sum += row.sum()
		e.add(&t.peers, m.host)
	}
	slices.SortFunc(t.facts, compareKeys)
}

// describeBridging says what a network does that is not what most do.
func describeBridging(v *hoststream.Vrf) (words string) {
	if v.Forwarding != api.ForwardingBoth && !v.Fabric {
		words += "\tforwarding " + v.Forwarding
	}
	if v.Flooding {
		words += "\tflooding"
	}
	return words
}

// limitOf encodes a limit; nil if there is none.
func limitOf(l routing.Limit) *hoststream.Limit {
	if l == (routing.Limit{}) {
		return nil
	}
	return &hoststream.Limit{Rate: l.Rate, Burst: l.Burst, PacketRate: l.PacketRate, PacketBurst: l.PacketBurst, Mark: l.Mark, Dscp: uint32(l.DSCP)}
}

// describeLimit says what passes in a direction.
func describeLimit(direction string, l *hoststream.Limit) (words []string) {
	if l.GetRate() != 0 {
		words = append(words, fmt.Sprintf("%s %d kbit/s, burst %d", direction, l.Rate, l.Burst))
	}
	if l.GetPacketRate() != 0 {
		words = append(words, fmt.Sprintf("%s %d thousand packets/s, burst %d", direction, l.PacketRate, l.PacketBurst))
	}
	if l.GetMark() {
		words = append(words, fmt.Sprintf("%s dscp %d", direction, l.Dscp))
	}
	return words
}

// describeLearning says what a port may send beside what most may.
func describeLearning(p *hoststream.Port) (words []string) {
	if p.MacLimit > 0 {
		words = append(words, fmt.Sprintf("learns %d MACs", p.MacLimit))
	}
	if p.Unchecked {
		words = append(words, "unchecked")
	}
	words = append(words, describeLimit("egress", p.EgressLimit)...)
	return append(words, describeLimit("ingress", p.IngressLimit)...)
}
