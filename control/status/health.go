// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/health"
)

// Online is the condition that a member answers the host that tries it; of
// pools and load-balancers, that members do. It is absent where nobody is tried.
const Online = "Online"

// The reasons of Online.
const (
	reasonOnline   = "online"         // holds
	reasonDegraded = "degraded"       // of some members only
	reasonFailed   = "failed"         // it does not answer as it should
	reasonUntried  = "untried"        // it cannot be tried
	reasonUnknown  = api.CheckUnknown // its host has not said
)

// featureHealth is what agents say that try members, featureBFD what those do
// that do it by BFD too.
const (
	featureHealth = "health"
	featureBFD    = "bfd"
)

// sum counts the members that are tried.
type sum struct {
	up, failed, all int
	dark            bool // a pool has none that is up
}

// online says of members whether they answer, and of pools and load-balancers
// how many do.
func (c *collector) online() {
	members := api.ListOf[*api.Member](c.Snapshot, api.KindMember)
	pools, balancers := map[string]*sum{}, map[string]*sum{}
	for _, m := range members {
		tried := c.Plan.Health.Pool(m.Meta.Parent.UUID).Member(m.Meta.UUID)
		if tried == nil {
			c.want(m, &api.Reported{Conditions: without(c.conditions(m, m.Status.Conditions), Online)})
			continue
		}
		s := pools[m.Meta.Parent.UUID]
		if s == nil {
			s = &sum{}
			pools[m.Meta.Parent.UUID] = s
		}
		s.all++
		now := c.member(m, tried)
		if now.Type == "" {
			continue // nothing is known, and nothing was
		}
		switch now.Reason {
		case reasonOnline:
			s.up++
		case reasonFailed:
			s.failed++
		}
		c.want(m, &api.Reported{Conditions: c.setOf(c.conditions(m, m.Status.Conditions), now)})
	}
	for _, p := range api.ListOf[*api.Pool](c.Snapshot, api.KindPool) {
		s := pools[p.Meta.UUID]
		c.wantSum(p, c.conditions(p, p.Status.Conditions), s)
		if s == nil {
			continue
		}
		all := balancers[p.Meta.Parent.UUID]
		if all == nil {
			all = &sum{}
			balancers[p.Meta.Parent.UUID] = all
		}
		all.up, all.failed, all.all, all.dark = all.up+s.up, all.failed+s.failed, all.all+s.all, all.dark || s.up == 0
	}
	for _, l := range api.ListOf[*api.LoadBalancer](c.Snapshot, api.KindLoadBalancer) {
		c.wantSum(l, c.conditions(l, l.Status.Conditions), balancers[l.Meta.UUID])
	}
}

func (c *collector) wantSum(o api.Object, old []api.Condition, s *sum) {
	if s == nil {
		c.want(o, &api.Reported{Conditions: without(old, Online)})
		return
	}
	now := api.Condition{Type: Online, Status: s.up > 0 && !s.dark, Reason: reasonDegraded, Message: fmt.Sprintf("%d of %d members up", s.up, s.all)}
	switch {
	case s.up == s.all:
		now.Reason = reasonOnline
	case s.up == 0 && s.failed > 0:
		now.Reason = reasonFailed
	case s.up == 0:
		now.Reason = reasonUnknown
	}
	c.want(o, &api.Reported{Conditions: c.setOf(old, now)})
}

// member says whether a member answers.
func (c *collector) member(m *api.Member, tried *health.Member) api.Condition {
	var old api.Condition
	if i := slices.IndexFunc(m.Status.Conditions, func(was api.Condition) bool { return was.Type == Online }); i >= 0 {
		old = m.Status.Conditions[i]
	}
	return c.tried("members", tried.Host, tried.Why, tried.Check, old)
}

// tried says whether a workload answers. What its host has not said anew since
// the agent started, or before a controller that just started has heard of the
// host, stays as it was; a condition without type: nothing is said.
func (c *collector) tried(whom string, on api.Ref, why string, check *health.Check, old api.Condition) api.Condition {
	say := func(reason, message string) api.Condition {
		return api.Condition{Type: Online, Status: reason == reasonOnline, Reason: reason, Message: bounded(message)}
	}
	if check == nil {
		return say(reasonUntried, why)
	}
	host, known := c.Hosts[on.UUID]
	switch {
	case !host.Connected && (known || c.ClaimAll):
		return say(reasonUnknown, "host "+on.Name+" is not connected")
	case !host.Connected || host.Report == nil:
		return old
	case !slices.Contains(host.Report.Features, featureHealth):
		return say(reasonUntried, "the agent of host "+on.Name+" does not try "+whom+": upgrade weft-agent there")
	case check.By == "bfd" && !slices.Contains(host.Report.Features, featureBFD):
		return say(reasonUntried, "the agent of host "+on.Name+" does not try by bfd: upgrade weft-agent there")
	}
	r := c.tries(on.UUID, check.ID)
	switch {
	case r == nil && (old.Reason == reasonOnline || old.Reason == reasonFailed):
		return old
	case r == nil:
		return say(reasonUnknown, "host "+on.Name+" has not tried it often enough yet")
	case r.State == "up":
		return say(reasonOnline, "")
	case r.State == "down":
		return say(reasonFailed, r.Message)
	}
	return say(reasonUntried, r.Message)
}

// tries is what a host last said of a check, or nil.
func (c *collector) tries(host, id string) *hoststream.CheckReport {
	of := c.checks[host]
	if of == nil {
		of = map[string]*hoststream.CheckReport{}
		for _, r := range c.Hosts[host].Report.GetChecks() {
			of[r.Id] = r
		}
		c.checks[host] = of
	}
	return of[id]
}
