// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
)

// The reasons of Serving of what proxies serve.
const (
	reasonOneProxy = "one-proxy" // of the pair serves
	reasonNoProxy  = "no-proxy"  // of the pair serves
	reasonNoActive = "no-active" // neither has the addresses
)

// pairs are what hosts say of their proxies.
type pairs struct {
	reports map[[2]string]*hoststream.ProxyReport // by load-balancer and host
	faults  map[string]proxyFault                 // by object
}

// proxyFault is a fault with the host that says it.
type proxyFault struct {
	host string
	*hoststream.ProxyFault
}

func (c *collector) pairs() *pairs {
	p := &pairs{map[[2]string]*hoststream.ProxyReport{}, map[string]proxyFault{}}
	for uuid, host := range c.Hosts {
		for _, r := range host.Report.GetProxies() {
			p.reports[[2]string{r.LoadBalancer, uuid}] = r
			b := c.Plan.Balance.Get(r.LoadBalancer)
			if b == nil || b.Proxy == nil || !slices.ContainsFunc(b.Proxy.Places, func(at balance.Place) bool { return at.Host.UUID == uuid }) {
				continue // it was there
			}
			for _, f := range r.Faults {
				if had, any := p.faults[f.Object]; !any || host.Host.Name < had.host {
					p.faults[f.Object] = proxyFault{host.Host.Name, f}
				}
			}
		}
	}
	return p
}

// proxied says of a load-balancer that proxies serve, and of what is below it, whether it is served.
func (s *serving) proxied(o api.Object, was *api.Reported, b *balance.Balancer) {
	if s.pair == nil {
		s.pair = s.collector.pairs()
	}
	uuid := o.Head().Meta.UUID
	now := s.pairServes(b)
	if o.Head().Kind != api.KindLoadBalancer && now.Status {
		now = api.Condition{Type: Serving, Status: true, Reason: reasonServing}
		if f, any := s.pair.faults[uuid]; any {
			now.Status, now.Reason, now.Message = f.Partly, f.Reason, bounded("host "+f.host+": "+f.Message)
		}
	}
	if f := b.Fault(o.Head().Kind, uuid); f != nil {
		now.Status, now.Reason, now.Message = f.Partly && now.Status, f.Reason, bounded(f.Message)
	}
	s.want(o, &api.Reported{Conditions: s.setOf(s.conditions(o, was.Conditions), now)})
}

// pairServes says how a pair is.
func (s *serving) pairServes(b *balance.Balancer) api.Condition {
	say := func(status bool, reason, message string) api.Condition {
		return api.Condition{Type: Serving, Status: status, Reason: reason, Message: bounded(message)}
	}
	if len(b.Proxy.Places) == 0 {
		return say(false, balance.NoPlace, "no host has a proxy for it: two hosts are needed whose agents find HAProxy 2.6 and keepalived (Debian's packages haproxy and keepalived)")
	}
	serve, active := 0, false
	var why []string
	for _, at := range b.Proxy.Places {
		host, report := s.Hosts[at.Host.UUID], s.pair.reports[[2]string{b.Ref.UUID, at.Host.UUID}]
		switch {
		case !host.Connected:
			why = append(why, "host "+at.Host.Name+" is not connected")
		case report == nil:
			why = append(why, "host "+at.Host.Name+" has not said yet that its proxy serves")
		case !report.Serving:
			why = append(why, "host "+at.Host.Name+": "+cmp.Or(report.Message, "its proxy does not serve"))
		default:
			serve++
			active = active || report.Active
		}
	}
	if len(b.Proxy.Places) < balance.PairSize {
		why = append(why, "there is no second host that has proxies")
	}
	words := strings.Join(why, "; ")
	switch {
	case serve == 0:
		return say(false, reasonNoProxy, words)
	case !active:
		return say(false, reasonNoActive, strings.TrimSuffix("no proxy that is heard of has the addresses; "+words, "; "))
	case serve < balance.PairSize:
		return say(true, reasonOneProxy, words)
	}
	return say(true, reasonServing, "")
}
