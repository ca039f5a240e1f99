// SPDX-License-Identifier: Apache-2.0

package status

import (
	"maps"
	"slices"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
)

// lookAtAll is how often, at least, all ports are looked at.
const lookAtAll = 30 * time.Second

// Tracker finds the statuses that differ, round by round, and looks only at
// ports for which something may have changed since the round before. It
// belongs to one goroutine.
type Tracker struct {
	last    *Input // of the round before; nil: look at all
	all     time.Time
	pending map[string]bool // ports to look at again, whatever changed
	orders  *Orders
}

// Forget makes the next round look at everything, as after a failure to write.
func (t *Tracker) Forget() { t.last = nil }

// Changes returns what the function Changes does, except for changes that the
// round before has returned already.
func (t *Tracker) Changes(in Input) []Change {
	c := newCollector(in)
	if t.orders == nil {
		t.orders = c.orders
	}
	c.orders = t.orders
	if t.last != nil && in.Now.Sub(t.all) < lookAtAll {
		c.only = t.scope(in)
	}
	if c.only == nil {
		t.all = in.Now
	} else if slices.EqualFunc(in.Plan.Derived.Hosts, t.last.Plan.Derived.Hosts, sameUnderlay) {
		c.before = t.last
	}
	changes := c.run()
	t.last, t.pending = &in, c.pending
	return changes
}

func sameUnderlay(a, b *routing.Host) bool {
	return a == b || a.Ref == b.Ref && a.UnderlayMTU == b.UnderlayMTU && slices.Equal(a.TunnelAddresses, b.TunnelAddresses)
}

// scope is the ports that a round looks at.
type scope struct {
	uuids []string // ordered
}

// scope finds the ports for which something may have changed, or nil for all.
func (t *Tracker) scope(in Input) *scope {
	snapshot, ok := in.Snapshot.(interface {
		routing.Indexed
		Since(earlier api.Snapshot) ([]api.Event, bool)
	})
	if !ok || in.ClaimAll != t.last.ClaimAll {
		return nil
	}
	events, known := snapshot.Since(t.last.Snapshot)
	if !known {
		return nil
	}
	ports := maps.Clone(t.pending)
	for _, e := range events {
		switch o := e.Object.(type) {
		case *api.Port:
			ports[o.Meta.UUID] = true
			addCarried(ports, snapshot, o.Meta.UUID)
		case *api.HealthCheck:
			for _, p := range snapshot.Referrers(api.KindPort, api.KindHealthCheck, o.Meta.UUID) {
				ports[p.Head().Meta.UUID] = true
			}
		case *api.Binding:
			ports[o.Meta.Parent.UUID] = true
			addCarried(ports, snapshot, o.Meta.Parent.UUID)
		case *api.SubPort:
			if e.Type == api.EventDelete {
				return nil // its trunk may have all it carries at work now
			}
			ports[o.Spec.Port.UUID] = true
			addCarried(ports, snapshot, o.Spec.Port.UUID) // by a trunk of its own, which is where it is
			if e.Was == nil || e.Was.Head().Meta.Revision != o.Head().Meta.Revision {
				addMembers(ports, snapshot, o.Meta.Parent.UUID) // who has which tag may be another now
			}
		case *api.Trunk:
			if e.Type == api.EventDelete || e.Was == nil || e.Was.Head().Meta.Revision != o.Head().Meta.Revision {
				return nil
			}
		case *api.Host, *api.Network:
			if e.Type == api.EventDelete || e.Was == nil || e.Was.Head().Meta.Revision != o.Head().Meta.Revision {
				return nil // any port may be placed now, or no longer
			}
		}
	}
	for uuid, h := range in.Hosts {
		if sameReport(h, t.last.Hosts[uuid]) && in.unenforced(uuid, h.Report) == t.last.unenforced(uuid, h.Report) {
			continue
		}
		if host := in.Plan.Derived.Host(uuid); host != nil {
			for _, p := range host.Ports {
				ports[p.Ref.UUID] = true
			}
		}
	}
	if len(in.Hosts) < len(t.last.Hosts) {
		return nil // one was deleted
	}
	return &scope{slices.Sorted(maps.Keys(ports))}
}

// sameReport tells that a host says the same of its ports. How far it has come
// matters only for what is pending.
func sameReport(a, b stream.HostState) bool {
	return a.Connected == b.Connected && a.InSync == b.InSync && a.Report == b.Report && a.Host == b.Host &&
		a.Settled.Epoch == b.Settled.Epoch && maps.Equal(a.RowErrors, b.RowErrors)
}

// ports returns the ports to look at.
func (s *scope) ports(all api.Snapshot) []*api.Port {
	if s == nil {
		return api.ListOf[*api.Port](all, api.KindPort)
	}
	var ports []*api.Port
	for _, uuid := range s.uuids {
		if p, ok := all.Get(api.KindPort, uuid).(*api.Port); ok {
			ports = append(ports, p)
		}
	}
	return ports
}

// bindings returns the bindings of the ports to look at.
func (s *scope) bindings(all api.Snapshot) []*api.Binding {
	if s == nil {
		return api.ListOf[*api.Binding](all, api.KindBinding)
	}
	var bindings []*api.Binding
	for _, uuid := range s.uuids {
		for _, b := range all.(routing.Indexed).Children(api.KindBinding, uuid) {
			bindings = append(bindings, b.(*api.Binding))
		}
	}
	return bindings
}
