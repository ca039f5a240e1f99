// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// applyRouting reads the lines about route-targets and route-tables. A network
// or port that is not there is left alone: random edits name such.
func (w *World) applyRouting(f []string) {
	switch f[0] {
	case "target":
		t := &api.RouteTarget{}
		t.Spec.Target = api.TargetCommunity(f[2])
		w.Put(t, api.KindRouteTarget, f[1])
	case "table":
		t := &api.RouteTable{}
		for i := 2; i+1 < len(f); i += 2 {
			route := api.StaticRoute{Prefix: netip.MustParsePrefix(f[i]), Discard: f[i+1] == "discard"}
			if address, label, ok := strings.Cut(f[i+1], "/"); ok {
				route.Tunnel = &api.StaticTunnel{Address: netip.MustParseAddr(address), Label: uint32(number(label))}
			} else if f[i+1] != "discard" && f[i+1] != "-" {
				route.NextHop = netip.MustParseAddr(f[i+1])
			}
			t.Spec.Routes = append(t.Spec.Routes, route)
		}
		w.Put(t, api.KindRouteTable, f[1])
	case "encapsulation":
		change(w, api.KindNetwork, f[1], func(n *api.Network) { n.Spec.Encapsulation = f[2:] })
	case "import", "export", "table-network":
		n, ok := w.Get(api.KindNetwork, UUID(api.KindNetwork, f[1])).(*api.Network)
		if !ok {
			return
		}
		n = api.Clone(n)
		switch f[0] {
		case "import":
			addRef(&n.Spec.ImportTargets, api.KindRouteTarget, f[2])
		case "export":
			addRef(&n.Spec.ExportTargets, api.KindRouteTarget, f[2])
		default:
			addRef(&n.Spec.RouteTables, api.KindRouteTable, f[2])
		}
		w.Put(n, api.KindNetwork, f[1])
	case "table-port":
		p, ok := w.Get(api.KindPort, UUID(api.KindPort, f[1])).(*api.Port)
		if !ok {
			return
		}
		p = api.Clone(p)
		addRef(&p.Spec.RouteTables, api.KindRouteTable, f[2])
		w.Put(p, api.KindPort, f[1])
	case "pair":
		p, ok := w.Get(api.KindPort, UUID(api.KindPort, f[1])).(*api.Port)
		if !ok {
			return
		}
		p = api.Clone(p)
		pair := api.AllowedPair{Range: netip.MustParsePrefix(f[2])}
		if len(f) > 3 {
			pair.MAC = api.MAC(f[3])
		}
		p.Spec.AllowedPairs = append(slices.Clone(p.Spec.AllowedPairs), pair)
		w.Put(p, api.KindPort, f[1])
	default:
		w.applyServices(f)
	}
}

func addRef(refs *[]api.Ref, kind api.Kind, name string) {
	if ref := Ref(kind, name); !slices.Contains(*refs, ref) {
		*refs = append(*refs, ref)
	}
}

// randomRouting returns lines about the routing of a network and a port, as
// RandomEdit chooses from.
func randomRouting(r *rand.Rand, network, port string) []string {
	target, table := fmt.Sprintf("t%d", r.IntN(2)), fmt.Sprintf("r%d", r.IntN(2))
	return []string{
		"target " + target + " 64512:" + target[1:],
		"import " + network + " " + target,
		"export " + network + " " + target,
		"table " + table + fmt.Sprintf(" 10.0.0.%d/32 10.0.0.%d 10.8.0.0/15 10.0.0.%d", 1+r.IntN(6), 1+r.IntN(6), 1+r.IntN(6)),
		"table " + table + fmt.Sprintf(" 2001:db8:8::/48 2001:db8::%d 10.8.0.0/15 discard 2001:db8::%d/128 -", 1+r.IntN(6), 1+r.IntN(6)),
		"table " + table + fmt.Sprintf(" 10.8.0.0/15 192.0.2.%d/%d 10.8.0.0/15 192.0.2.99/17 2001:db8:8::/48 2001:db8:f::%d/18", 90+r.IntN(3), 16+r.IntN(3), r.IntN(3)),
		"encapsulation " + network + " mplsudp",
		"encapsulation " + network + " none mplsudp vxlan",
		"table-network " + network + " " + table,
		"table-port " + port + " " + table,
		"pair " + port + fmt.Sprintf(" 10.0.0.%d/30", r.IntN(256)),
		"remove " + string(api.KindRouteTarget) + " " + target,
		"remove " + string(api.KindRouteTable) + " " + table,
	}
}
