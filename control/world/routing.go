// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
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
		for _, word := range f[3:] {
			if word == "shared" {
				pair.Mode = "active-active"
			} else {
				pair.MAC = api.MAC(word)
			}
		}
		p.Spec.AllowedPairs = append(slices.Clone(p.Spec.AllowedPairs), pair)
		w.Put(p, api.KindPort, f[1])
	case "slaac":
		change(w, api.KindSubnet, f[1]+":"+f[2], func(s *api.Subnet) { s.Spec.AddressMode = api.ModeSLAAC })
	case "speak":
		w.speak(f)
	case "withdraw":
		w.withdraw(f)
	default:
		w.applyServices(f)
	}
}

// speak reads "speak PORT ADDRESS ORDER [MAC]": only a status changes.
func (w *World) speak(f []string) {
	p, ok := w.Get(api.KindPort, UUID(api.KindPort, f[1])).(*api.Port)
	if !ok {
		return
	}
	order, err := strconv.ParseUint(f[3], 10, 64)
	if err != nil {
		panic(fmt.Sprintf("world: read %q: %v", f, err))
	}
	p = api.Clone(p)
	a := api.AnnouncedAddress{Address: netip.MustParseAddr(f[2]), MAC: p.Spec.MAC, Sequence: order, Order: order}
	if len(f) > 4 {
		a.MAC = api.MAC(f[4])
	}
	p.Status.Announced = slices.DeleteFunc(slices.Clone(p.Status.Announced), func(b api.AnnouncedAddress) bool { return b.Address == a.Address })
	p.Status.Announced = append(p.Status.Announced, a)
	w.SetStatus(p)
}

// withdraw reads "withdraw PORT [no]": only a status changes.
func (w *World) withdraw(f []string) {
	if p, ok := w.Get(api.KindPort, UUID(api.KindPort, f[1])).(*api.Port); ok {
		p = api.Clone(p)
		p.Status.Withdrawn = len(f) == 2
		w.SetStatus(p)
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
		[]string{
			"pair " + port + fmt.Sprintf(" 10.0.0.%d/30", r.IntN(8)),
			"pair " + port + fmt.Sprintf(" 10.0.0.%d/30 shared", r.IntN(8)),
			"speak " + port + fmt.Sprintf(" 10.0.0.%d %d", r.IntN(12), 1+r.IntN(9)),
			"speak " + port + fmt.Sprintf(" 2001:db8::%d %d", r.IntN(12), 1+r.IntN(9)),
			"check " + port + " c0\nwithdraw " + port,
			"withdraw " + port + " no",
		}[r.IntN(6)],
		"remove " + string(api.KindRouteTarget) + " " + target,
		"remove " + string(api.KindRouteTable) + " " + table,
	}
}
