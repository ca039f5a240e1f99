// SPDX-License-Identifier: Apache-2.0

// Package status says what the system has to report about objects: it compares
// what hosts acknowledged and reported with the statuses that are stored and
// returns those that differ, so that only transitions are written.
package status

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/stream"
)

// Programmed is the condition that an object is at work on the hosts that need it.
const Programmed = "Programmed"

// The reasons of Programmed.
const (
	reasonAcknowledged = "acknowledged"     // holds
	reasonPending      = "pending"          // not yet acknowledged
	reasonRowError     = "row-error"        // a host cannot put a row into its kernel
	reasonHostAway     = "host-away"        // the host is not connected
	reasonInactive     = "inactive"         // the binding is not the active one
	reasonNotJoined    = "nothing-to-join"  // no rule joins the network with another one
	reasonUnplaced     = "no-host"          // no host needs it now
	reasonMissing      = "missing-referent" // something it refers to is missing
)

// maxMessageBytes bounds what a host's words may take up in the store.
const maxMessageBytes = 1024

// Input is what a status follows from.
type Input struct {
	Snapshot api.Snapshot
	Plan     *placement.Plan
	Hosts    map[string]stream.HostState // by UUID
	// ClaimAll is set once hosts had time to connect: from then on a host that
	// never did is reported as not connected. Before, its status is let be.
	ClaimAll bool
	// Usage is set when the addresses of subnets are to be counted too: that
	// looks at all addresses, and counts change with each of them, so it is
	// done now and then for many changes at once.
	Usage bool
	Now   time.Time
}

// Change is a status to be written.
type Change struct {
	Kind   api.Kind
	UUID   string
	Status any
}

// Changes returns the statuses that differ from those in the snapshot, in a
// fixed order.
func Changes(in Input) []Change { return newCollector(in).run() }

func newCollector(in Input) *collector {
	return &collector{Input: in, reports: map[string]map[string]*hoststream.PortReport{}, said: map[string]map[string][]*hoststream.Announcement{}, checks: map[string]map[string]*hoststream.CheckReport{}, orders: &Orders{given: map[said]uint64{}}, wanted: map[string]int{}, pending: map[string]bool{}, carried: map[string]bool{}}
}

func (c *collector) run() []Change {
	c.hosts()
	c.networks()
	c.speakers()
	c.ports()
	c.bindings()
	c.attachments()
	c.asked()
	c.online()
	c.held()
	c.routeTables()
	c.balanced()
	c.floating()
	c.sourceNATs()
	c.trunks()
	c.reserved()
	if c.Usage {
		c.usage()
	}
	return c.changes
}

type collector struct {
	Input
	only    *scope                                           // nil: all ports
	before  *Input                                           // of the round before, where only what changed is looked at
	reports map[string]map[string]*hoststream.PortReport     // by host and port, of hosts that were asked for
	said    map[string]map[string][]*hoststream.Announcement // as reports
	checks  map[string]map[string]*hoststream.CheckReport    // by host and id, likewise
	spoken  map[string][]api.AnnouncedAddress                // by port: what is not in the snapshot
	orders  *Orders
	changes []Change
	wanted  map[string]int  // where among them an object is, by UUID
	pending map[string]bool // ports with a binding that is not acknowledged
	carried map[string]bool // sub-ports that were looked at, and whether they work
}

// report is what a host said of a port, or nil.
func (c *collector) report(host, port string) *hoststream.PortReport {
	ports, ok := c.reports[host]
	if !ok {
		report := c.Hosts[host].Report
		ports = make(map[string]*hoststream.PortReport, len(report.GetPorts()))
		for _, p := range report.GetPorts() {
			ports[p.Port] = p
		}
		c.reports[host] = ports
	}
	return ports[port]
}

// want notes a wanted status if it is not the stored one. Both are pointers to
// the same type.
func (c *collector) want(o api.Object, now any) {
	uuid := o.Head().Meta.UUID
	if i, had := c.wanted[uuid]; had {
		c.changes[i].Status = now
	} else if !reflect.DeepEqual(o.StatusBody(), now) {
		c.wanted[uuid] = len(c.changes)
		c.changes = append(c.changes, Change{o.Head().Kind, uuid, now})
	}
}

// conditions are those of an object whose status is these alone, with what is
// wanted of them so far; stored are the stored ones.
func (c *collector) conditions(o api.Object, stored []api.Condition) []api.Condition {
	if i, had := c.wanted[o.Head().Meta.UUID]; had {
		return c.changes[i].Status.(*api.Reported).Conditions
	}
	return stored
}

