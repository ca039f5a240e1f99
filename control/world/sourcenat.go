// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// applySourceNAT reads the lines about source NAT, and tells whether it was one:
//
//	snat s NETWORK NETWORK:IP...              (source-nat s: NETWORK goes out with the addresses)
//	block NETWORK:IP FIRST-LAST HOST [releasing]  (port-block of an address)
func (w *World) applySourceNAT(f []string) bool {
	switch f[0] {
	case "snat":
		s := &api.SourceNAT{}
		s.Meta.Parent = projectOf(nil)
		s.Spec.Network = Ref(api.KindNetwork, f[2])
		for _, a := range f[3:] {
			s.Spec.Addresses = append(s.Spec.Addresses, Ref(api.KindAddress, a))
		}
		w.Put(s, api.KindSourceNAT, f[1])
	case "block":
		b := &api.PortBlock{}
		b.Meta.Parent = Ref(api.KindAddress, f[1])
		first, last, _ := strings.Cut(f[2], "-")
		b.Spec.Ports = api.PortRange{From: int(number(first)), To: int(number(last))}
		b.Spec.Host, b.Spec.Releasing = Ref(api.KindHost, f[3]), len(f) > 4
		w.Put(b, api.KindPortBlock, f[1]+":"+f[2])
	default:
		return false
	}
	return true
}

// RandomSourceNAT returns a line that changes who goes out with what in the world
// of RandomEdit.
func RandomSourceNAT(r *rand.Rand) string {
	source, address := fmt.Sprintf("s%d", r.IntN(4)), fmt.Sprintf("n%d:10.0.0.3%d", r.IntN(4), r.IntN(3))
	network, plain, _ := strings.Cut(address, ":")
	first := 1024 * (1 + r.IntN(6))
	ports := fmt.Sprintf("%d-%d", first, first+1023)
	out := fmt.Sprintf("snat %s n%d %s", source, r.IntN(4), address)
	there := "address " + network + " " + plain + "\n"
	lines := slices.Concat(slices.Repeat([]string{there + out}, 3), []string{
		out,
		fmt.Sprintf("%s %s:10.0.0.3%d", out, network, r.IntN(3)),
		fmt.Sprintf("address %s 2001:db8::3\nsnat %s n%d %s:2001:db8::3 %s", network, source, r.IntN(4), network, address),
		fmt.Sprintf("block %s %s h%d", address, ports, 1+r.IntN(3)),
		fmt.Sprintf("block %s %s h%d", address, ports, 1+r.IntN(3)),
		fmt.Sprintf("block %s %s h%d releasing", address, ports, 1+r.IntN(3)),
		fmt.Sprintf("remove %s %s:%s", api.KindPortBlock, address, ports),
		fmt.Sprintf("address %s %s p%d", network, plain, r.IntN(8)),
		fmt.Sprintf("remove %s %s", api.KindSourceNAT, source),
		fmt.Sprintf("remove %s %s", api.KindAddress, address),
	})
	return lines[r.IntN(len(lines))]
}
