// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// Encapsulated is the condition that any two hosts of a network have a way to
// travel in common that its list allows.
const Encapsulated = "Encapsulated"

// The reasons of Encapsulated.
const (
	reasonAgreed   = "agreed"            // holds
	reasonNoCommon = "nothing-in-common" // two hosts have none
)

// encapsulate says in a network's status whether its hosts can do what its list
// allows. One without a list has no such condition.
func (c *collector) encapsulate(o *api.Network, n *routing.Network, now *api.NetworkStatus) {
	if len(o.Spec.Encapsulation) > 0 {
		now.Conditions = c.setOf(now.Conditions, c.encapsulated(o, n))
	} else if slices.ContainsFunc(now.Conditions, ofEncapsulation) {
		now.Conditions = without(now.Conditions, Encapsulated)
	}
}

func ofEncapsulation(c api.Condition) bool { return c.Type == Encapsulated }

// encapsulated says whether the hosts of a network with a list can do it.
func (c *collector) encapsulated(o *api.Network, n *routing.Network) api.Condition {
	holds := api.Condition{Type: Encapsulated, Status: true, Reason: reasonAgreed}
	if n.Underlay.Fabric {
		return holds // nothing is between its hosts
	}
	if _, ok := api.LabelOf(n.VRF); !ok && slices.Contains(o.Spec.Encapsulation, api.EncapsulationMPLSUDP) {
		holds.Message = fmt.Sprintf("%s is left out: VNI %d is not between %d and %d", api.EncapsulationMPLSUDP, n.VRF, api.MinLabel, api.MaxLabel)
		if len(o.Spec.Encapsulation) == 1 {
			return api.Condition{Type: Encapsulated, Reason: reasonNoCommon, Message: holds.Message}
		}
	}
	if one, other := c.apart(n); one != nil {
		return api.Condition{Type: Encapsulated, Reason: reasonNoCommon, Message: bounded(fmt.Sprintf("%s can do %v, %s %v: of %v both can do none",
			one.Ref, api.Encapsulations(one.Encapsulations), other.Ref, api.Encapsulations(other.Encapsulations), api.Encapsulations(strings.Fields(n.Encapsulations))))}
	}
	return holds
}

// apart returns two hosts, a sender and one with a port, that have no
// encapsulation in common. Of hosts that can do the same, two stand for all.
func (c *collector) apart(n *routing.Network) (one, other *routing.Host) {
	senders, places := map[string][]*routing.Host{}, map[string][]*routing.Host{}
	add := func(to map[string][]*routing.Host, uuid string) {
		if h := c.Plan.Derived.Host(uuid); h != nil {
			key := strings.Join(h.Encapsulations, " ")
			if alike := to[key]; len(alike) < 2 && !slices.Contains(alike, h) {
				to[key] = append(alike, h)
			}
		}
	}
	for _, s := range n.Senders {
		add(senders, s.UUID)
	}
	for uuid := range n.Places {
		add(places, uuid)
	}
	list := strings.Fields(n.Encapsulations)
	for _, from := range ordered(senders) {
		for _, to := range ordered(places) {
			if from == to {
				continue
			}
			if _, ok := api.ChooseEncapsulation(list, from.Encapsulations, to.Encapsulations); !ok {
				return from, to
			}
		}
	}
	return nil, nil
}

// ordered are the hosts by name.
func ordered(hosts map[string][]*routing.Host) []*routing.Host {
	var all []*routing.Host
	for _, alike := range hosts {
		all = append(all, alike...)
	}
	slices.SortFunc(all, func(a, b *routing.Host) int { return strings.Compare(a.Ref.Name, b.Ref.Name) })
	return all
}