func (c *collector) hosts() {
	for _, h := range api.ListOf[*api.Host](c.Snapshot, api.KindHost) {
		state, known := c.Hosts[h.Meta.UUID]
		now := h.Status
		switch {
		case known && state.Connected:
			now.Connected, now.AgentVersion, now.Kernel = true, state.AgentVersion, state.Kernel
			now.Controller = controllerName(state.Controller)
			if state.Report != nil {
				now.Announced, now.Lacks = announced(h, state.Report), lacks(state.Report)
				now.Ports, now.Warm = countUp(state.Report), controllerName(state.Report.WarmController)
				now.Conditions = strays(h.Status.Conditions, state.Report.Warnings, c.Now)
				now.Conditions = capacity(now.Conditions, state.Report.Tables, c.Now)
				now.Conditions = c.enforced(now.Conditions, h.Meta.UUID, state.Report, c.Now)
			}
		case known || c.ClaimAll:
			now.Connected, now.Warm = false, ""
		}
		now.Conditions = hostMTU(now.Conditions, h, c.Now)
		c.want(h, &now)
	}
}

// controllerName is a controller's name without the word that tells it from its
// own former life: a restart of one is no news of its hosts.
func controllerName(name string) string {
	name, _, _ = strings.Cut(name, "/")
	return bounded(name)
}

func countUp(r *hoststream.Report) int {
	n := 0
	for _, p := range r.Ports {
		if s := api.PortState(p.State); s == api.PortUp || s == api.PortDisabled {
			n++
		}
	}
	return n
}

func (c *collector) ports() {
	for _, p := range c.only.ports(c.Snapshot) {
		now := c.port(p)
		if now.State != api.PortUnbound {
			now.Announced = c.announcedBy(p)
			now.HealthChecks, now.Withdrawn = c.checked(p)
		}
		c.want(p, &now)
	}
}

// port says what is known of a port. What a host that went away last said is kept.
func (c *collector) port(p *api.Port) api.PortStatus {
	placed := c.Plan.Derived.Port(p.Meta.UUID)
	if placed == nil {
		return api.PortStatus{State: api.PortUnbound}
	}
	waiting := api.PortStatus{State: api.PortWaiting, Host: placed.Host.Name}
	if r := c.report(placed.Host.UUID, p.Meta.UUID); r != nil {
		switch state := api.PortState(r.State); state {
		case api.PortUp, api.PortWaiting, api.PortFailed, api.PortDisabled:
			return api.PortStatus{State: state, Host: placed.Host.Name, Message: bounded(cmp.Or(r.Message, c.policyMessage(placed.Host.UUID, r)))}
		}
		return api.PortStatus{State: api.PortFailed, Host: placed.Host.Name, Message: bounded("the host reports the unknown state " + r.State)}
	}
	state := c.Hosts[placed.Host.UUID]
	silent := !state.Connected || state.Report == nil || !state.InSync
	if silent && p.Status.Host == placed.Host.Name && p.Status.State != api.PortUnbound {
		return p.Status
	}
	return waiting
}

func bounded(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxMessageBytes)], "") }

func (c *collector) bindings() {
	for _, b := range c.only.bindings(c.Snapshot) {
		now := b.Status
		fact := c.binding(b)
		if !fact.Status && fact.Reason != reasonInactive {
			c.pending[b.Meta.Parent.UUID] = true
		}
		now.Conditions = c.set(now.Conditions, fact)
		c.want(b, &now)
	}
}

// binding says whether a binding's port is programmed on its host. Once it is,
// that holds until the binding is no longer active or the host reports an error.
func (c *collector) binding(b *api.Binding) api.Condition {
	placed := c.Plan.Derived.Port(b.Meta.Parent.UUID)
	if placed == nil || placed.Binding.UUID != b.Meta.UUID {
		return no(reasonInactive, "")
	}
	host := c.Hosts[b.Spec.Host.UUID]
	old := find(b.Status.Conditions)
	if !host.Connected {
		if old != nil && old.Reason != reasonInactive {
			return *old
		}
		return no(reasonHostAway, "host "+b.Spec.Host.String()+" is not connected")
	}
	if text := host.RowErrors[placement.PortKey(placed.Ref.UUID)]; text != "" {
		return no(reasonRowError, text)
	}
	done := host.Settled.Epoch == c.Plan.Version.Epoch && host.Settled.Revision >= b.Meta.Revision
	if done || old != nil && old.Status {
		return api.Condition{Type: Programmed, Status: true, Reason: reasonAcknowledged}
	}
	return no(reasonPending, "")
}

func no(reason, message string) api.Condition {
	return api.Condition{Type: Programmed, Reason: reason, Message: bounded(message)}
}

func find(conditions []api.Condition) *api.Condition {
	for i := range conditions {
		if conditions[i].Type == Programmed {
			return &conditions[i]
		}
	}
	return nil
}

// set returns conditions with one of them replaced; the time of the last
// transition changes only with the fact or its reason.
func (c *collector) set(conditions []api.Condition, now api.Condition) []api.Condition {
	conditions = slices.Clone(conditions)
	if old := find(conditions); old != nil {
		now.Since = old.Since
		if old.Status != now.Status || old.Reason != now.Reason {
			now.Since = c.Now.UTC()
		}
		*old = now
		return conditions
	}
	now.Since = c.Now.UTC()
	conditions = append(conditions, now)
	slices.SortFunc(conditions, func(a, b api.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return conditions
}
