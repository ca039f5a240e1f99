// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// MTU is the condition of a network whose workloads cannot all send packets of
// one size to each other, and of a host whose underlay is too small. It is
// absent while all is well.
const MTU = "MTU"

// The reasons of MTU.
const (
	reasonTooLarge = "larger-than-underlay" // the network's mtu is more than some host's underlay carries
	reasonDiffers  = "hosts-differ"         // it follows from the underlay, and that is not the same everywhere
	reasonTooSmall = "below-ipv6-minimum"   // less than 1280 is left for workloads
)

// hostsTold is how many hosts a message names.
const hostsTold = 3

// carries is what a host leaves for workloads, and why.
type carries struct {
	host               string
	mtu, underlay, tax int
}

func (c carries) String() string {
	return fmt.Sprintf("%d on %s (underlay %d less %d of the tunnel)", c.mtu, c.host, c.underlay, c.tax)
}

// carriesOf is that of a host whose underlay is known.
func carriesOf(name string, underlay int, encapsulation string, addresses []netip.Addr) (carries, bool) {
	mtu, tax := api.WorkloadMTU(underlay, encapsulation, addresses)
	return carries{name, mtu, underlay, tax}, underlay != 0
}

// networks says of each network how large packets of its workloads may be and
// what does not fit, whether it has its place in the underlay, and whether its hosts can do what it asks for. In a round that looks at few things only, networks are
// looked at that are not those of the round before.
func (c *collector) networks() {
	for _, n := range c.Plan.Derived.Networks {
		if c.before != nil && c.before.Plan.Derived.Network(n.Ref.UUID) == n {
			continue
		}
		o, ok := c.Snapshot.Get(api.KindNetwork, n.Ref.UUID).(*api.Network)
		if !ok {
			continue
		}
		now := o.Status
		smallest, problem := c.sizes(n)
		now.MTU, now.MTUReason = effective(n.MTU, smallest)
		if problem != nil {
			now.Conditions = conditionOf(now.Conditions, *problem, c.Now)
		} else {
			now.Conditions = without(now.Conditions, MTU)
		}
		c.place(n, &now)
		c.encapsulate(o, n, &now)
		c.connect(o, n, &now)
		c.want(o, &now)
	}
}

// sizes finds, of the hosts that have a port of a network, the one that carries
// least, and what is wrong.
func (c *collector) sizes(n *routing.Network) (smallest *carries, problem *api.Condition) {
	var all []carries
	seen := map[string]bool{}
	for uuid := range n.Places {
		h := c.Plan.Derived.Host(uuid)
		if seen[uuid] || h == nil {
			continue
		}
		seen[uuid] = true
		encapsulation := api.EncapsulationVXLAN
		if n.Underlay.Fabric {
			encapsulation = api.EncapsulationNone
		}
		if x, known := carriesOf(h.Ref.Name, h.UnderlayMTU, encapsulation, h.TunnelAddresses); known {
			all = append(all, x)
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	slices.SortFunc(all, func(a, b carries) int { return cmp.Or(cmp.Compare(a.mtu, b.mtu), cmp.Compare(a.host, b.host)) })
	smallest = &all[0]
	least, most := all[0], all[len(all)-1]
	switch {
	case n.MTU != 0 && least.mtu < n.MTU:
		short := slices.DeleteFunc(slices.Clone(all), func(x carries) bool { return x.mtu >= n.MTU })
		problem = &api.Condition{Reason: reasonTooLarge, Message: fmt.Sprintf("the network's mtu is %d, and the underlay leaves less: %s; larger packets between hosts end as too-big", n.MTU, told(short))}
	case n.MTU == 0 && least.mtu < api.MinimumMTU:
		problem = &api.Condition{Reason: reasonTooSmall, Message: fmt.Sprintf("IPv6 needs %d, and the underlay leaves less: %s", api.MinimumMTU, told(all[:1]))}
	case n.MTU == 0 && least.mtu != most.mtu:
		problem = &api.Condition{Reason: reasonDiffers, Message: fmt.Sprintf("workloads have different MTUs: %s, %v; give the network mtu %d", told(all[:1]), most, least.mtu)}
	}
	if problem != nil {
		problem.Type, problem.Message = MTU, bounded(problem.Message)
	}
	return smallest, problem
}

func told(all []carries) string {
	var words []string
	for _, x := range all[:min(len(all), hostsTold)] {
		words = append(words, x.String())
	}
	if more := len(all) - hostsTold; more > 0 {
		words = append(words, fmt.Sprintf("and on %d more", more))
	}
	return strings.Join(words, ", ")
}

// effective is the largest packet that all of a network's workloads may send
// to all others, and from what that follows.
func effective(mtu int, smallest *carries) (int, string) {
	switch {
	case smallest == nil:
		return 0, "" // no host has a port of it
	case mtu == 0:
		return smallest.mtu, "what the underlay leaves: " + smallest.String()
	case mtu > smallest.mtu:
		return smallest.mtu, fmt.Sprintf("the network's mtu is %d; the underlay leaves %v", mtu, smallest)
	}
	return mtu, fmt.Sprintf("the network's mtu; the underlay leaves %v", smallest)
}

// hostMTU returns the conditions of a host with what its underlay leaves.
func hostMTU(old []api.Condition, h *api.Host, now time.Time) []api.Condition {
	x, known := carriesOf(h.Meta.Name, h.Spec.UnderlayMTU, api.EncapsulationVXLAN, h.Spec.TunnelAddresses)
	if !known || x.mtu >= api.MinimumMTU {
		return without(old, MTU)
	}
	message := fmt.Sprintf("the underlay's MTU of %d leaves %d for workloads, less than the %d that IPv6 needs: raise it to %d", x.underlay, x.mtu, api.MinimumMTU, api.MinimumMTU+x.tax)
	return conditionOf(old, api.Condition{Type: MTU, Reason: reasonTooSmall, Message: message}, now)
}
