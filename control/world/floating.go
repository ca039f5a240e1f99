// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// applyFloating reads the lines about floating addresses, and tells whether it was one:
//
//	floating f NETWORK:IP [project=q]             (floating-ip f with an address object)
//	associate a f port=PORT [address=NETWORK:IP] [alias]
//	associate a f balancer=l                      (floating-ip-association a of f)
//	physical h1 [lab=eth1 …]                      (host h1 has physical network lab at eth1)
//	external public [lab/100 …] [h1 …]            (network public is external, at VLAN 100 of lab, connected by h1)
func (w *World) applyFloating(f []string) bool {
	switch f[0] {
	case "floating":
		ip := &api.FloatingIP{}
		ip.Meta.Parent = projectOf(f[3:])
		ip.Spec.Pool, ip.Spec.Address = Ref(api.KindFloatingIPPool, "pool"), Ref(api.KindAddress, f[2])
		w.Put(ip, api.KindFloatingIP, f[1])
	case "associate":
		a := &api.FloatingIPAssociation{}
		a.Meta.Parent = projectOf(nil)
		a.Spec.FloatingIP = Ref(api.KindFloatingIP, f[2])
		for _, word := range f[3:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "port":
				a.Spec.Port = Ref(api.KindPort, value)
			case "address":
				a.Spec.Address = Ref(api.KindAddress, value)
			case "balancer":
				a.Spec.LoadBalancer = Ref(api.KindLoadBalancer, value)
			default:
				a.Spec.Mode = key
			}
		}
		w.Put(a, api.KindFloatingIPAssociation, f[1])
	case "physical":
		was, ok := w.Get(api.KindHost, UUID(api.KindHost, f[1])).(*api.Host)
		if !ok {
			return true
		}
		h := api.Clone(was)
		h.Spec.PhysicalNetworks = nil
		for _, word := range f[2:] {
			name, device, _ := strings.Cut(word, "=")
			h.Spec.PhysicalNetworks = append(h.Spec.PhysicalNetworks, api.PhysicalNetwork{Name: name, Interface: device})
		}
		w.Put(h, api.KindHost, f[1])
	case "external":
		was, ok := w.Get(api.KindNetwork, UUID(api.KindNetwork, f[1])).(*api.Network)
		if !ok {
			return true
		}
		n := api.Clone(was)
		n.Spec.External, n.Spec.Segments, n.Spec.Gateways = true, nil, nil
		for _, word := range f[2:] {
			if physical, vlan, is := strings.Cut(word, "/"); is {
				n.Spec.Segments = append(n.Spec.Segments, api.Segment{Type: "vlan", PhysicalNetwork: physical, VLAN: int(number(vlan))})
			} else {
				n.Spec.Gateways = append(n.Spec.Gateways, Ref(api.KindHost, word))
			}
		}
		w.Put(n, api.KindNetwork, f[1])
	default:
		return false
	}
	return true
}

// RandomFloating returns a line that changes who has which floating address in
// the world of RandomEdit.
func RandomFloating(r *rand.Rand) string {
	n := r.IntN(4)
	ip, association := fmt.Sprintf("f%d", r.IntN(4)), fmt.Sprintf("a%d", r.IntN(5))
	port := fmt.Sprintf("p%d", r.IntN(8))
	give := fmt.Sprintf("associate %s %s port=%s", association, ip, port)
	lines := slices.Concat(slices.Repeat([]string{give}, 6), []string{
		give + " alias",
		fmt.Sprintf("%s address=n%d:10.0.0.%d", give, n, 1+r.IntN(6)),
		fmt.Sprintf("%s address=n%d:2001:db8::%d", give, n, 1+r.IntN(6)),
		fmt.Sprintf("associate %s %s balancer=lb0", association, ip),
		fmt.Sprintf("address n%d 10.0.0.2%s\nfloating %s n%d:10.0.0.2%s", n, ip[1:], ip, n, ip[1:]),
		fmt.Sprintf("address n%d 2001:db8::2%s\nfloating %s n%d:2001:db8::2%s", n, ip[1:], ip, n, ip[1:]),
		fmt.Sprintf("address n%d 10.0.0.20\nfloating %s n%d:10.0.0.20", n, ip, n),
		fmt.Sprintf("floating %s n%d:10.0.0.%d project=q0", ip, n, 1+r.IntN(6)),
		fmt.Sprintf("address n%d 10.0.0.2%s %s", n, ip[1:], port),
		fmt.Sprintf("remove %s %s", api.KindFloatingIP, ip),
		fmt.Sprintf("remove %s %s", api.KindFloatingIPAssociation, association),
		fmt.Sprintf("remove %s n%d:10.0.0.2%s", api.KindAddress, n, ip[1:]),
	})
	return lines[r.IntN(len(lines))]
}

// RandomExternal returns a line that changes what connects the networks that
// RandomFloating changes to the outside.
func RandomExternal(r *rand.Rand) string {
	host := fmt.Sprintf("h%d", 1+r.IntN(3))
	switch r.IntN(4) {
	case 0:
		return "physical " + host
	case 1:
		return "physical " + host + " lab=eth1"
	case 2:
		return fmt.Sprintf("external n%d lab/%d", 1+r.IntN(3), 100+r.IntN(2))
	}
	return fmt.Sprintf("external n%d lab/100 %s", 1+r.IntN(3), host)
}
