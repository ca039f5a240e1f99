// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// What reports say that is done here besides what the first agents did.
const (
	featurePolicy = "policy" // the ports' policy is enforced
	featureHealth = "health" // members of pools are tried
	featureStrict = "strict" // a former policy is enforced besides, while there is a hold
	featureBFD    = "bfd"    // workloads are tried by it too

	featureBalance = "balance"  // there is somebody behind virtual addresses
	featureFloats  = "floating" // floating addresses are mapped
)

// maxRowErrors bounds the errors of one Ack, so that a full table does not
// become a message as large as the table. What was left out is counted.
const maxRowErrors = 1000

// Plug is a port's interface on this host, or why there is none.
type Plug struct {
	Interface string
	datapath.Attachment
	Failure string // not empty: there is no interface
}

// Core is the state of a host. It has no goroutine, clock or lock.
type Core struct {
	want       *desired.Table
	plugs      map[string]Plug
	underlay   datapath.Underlay
	receives   []netip.Addr // tunnel addresses to be reported; it may not send from all of them yet
	local      datapath.Local
	programmer *datapath.Programmer
	started    bool              // the plugs of an earlier run are known
	stale      bool              // something changed since the tables were computed
	balanced   datapath.Balanced // of what was computed last
	swept      bool
	busy       bool // rows are left that were not tried yet
	// sequence of the last delta applied in the present stream; 0: none
	sequence  uint64
	gathered  gathered
	arrivals  arrivals
	whole     bool             // rows are to be sent whole: a change of one was not what it should be
	taken     map[string]Taken // by the port's UUID
	announced map[speech]announcement
	spoken    uint64 // sequence of the last of these
	known     bool   // the rows were complete at least once: those of a file are
	connected bool
	warm      string          // controller that a stream is held in reserve to
	carried   map[string]Plug // of sub-ports; nil: to be computed, as after each change
	captured  map[string]bool // ports whose frames somebody looks at
	warnings  []string
	checks    []*hoststream.CheckReport
	proxies   []*hoststream.ProxyReport
	features  []string               // that this host has and others may not have
	short     []*hoststream.TableUse // tables with little room left, by name
	usage     []vrouter.Usage        // of the tables, as last counted
}

// NewCore returns the state that starts with these desired rows. The
// programmer must be loaded.
func NewCore(want *desired.Table, underlay datapath.Underlay, local datapath.Local, programmer *datapath.Programmer) *Core {
	return &Core{want: want, plugs: map[string]Plug{}, taken: map[string]Taken{}, announced: map[speech]announcement{}, known: want.Len() > 0, arrivals: arrivals{quiet: map[string]time.Time{}}, underlay: underlay, receives: underlay.Addresses(), local: local, programmer: programmer, stale: true}
}

// Open begins a stream: it returns the Hello. Sequences count anew.
func (c *Core) Open(agentVersion, kernel string) *hoststream.Hello {
	c.sequence, c.gathered = 0, gathered{}
	v := c.want.Version()
	return &hoststream.Hello{
		Version:      &hoststream.Version{Epoch: v.Epoch, Revision: v.Revision},
		Have:         c.want.Hashes(),
		Changes:      !c.whole,
		AgentVersion: agentVersion,
		Kernel:       kernel,
	}
}

// Version is of what the host has.
func (c *Core) Version() desired.Version { return c.want.Version() }

// SetWarm says to which controller a stream is held in reserve; empty: none.
func (c *Core) SetWarm(controller string) { c.warm = controller }

// Apply takes a delta; desired.ErrOlder if it is of an older version.
func (c *Core) Apply(d *hoststream.Delta) error {
	if err := c.want.Apply(d); err != nil {
		c.whole = c.whole || errors.Is(err, desired.ErrUnlike)
		return err
	}
	c.sequence = d.Sequence
	c.known = c.known || c.want.InSync()
	c.checkTaken()
	c.checkAnnounced()
	c.changed()
	return nil
}

// SetPlug says what is known of a port's interface.
func (c *Core) SetPlug(port string, p Plug) {
	if c.plugs[port] != p {
		c.plugs[port] = p
		c.changed()
	}
}

// DropPlug says that a port has no interface here.
func (c *Core) DropPlug(port string) {
	if _, ok := c.plugs[port]; ok {
		delete(c.plugs, port)
		c.changed()
	}
}

