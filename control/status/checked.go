// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/health"
)

// checked says what the health-checks of a port come to, and whether routes are
// taken back for that: once one that asks for it has failed, until all of these
// are online or cannot be tried.
func (c *collector) checked(p *api.Port) (all []api.CheckedPort, withdrawn bool) {
	port := c.Plan.Health.Port(p.Meta.UUID)
	if port == nil {
		return nil, false
	}
	for _, check := range port.Checks {
		was := api.CheckedPort{}
		if i := slices.IndexFunc(p.Status.HealthChecks, func(o api.CheckedPort) bool { return o.Check.UUID == check.HealthCheck.UUID }); i >= 0 {
			was = p.Status.HealthChecks[i]
		}
		old := api.Condition{}
		if was.Reason != "" {
			old = api.Condition{Type: Online, Status: was.Online, Reason: was.Reason, Message: was.Message}
		}
		now := c.tried("ports", check.Host, check.Why, check.Check, old)
		if now.Type == "" {
			now = no(reasonUnknown, "host "+check.Host.Name+" has not said yet")
		}
		s := api.CheckedPort{Check: check.HealthCheck, Online: now.Status, Reason: now.Reason, Message: now.Message, Since: c.Now.UTC()}
		if was.Online == s.Online && was.Reason == s.Reason {
			s.Since = was.Since
		}
		s.Withdrawn = check.Withdraws && c.withdraws(&check, &s, was.Withdrawn)
		withdrawn = withdrawn || s.Withdrawn
		all = append(all, s)
	}
	return all, withdrawn
}

// withdraws tells whether a health-check takes routes back. That a host is away,
// or an agent has just started, changes nothing: nobody knows. So does that
// something else is asked: of that the host has said nothing yet.
func (c *collector) withdraws(check *health.PortCheck, now *api.CheckedPort, before bool) bool {
	switch now.Reason {
	case reasonFailed:
		return before || c.tries(check.Host.UUID, check.Check.ID) != nil
	case reasonUnknown:
		return before
	}
	return false
}
