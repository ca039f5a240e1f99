// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
)

// maxBehind bounds the hosts that an answer names.
const maxBehind = 100

// Known tells the host that has a port which others do not know yet that it is
// there. It says how things are, and waits for nobody: who waits asks again, also
// another controller.
func (s *Server) Known(ctx context.Context, q *hoststream.KnownRequest) (*hoststream.KnownReply, error) {
	plan, p, err := s.askedPort(ctx, q.Port, q.Version)
	if err != nil {
		return nil, err
	}
	states := s.Hosts
	if s.options.States != nil {
		states = s.options.States
	}
	version := placement.Version{Epoch: q.Version.GetEpoch(), Revision: q.Version.GetRevision()}
	reply := &hoststream.KnownReply{}
	for _, b := range behind(plan, p, version, states()) {
		if b.connected {
			reply.Waiting++
		}
		if len(reply.Behind) == maxBehind {
			reply.LeftOut++
			continue
		}
		reply.Behind = append(reply.Behind, b.BehindHost)
	}
	return reply, nil
}

type behindHost struct {
	*hoststream.BehindHost
	connected bool
}

// behind are the hosts with routes to a port, or to those that it carries, that are
// not known to have everything of a version, or could not do what it says of them.
func behind(plan *placement.Plan, p *routing.Port, version placement.Version, states map[string]HostState) (all []behindHost) {
	keys := map[string][]string{} // of the rows that lead to it, by host
	for _, q := range append(plan.Derived.Carried(p), p) {
		for _, n := range plan.Derived.Reaching(q) {
			for _, host := range slices.Compact(slices.Sorted(n.Places)) {
				if host != p.Host.UUID && plan.Derived.Host(host) != nil {
					keys[host] = append(keys[host], rowsOf(n, q)...)
				}
			}
		}
	}
	for host, rows := range keys {
		state, b := states[host], behindHost{&hoststream.BehindHost{Host: plan.Derived.Host(host).Ref.Name}, true}
		switch {
		case !state.Connected:
			b.Why, b.connected = "not connected", false
		case state.Settled.Before(version):
			b.Why = "has not acknowledged it yet"
		default:
			for _, key := range rows {
				b.Why = cmp.Or(b.Why, state.RowErrors[key])
			}
		}
		if b.Why != "" {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b behindHost) int { return cmp.Compare(a.Host, b.Host) })
	return all
}

// rowsOf are the keys of a network's rows that say where a port is.
func rowsOf(n *routing.Network, p *routing.Port) (keys []string) {
	for _, a := range p.Addresses {
		keys = append(keys, placement.RouteKey(n.VRF, netip.PrefixFrom(a.IP, a.IP.BitLen())))
	}
	return append(keys, placement.MACKey(n.VRF, p.MAC))
}