// SetCaptured says of which ports, by UUID, somebody captures what they get: to
// these frames go by their interface's egress, where they are seen.
func (c *Core) SetCaptured(ports map[string]bool) {
	if !maps.Equal(c.captured, ports) {
		c.captured = maps.Clone(ports)
		c.changed()
	}
}

// changed notes that ports or plugs did.
func (c *Core) changed() { c.stale, c.carried = true, nil }

// everywhere returns the plugs of all ports: those that somebody plugged, and
// those of sub-ports, which follow from the ports that carry them.
func (c *Core) everywhere() map[string]Plug {
	if c.carried != nil {
		return c.carried
	}
	all, attached := maps.Clone(c.plugs), map[string]datapath.Attachment{}
	rows := c.rows().Ports
	for id, p := range c.plugs {
		if rows[id].Trunk != "" {
			all[id] = Plug{Interface: p.Interface, Failure: "it is a sub-port and plugged by itself: unplug it, and plug the port that carries it"}
		} else if p.Failure == "" {
			attached[id] = p.Attachment
		}
	}
	carried, problems := datapath.Carried(rows, attached)
	for id, a := range carried {
		if _, plugged := c.plugs[id]; !plugged {
			all[id] = Plug{Interface: fmt.Sprintf("%s.%d", c.plugs[rows[id].Trunk].Interface, a.VLAN), Attachment: a}
		}
	}
	for id, why := range problems {
		all[id] = Plug{Failure: why}
	}
	for id := range c.captured {
		if p, there := all[id]; there {
			p.RedirectPeer = false
			all[id] = p
		}
	}
	c.carried = all
	return all
}

// Attached returns the ports that have an interface.
func (c *Core) Attached() map[string]datapath.Attachment { return c.attached() }

func (c *Core) attached() map[string]datapath.Attachment {
	plugs := c.everywhere()
	a := make(map[string]datapath.Attachment, len(plugs))
	for port, p := range plugs {
		if p.Failure == "" {
			a[port] = p.Attachment
		}
	}
	return a
}

// Start lets rounds begin. Before the plugs of an earlier run are known they
// would take the routes to them away.
func (c *Core) Start() { c.started = true }

// Round brings the tables closer to what is wanted and tells whether more
// could be done at once.
func (c *Core) Round(ctx context.Context, now time.Time) (more bool) {
	if !c.started {
		return false
	}
	c.stale = c.arrivals.end(now) || c.stale
	if c.stale {
		rows, attached := c.rows(), c.attached()
		t := datapath.ComputeAfter(c.balanced, rows, attached, c.Underlay(), c.local)
		c.balanced = t.Balanced
		t.Partial = c.want.Partial()
		c.arrivals.look(func(id string) bool { _, bound := rows.Ports[id]; return bound }, attached, now)
		c.arrivals.quieten(&t)
		c.programmer.Want(t)
		c.stale = false
	}
	if c.sweeps() {
		// Once is enough: from here on every row in the kernel is one that this
		// process put there or found wanted.
		c.programmer.Sweep()
		c.swept = true
	}
	c.busy = c.programmer.Round(ctx, now) || c.sweeps()
	return c.busy
}

// sweeps tells whether what is not wanted is to be removed now: all that is
// wanted is known, and nothing is on its way to be wanted.
func (c *Core) sweeps() bool { return c.want.InSync() && !c.swept && !c.programmer.Between() }

// Tried tells whether everything that is wanted has been tried: what is not in
// the kernel now has a reason.
func (c *Core) Tried() bool { return c.started && !c.stale && !c.busy }

// Between tells whether the kernel is on its way from one policy to another.
func (c *Core) Between() bool { return c.programmer.Between() }

// NextAttempt returns when something that failed is due again, or ends.
func (c *Core) NextAttempt() (time.Time, bool) {
	next, any := c.programmer.NextAttempt()
	if ends, quiet := c.arrivals.next(); quiet && (!any || ends.Before(next)) {
		return ends, true
	}
	return next, any
}

// InSync tells whether a controller has delivered everything once.
func (c *Core) InSync() bool { return c.want.InSync() }

