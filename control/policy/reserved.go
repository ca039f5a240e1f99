// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// What a host gives reserved addresses to while it has no controller is a workload
// like any other, and its policy is known beforehand: that of a port of the network
// in the network's project which names no security-groups. It stands among the
// ports under a key of its own, one for each MAC.
const reservedPrefix = "reserved/"

func reservedKey(network, host string, mac api.MAC) string {
	return reservedPrefix + network + "/" + host + "/" + string(mac)
}

// Reserved is who gets a reserved address, and what is asked there.
func (d *Derived) Reserved(r *routing.Reservation) *Port {
	return d.Port(reservedKey(r.Network.Ref.UUID, r.Host.UUID, r.MAC))
}

// noteReserved notes those who get a network's reserved addresses.
func (u *update) noteReserved(n *routing.Network) {
	if n == nil {
		return
	}
	for _, r := range n.Reserved() {
		u.ports.add(reservedKey(n.Ref.UUID, r.Host.UUID, r.MAC))
	}
}

// sameReserved tells that two networks reserve the same, nil nothing.
func sameReserved(old, now *routing.Network) bool {
	of := func(n *routing.Network) []*routing.Reservation {
		if n == nil {
			return nil
		}
		return n.Reserved()
	}
	return slices.EqualFunc(of(old), of(now), (*routing.Reservation).Equal)
}

// routed is a port, what is to be one at reserved addresses, or what stands for a
// load-balancer; nil for one that is nowhere.
func (u *update) routed(uuid string) *routing.Port {
	if key, virtual := strings.CutPrefix(uuid, virtualPrefix); virtual {
		network, balancer, _ := strings.Cut(key, "/")
		return u.virtualOf(network, balancer)
	}
	key, reserved := strings.CutPrefix(uuid, reservedPrefix)
	if !reserved {
		return u.Routing.Port(uuid)
	}
	network, _, _ := strings.Cut(key, "/")
	n := u.Routing.Network(network)
	o, ok := u.snapshot.Get(api.KindNetwork, network).(*api.Network)
	if n == nil || !ok {
		return nil
	}
	var at *routing.Port
	for _, r := range n.Reserved() {
		if reservedKey(network, r.Host.UUID, r.MAC) != uuid {
			continue
		}
		if at == nil {
			at = &routing.Port{Ref: api.Ref{Name: uuid}, Network: n.Identity, Host: r.Host, Project: o.Meta.Parent.UUID}
		}
		at.Addresses = append(at.Addresses, r.Address)
	}
	return at
}

// portOf is the object of a port; an empty one for what is to be one or stands for one.
func (u *update) portOf(uuid string) (*api.Port, bool) {
	if strings.HasPrefix(uuid, reservedPrefix) || strings.HasPrefix(uuid, virtualPrefix) {
		return &api.Port{}, true
	}
	p, ok := u.snapshot.Get(api.KindPort, uuid).(*api.Port)
	return p, ok
}
