// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"maps"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
)

// explain turns a row's status into an error text; empty if it is done.
func explain(st reconcile.Status, wanted bool) string {
	switch {
	case !wanted || st.State == reconcile.Done:
		return ""
	case st.Error != "":
		return st.Error
	}
	return "not programmed yet"
}

// PortProblem says why a port's interface is not programmed; empty if it is.
func (p *Programmer) PortProblem(a Attachment) string {
	a1, ok1 := p.addresses.Status(a.Ifindex)
	a2, ok2 := p.ports.Status(a.Ifindex)
	if !ok2 {
		return "not wanted"
	}
	a3, ok3 := p.prefixes.Status(a.Ifindex)
	a4, ok4 := p.subPorts.Status(vrouter.SubPort{Device: a.Device, VLAN: a.VLAN})
	return cmp.Or(explain(a1, ok1), explain(a3, ok3), explain(a2, ok2), explain(a4, ok4))
}

// Problems returns, by key, the desired rows that are not in the kernel and why.
func (p *Programmer) Problems(rows desired.Rows, attached map[string]Attachment) map[string]string {
	problems := maps.Clone(p.tables.Problems)
	if problems == nil {
		problems = map[string]string{}
	}
	p.policyProblems(rows, attached, problems)
	if p.Settled() {
		return problems
	}
	note := func(key, why string) {
		if why != "" && problems[key] == "" {
			problems[key] = why
		}
	}
	for key := range rows.Sources {
		st, ok := p.sources.Status(key.VNI)
		note(desired.SourceRow(key), explain(st, ok))
	}
	for _, v := range rows.VRFs {
		st, ok := p.vnis.Status(v.VNI)
		note(desired.VRFRow(v.ID), explain(st, ok))
		flood, floods := p.floods.Status(v.ID)
		note(desired.VRFRow(v.ID), explain(flood, floods))
		note(desired.VRFRow(v.ID), p.gaps.problem(v.ID))
	}
	for id := range rows.Ports {
		if a, ok := attached[id]; ok {
			note(desired.PortRow(id), p.PortProblem(a))
			st, ok := p.limits.Status(a.Ifindex) // its port works without them
			note(desired.PortRow(id), explain(st, ok))
		}
	}
	p.ownProblems(rows, attached, note)
	p.service.floatingProblems(note) // before the routes, which wait for mappings
	for key := range rows.MACs {
		st, ok := p.macs.Status(vrouter.MACKey{VRF: key.VRF, MAC: key.MAC})
		note(desired.MACRow(key), explain(st, ok))
	}
	for key := range rows.Routes {
		st, ok := p.routes.Status(vrouter.RouteKey{VRF: key.VRF, Prefix: key.Prefix})
		note(desired.RouteRow(key), explain(st, ok))
		st, ok = p.macs.Status(vrouter.MACKey{VRF: key.VRF, MAC: rows.Routes[key].MAC})
		note(desired.RouteRow(key), explain(st, ok))
	}
	p.service.problems(note)
	return problems
}

// ownProblems notes what is not in the kernel of all that has no row of its own
// and follows from others: services and the routes to them at their networks,
// aliases and routes of the underlay at their ports.
func (p *Programmer) ownProblems(rows desired.Rows, attached map[string]Attachment, note func(key, why string)) {
	row := map[int]string{}
	for id := range rows.Ports {
		if a, here := attached[id]; here {
			row[a.Ifindex] = desired.PortRow(id)
		}
	}
	p.services.EachWaiting(func(s vrouter.Service, st reconcile.Status) {
		note(desired.VRFRow(s.VRF), explain(st, true))
	})
	p.aliases.EachWaiting(func(n uint32, st reconcile.Status) {
		if key, there := row[p.tables.Aliases[n]]; there {
			note(key, explain(st, true))
		}
	})
	p.routes.EachWaiting(func(key vrouter.RouteKey, st reconcile.Status) {
		if _, has := rows.Routes[desired.RouteKey{VRF: key.VRF, Prefix: key.Prefix}]; has {
			return
		}
		if _, is := rows.VRFs[key.VRF]; is {
			note(desired.VRFRow(key.VRF), explain(st, true))
		} else if at, there := row[p.tables.Routes[key].NextHop.Ifindex]; there {
			note(at, explain(st, true))
		}
	})
}