// Ack acknowledges the last delta of the stream that was applied with all rows
// that are not in the kernel, and those kept back; nil before the first delta.
func (c *Core) Ack() *hoststream.Ack {
	if c.sequence == 0 && c.gathered.last() == nil {
		return nil
	}
	v := c.want.Version()
	ack := &hoststream.Ack{
		Sequence: c.sequence,
		Kept:     c.gathered.last().GetSequence(),
		Version:  &hoststream.Version{Epoch: v.Epoch, Revision: v.Revision},
	}
	problems := c.Problems()
	for i, key := range slices.Sorted(maps.Keys(problems)) {
		if i == maxRowErrors {
			more := fmt.Sprintf("and %d more rows that are not in the kernel", len(problems)-maxRowErrors)
			ack.Errors = append(ack.Errors, &hoststream.RowError{Key: key, Error: more})
			break
		}
		ack.Errors = append(ack.Errors, &hoststream.RowError{Key: key, Error: problems[key]})
	}
	return ack
}

// Down are the members of load-balancers whose conversations by UDP move on.
func (c *Core) Down() datapath.Down { return c.programmer.Down() }

// Problems returns, by key, the desired rows that are not in the kernel.
func (c *Core) Problems() map[string]string {
	return c.programmer.Problems(c.rows(), c.attached())
}

// Report says how each port of this host is, ordered by UUID.
func (c *Core) Report() *hoststream.Report {
	r := &hoststream.Report{WarmController: c.warm, Taken: c.reportTaken(), Announced: c.reportAnnounced()}
	for _, a := range c.receives {
		r.TunnelAddresses = append(r.TunnelAddresses, a.AsSlice())
	}
	r.Encapsulations = c.underlay.Encapsulations
	r.UnderlayMtu = uint32(c.underlay.MTU)
	r.Tables, r.Features = c.short, []string{featurePolicy, featureHealth, featureStrict, featureBFD}
	if c.local.Balances {
		r.Features = append(r.Features, featureBalance, featureFloats)
	}
	r.Checks, r.Proxies = c.checks, c.proxies
	r.Features = append(r.Features, c.features...)
	ports := c.rows().Ports
	for _, id := range slices.Sorted(maps.Keys(ports)) {
		state, message := c.PortState(id)
		r.Ports = append(r.Ports, &hoststream.PortReport{
			Port: id, State: string(state), Message: message, Interface: c.everywhere()[id].Interface, Policy: c.PolicyProblem(id),
		})
	}
	for _, id := range slices.Sorted(maps.Keys(c.plugs)) {
		if _, bound := ports[id]; !bound && c.want.InSync() {
			r.Warnings = append(r.Warnings, fmt.Sprintf("port %s is plugged on interface %s but not bound to this host: its traffic is stopped", id, c.plugs[id].Interface))
		}
	}
	if n := len(c.want.Unknown); n > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d rows are of kinds that this agent does not know: upgrade it to the controllers' version", n))
	}
	r.Warnings = append(r.Warnings, c.warnings...)
	return r
}

// PortState returns how far a port of this host has come and why not further.
func (c *Core) PortState(id string) (api.PortState, string) {
	p, plugged := c.everywhere()[id]
	switch {
	case !plugged:
		if trunk := c.rows().Ports[id].Trunk; trunk != "" {
			return c.trunkState(trunk)
		}
		return api.PortWaiting, ""
	case p.Failure != "":
		return api.PortFailed, p.Failure
	}
	if why := c.programmer.Waits(p.Ifindex); why != "" {
		return api.PortWaiting, why
	}
	if why := c.programmer.PortProblem(p.Attachment); why != "" {
		return api.PortFailed, why
	}
	if why := c.disabled(id); why != "" {
		return api.PortDisabled, why
	}
	return api.PortUp, ""
}

// PolicyProblem says why a port that is up has a former policy; empty if it has
// the one that is wanted.
func (c *Core) PolicyProblem(id string) string {
	if p, plugged := c.everywhere()[id]; plugged && p.Failure == "" {
		return c.programmer.FormerPolicy(p.Ifindex)
	}
	return ""
}

// Rules are the rules that ports of this host ask, by the numbers under which
// the packet path counts what they decide.
func (c *Core) Rules() map[uint32][]datapath.Numbered { return c.programmer.Rules() }

// RuleNumber is the number of a rule that ports of this host ask.
func (c *Core) RuleNumber(cause desired.Cause) uint32 { return c.programmer.RuleNumber(cause) }

// disabled says why nothing passes a port though all is well; empty if it does.
func (c *Core) disabled(id string) string {
	rows := c.rows()
	return rows.Disabled(rows.Ports[id])
}

// trunkState is the state of a sub-port without interface, by that of the port
// that carries it.
func (c *Core) trunkState(trunk string) (api.PortState, string) {
	if why := c.plugs[trunk].Failure; why != "" {
		return api.PortFailed, fmt.Sprintf("port %s, which carries it: %s", trunk, why)
	}
	return api.PortWaiting, ""
}

