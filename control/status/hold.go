// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"slices"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/stream"
)

const (
	// featureStrict is what agents say that keep former policies during a hold.
	featureStrict = "strict"
	// quietHold is how long a hold may wait before its status says for whom: most
	// end long before that.
	quietHold = time.Second
	// maxWaiting bounds the hosts that a hold's status names.
	maxWaiting = 100
)

// HoldEnds is when a hold has lasted as long as it may.
func HoldEnds(d *api.Draft) time.Time {
	return d.Meta.UpdatedAt.Add(time.Duration(d.Spec.Hold.Seconds) * time.Second)
}

// Behind names the hosts that are not known to ask both policies during a hold.
func Behind(plan *placement.Plan, hosts map[string]stream.HostState, d *api.Draft) (behind []api.HeldHost) {
	written := placement.Version{Epoch: plan.Version.Epoch, Revision: d.Meta.Revision}
	for _, host := range plan.Derived.Hosts {
		uuid := host.Ref.UUID
		if plan.Policy.Host(uuid) == nil || slices.Contains(d.Spec.Hold.Without, uuid) {
			continue
		}
		state, why := hosts[uuid], ""
		switch failed := state.RowErrors[placement.HoldKey(d.Meta.UUID)]; {
		case !state.Connected:
			why = "not connected"
		case state.Report == nil:
			why = "has said nothing yet"
		case !slices.Contains(state.Report.Features, featureStrict):
			why = "its agent is of a release that cannot ask two policies: upgrade weft-agent"
		case state.Settled.Before(written):
			why = "has not acknowledged the change"
		default:
			why = failed
		}
		if why != "" {
			behind = append(behind, api.HeldHost{Host: host.Ref.Name, Why: bounded(why)})
		}
	}
	slices.SortFunc(behind, func(a, b api.HeldHost) int { return cmp.Compare(a.Host, b.Host) })
	return behind
}

// held says of drafts that hold a change for whom they wait.
func (c *collector) held() {
	for _, d := range api.ListOf[*api.Draft](c.Snapshot, api.KindDraft) {
		if d.Spec.Hold == nil || c.Now.Sub(d.Meta.UpdatedAt) < quietHold {
			continue
		}
		behind := Behind(c.Plan, c.Hosts, d)
		now := api.DraftStatus{
			Behind: len(behind), Waiting: behind[:min(len(behind), maxWaiting)],
			Expired: d.Status.Expired || len(behind) > 0 && !c.Now.Before(HoldEnds(d)),
		}
		if d.Status.Expired { // what it ended without stays what it says
			now = d.Status
		}
		c.want(d, &now)
	}
}