// Port returns a port that is bound here, or took reserved addresses, by UUID or fully qualified name.
func (c *Core) Port(ref string) (desired.Port, bool) {
	if p, ok := c.want.FindPort(ref); ok {
		return p, true
	}
	for id, t := range c.taken {
		if id == ref || t.Name == ref {
			return c.rows().Ports[id], true
		}
	}
	return desired.Port{}, false
}

// Reachable returns why traffic for a plugged port does not flow yet: its own
// rows, or the local routes to it, are not in the kernel. Empty if it does.
func (c *Core) Reachable(id string) string {
	if state, why := c.PortState(id); state != api.PortUp && state != api.PortDisabled {
		return fmt.Sprintf("%s %s", state, why)
	}
	problems := c.Problems()
	for key, r := range c.rows().Routes {
		if r.Port != id {
			continue
		}
		if why := problems[desired.RouteRow(key)]; why != "" {
			return why
		}
	}
	return ""
}

// Free tells whether no table refers to an interface any more.
func (c *Core) Free(ifindex int) bool { return !c.stale && c.programmer.InterfaceFree(ifindex) }

// Alias returns the number by which the host path knows the port of an
// interface; 0 if there is none yet.
func (c *Core) Alias(ifindex int) uint32 { return c.programmer.Alias(ifindex) }

// Underlay returns what this host has for tunnels, and may use of it. Reports say
// what it has: what it is told follows from that.
func (c *Core) Underlay() datapath.Underlay { return c.underlay.Within(c.ToldMTU()) }

// ToldMTU is the largest packet that the host is told to send into the underlay;
// 0: it is told nothing.
func (c *Core) ToldMTU() int { return c.want.ToldMTU() }

// Local returns what this host has for its workloads.
func (c *Core) Local() datapath.Local { return c.local }

// SetLocal says that the host has something else for its workloads now.
func (c *Core) SetLocal(local datapath.Local) {
	local.Ways, local.Own = c.local.Ways, c.local.Own
	c.local, c.stale = local, true
}

// SetWays says how the host's own routing is now.
func (c *Core) SetWays(ways []datapath.Way, own []netip.Addr) {
	if !slices.Equal(ways, c.local.Ways) || !slices.Equal(own, c.local.Own) {
		c.local.Ways, c.local.Own, c.stale = ways, own, true
	}
}

// SetChecks says what became of the members that are tried, by UUID; the caller
// must not change it any more.
func (c *Core) SetChecks(all []*hoststream.CheckReport) { c.checks = all }

// SetProxies says how the proxies of this host are; the caller must not change it
// any more.
func (c *Core) SetProxies(all []*hoststream.ProxyReport) { c.proxies = all }

// AddFeature has the host say that it does something that not every one can.
func (c *Core) AddFeature(name string) { c.features = append(c.features, name) }

// SetWarnings says what is wrong with the host's own routing.
func (c *Core) SetWarnings(all []string) { c.warnings = all }

// SetUnderlay says that the host has something else for tunnels now, or other
// ways to others, and at which addresses it receives.
func (c *Core) SetUnderlay(u datapath.Underlay, receives []netip.Addr) {
	c.underlay, c.receives = u, receives
	c.changed()
}

// Labels tells whether packets with an MPLS label are to be taken from the
// underlay: whether a network here has one.
func (c *Core) Labels() bool {
	for _, v := range c.rows().VRFs {
		if v.Labelled {
			return true
		}
	}
	return false
}

// Plugs returns the ports' interfaces, those of sub-ports too.
func (c *Core) Plugs() map[string]Plug { return maps.Clone(c.everywhere()) }

// Rows returns the desired rows, which the caller must not change.
func (c *Core) Rows() desired.Rows { return c.rows() }

// TakeNames returns the names of workloads that changed since it was asked last,
// with what they are now; one without addresses is gone.
func (c *Core) TakeNames() map[desired.NameKey]desired.Name {
	changed := map[desired.NameKey]desired.Name{}
	for _, k := range c.want.TakeNames() {
		changed[k] = c.want.Names[k]
	}
	return changed
}

// Keys returns the keys of the desired rows, ordered.
func (c *Core) Keys() []string { return c.want.Keys() }

// Encode returns the desired rows as a file.
func (c *Core) Encode() ([]byte, error) { return c.want.Encode() }
