// SPDX-License-Identifier: Apache-2.0

// Package trace says what becomes of a packet on this host, without sending
// one: the packet path's own programs, compiled to record instead of acting,
// run once on the live tables and change none of them.
package trace

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// Path is what is needed of the packet path; *vrouter.Datapath is one.
type Path interface {
	NewTracer() (*vrouter.Tracer, error)
	LongestRoute(vrf uint32, to netip.Addr) (netip.Prefix, vrouter.Route, bool, error)
	ConnectionAt(vrouter.ConnectionKey) (vrouter.Connection, bool, error)
	Config() (vrouter.Config, error)
}

// Underlay asks the kernel how a tunnel packet would travel: what was asked,
// and what it said.
type Underlay interface {
	Toward(remote, local netip.Addr) [][2]string
	OwnRoute(to, source netip.Addr, device string) (link.OwnRoute, error)
}

// Tracer answers questions, one at a time. The kernel needs seconds to check the
// programs, so they stay for a while after a question: most come in a row.
type Tracer struct {
	Path     Path
	NextHops interface {
		Get(uint32) (vrouter.NextHop, bool, error)
	}
	Loop     *host.Loop
	Underlay Underlay

	one  sync.Mutex // held during a question; guards what follows
	kept *vrouter.Tracer
	idle *time.Timer
}

// keep is how long the programs stay loaded that nobody asks.
const keep = time.Minute

// open returns the loaded programs.
func (t *Tracer) open() (*vrouter.Tracer, error) {
	if t.idle != nil {
		t.idle.Stop()
	}
	if t.kept == nil {
		loaded, err := t.Path.NewTracer()
		if err != nil {
			return nil, fmt.Errorf("trace: %w", err)
		}
		t.kept = loaded
	}
	t.idle = time.AfterFunc(keep, t.drop)
	return t.kept, nil
}

// drop lets go of the programs.
func (t *Tracer) drop() {
	t.one.Lock()
	defer t.one.Unlock()
	if t.kept != nil {
		t.kept.Close()
		t.kept = nil
	}
}

// place is what the agent knows of ports and networks for one question.
type place struct {
	ports    map[int]string    // UUID by interface
	tagged   map[tag]string    // UUIDs of sub-ports
	names    map[string]string // of ports, by UUID
	devices  map[int]string
	port     desired.Port // that the packet comes from
	ifindex  int
	tag      tag // of a sub-port, by which its frames come
	state    api.PortState
	why      string
	underlay datapath.Underlay
}

// tag is the interface and the VLAN of a sub-port.
type tag struct{ device, vlan int }

// answer collects the rows of a trace.
type answer struct {
	*Tracer
	*place
	ctx    context.Context // of the question
	tracer *vrouter.Tracer
	table  api.Table
}

func (a *answer) add(item, value, how string) {
	a.table.Rows = append(a.table.Rows, []string{item, value, how})
}

// Trace answers a question; query is its words.
func (t *Tracer) Trace(ctx context.Context, query string) (api.Table, error) {
	q, err := api.ParseTraceQuestion(query)
	if err != nil {
		return api.Table{}, err
	}
	t.one.Lock()
	defer t.one.Unlock()
	w, err := t.look(ctx, q.Port)
	if err != nil {
		return api.Table{}, err
	}
	a := &answer{Tracer: t, place: w, ctx: ctx, table: api.Table{Columns: []string{"ITEM", "VALUE", "HOW"}}}
	if q.Port != "" && !a.canSend() {
		return a.table, nil
	}
	if a.tracer, err = t.open(); err != nil {
		return api.Table{}, err
	}
	a.tracer.Answers, a.tracer.AnswersHost = q.Reply, q.ReplyToHost
	switch {
	case q.Frame != "":
		err = a.arrive(q)
	case q.Host:
		err = a.fromOwn(q)
	case !q.To.IsValid():
		err = a.fromPortFrame(q)
	default:
		err = a.fromPort(q)
	}
	return a.table, err
}

// look asks the loop for what it knows; port is a UUID, a name, or empty.
func (t *Tracer) look(ctx context.Context, port string) (*place, error) {
	w := &place{ports: map[int]string{}, devices: map[int]string{}, tagged: map[tag]string{}, names: map[string]string{}}
	known := port == ""
	err := t.Loop.Do(ctx, func(c *host.Core) {
		w.underlay = c.Underlay()
		for id, p := range c.Plugs() {
			if p.Failure == "" {
				w.ports[p.Ifindex], w.devices[p.Ifindex] = id, p.Interface
				w.names[id] = c.Rows().Ports[id].Name
				if p.Device != 0 {
					w.tagged[tag{p.Device, int(p.VLAN)}] = id
				}
			}
		}
		if port == "" {
			return
		}
		if w.port, known = c.Port(port); known {
			w.state, w.why = c.PortState(w.port.ID)
			if p, plugged := c.Plugs()[w.port.ID]; plugged && p.Failure == "" {
				w.ifindex, w.tag = p.Ifindex, tag{p.Device, int(p.VLAN)}
			}
		}
	})
	if err == nil && !known {
		err = fmt.Errorf("trace: port %s is not bound to this host", port)
	}
	return w, err
}

// canSend says where the packet begins, and whether there is an interface at all.
func (a *answer) canSend() bool {
	words := fmt.Sprintf("%s, state %s", a.port.Name, a.state)
	if a.why != "" {
		words += ": " + a.why
	}
	a.add("port", words, api.ReadHow)
	if a.ifindex == 0 {
		a.add(api.TraceVerdict, "none", api.ReadHow)
		a.add(api.TraceText, "no workload is plugged to the port, so nothing can come from it", api.ReadHow)
		return false
	}
	a.add("interface", fmt.Sprintf("%s, VRF %d, MAC %v", a.devices[a.ifindex], a.port.VRF, vrouter.MAC(a.port.MAC)), api.ReadHow)
	return true
}

// fromPort follows a packet that the workload sends.
func (a *answer) fromPort(q api.TraceQuestion) error {
	p, err := packetOf(q)
	if err != nil {
		return err
	}
	p.source = a.port.MAC
	if !p.from.IsValid() && !a.chooseSource(&p) {
		a.add(api.TraceVerdict, "none", api.ReadHow)
		a.add(api.TraceText, fmt.Sprintf("the port has no address of the family of %v", p.to), api.ReadHow)
		return nil
	}
	if q.ToMAC != "" {
		if p.destined, err = q.ToMAC.Bytes(); err != nil {
			return err
		}
		a.add("neighbour", fmt.Sprintf("nobody is asked: the packet is sent to %s", q.ToMAC), api.ReadHow)
	} else if sent, err := a.resolve(&p); err != nil || !sent {
		return err
	}
	a.sent(p)
	trace, err := a.send(p.build())
	if err != nil {
		return err
	}
	a.connection(p)
	return a.tell(trace, a.port.VRF, p.from, p.to)
}

// sent says which packet is tried.
func (a *answer) sent(p packet) {
	a.add("packet", p.String(), api.ReadHow)
	a.add(api.TraceFrom, p.from.String(), api.ReadHow)
	a.add(api.TraceTo, p.to.String(), api.ReadHow)
	a.add(api.TraceProtocol, strconv.Itoa(int(p.protocol)), api.ReadHow)
}

// send tries a frame from the port's interface, with the tag of a sub-port.
func (a *answer) send(frame []byte) (vrouter.Trace, error) {
	if a.tag.device == 0 {
		return a.tracer.FollowFromPort(a.ifindex, frame)
	}
	tagged := append(append([]byte(nil), frame[:12]...), 0x81, 0, byte(a.tag.vlan>>8), byte(a.tag.vlan))
	return a.tracer.FollowFromPort(a.tag.device, append(tagged, frame[12:]...))
}

// chooseSource takes the port's address that is nearest to the destination, as
// a workload would.
func (a *answer) chooseSource(p *packet) bool {
	for _, x := range a.port.Addresses {
		near := x.Prefix.Contains(p.to)
		if x.Prefix.Addr().Is4() == p.to.Is4() && (near || !p.from.IsValid()) {
			if p.from = x.Prefix.Addr(); near {
				break
			}
		}
	}
	return p.from.IsValid()
}

// resolve does what the workload's kernel does first: it asks for the MAC of
// the destination if that is on its link, else of its gateway.
func (a *answer) resolve(p *packet) (sent bool, err error) {
	p.destined = vrouter.GatewayMAC
	target, what := netip.Addr{}, "gateway"
	for _, x := range a.port.Addresses {
		switch {
		case x.Prefix.Contains(p.to):
			target, what = p.to, "neighbour"
		case x.Gateway.Is4() == p.to.Is4() && x.Gateway.IsValid() && !target.IsValid():
			target = x.Gateway
		}
	}
	if !target.IsValid() || target.Is6() && target.IsLinkLocalUnicast() {
		a.add("neighbour", "the port's subnets have no gateway; the packet is sent to the vRouter's MAC all the same", api.ReadHow)
		return true, nil
	}
	asks := a.asker(p, target)
	o, err := a.send(whoHas(p.source, asks, target))
	if err != nil {
		return false, err
	}
	if mac, ok := answeredMAC(o.Frame, target.Is6()); ok && o.Verdict == "answered" {
		p.destined = mac
		a.add("neighbour", fmt.Sprintf("%s %v is at %v", what, target, mac), api.TracedHow)
		return true, nil
	}
	if o.Verdict == "flooded" {
		a.add("neighbour", fmt.Sprintf("the workload's question for %s %v goes to all of its network; to go on with the MAC of who answers, name it", what, target), api.TracedHow)
		return false, a.tell(o, a.port.VRF, asks, target)
	}
	a.add("neighbour", fmt.Sprintf("nobody answers the workload's question for %s %v, so it does not send the packet", what, target), api.TracedHow)
	return false, a.tell(o, a.port.VRF, asks, target)
}

// asker is the address from which the workload asks for its neighbour.
func (a *answer) asker(p *packet, target netip.Addr) netip.Addr {
	for _, x := range a.port.Addresses {
		if x.Prefix.Addr() == p.from || x.Prefix.Addr().Is4() == target.Is4() && x.Prefix.Contains(target) {
			return x.Prefix.Addr()
		}
	}
	return p.from
}

// connection tells what the sender's end remembers.
func (a *answer) connection(p packet) {
	key := vrouter.ConnectionKey{Ifindex: a.ifindex, Protocol: p.protocol, Local: netip.AddrPortFrom(p.from, p.sport), Remote: netip.AddrPortFrom(p.to, p.dport)}
	if p.protocol == protocolICMP || p.protocol == protocolICMPv6 {
		return // an echo of a trace is of no conversation
	}
	c, found, err := a.Path.ConnectionAt(key)
	switch {
	case err != nil:
		a.add("connection", "cannot be read: "+err.Error(), api.ReadHow)
	case !found:
		a.add("connection", "none yet: this would be its first packet", api.ReadHow)
	default:
		a.add("connection", fmt.Sprintf("%v, idle for %v", c.State, c.Idle), api.ReadHow)
	}
}

// tell writes the stages that a frame met, and its end.
func (a *answer) tell(t vrouter.Trace, vrf uint32, from, to netip.Addr) error {
	t, err := a.label(t)
	if err != nil {
		return err
	}
	reasons, err := vrouter.Reasons()
	if err != nil {
		return err
	}
	var reason vrouter.Reason
	if n := slices.IndexFunc(reasons, func(r vrouter.Reason) bool { return r.Name == t.Reason }); n >= 0 && t.Reason != "" {
		reason = reasons[n]
	}
	stages := t.Stages
	if reason.Stage != "" && !slices.Contains(stages, reason.Stage) {
		stages = append(stages, reason.Stage)
	}
	for _, s := range stages {
		a.add(api.TraceStage, s+": "+a.found(s, t, reason), api.TracedHow)
	}
	if t.Led {
		a.add("shortcut", "its connection knew the way: spoof, neighbour and route were decided by an earlier packet", api.TracedHow)
	}
	if err := a.route(t, vrf, to); err != nil {
		return err
	}
	if err := a.policy(t, from, to); err != nil {
		return err
	}
	a.end(t, reason)
	return nil
}

// found is what a stage did with the frame.
func (a *answer) found(stage string, t vrouter.Trace, reason vrouter.Reason) string {
	switch {
	case stage == reason.Stage:
		return t.Verdict + ", " + reason.Name
	case stage == "encap" && t.Tunnel != nil && t.Tunnel.Encapsulation == vrouter.EncapsulationMPLSUDP:
		return fmt.Sprintf("label %d to %v by MPLS over UDP", t.Tunnel.VNI, t.Tunnel.Remote)
	case stage == "encap" && t.Tunnel != nil:
		return fmt.Sprintf("VNI %d to %v", t.Tunnel.VNI, t.Tunnel.Remote)
	case stage == "label" && t.Tunnel != nil:
		return fmt.Sprintf("from %v to %v, %d bytes with the outer headers", t.Tunnel.Local, t.Tunnel.Remote, len(t.Frame)-ethernetSize)
	case stage == "answer" && t.Verdict == "answered":
		return "the sender is told"
	case stage == "answer":
		return "the sender is not told"
	case stage == "deliver":
		return "to interface " + a.devices[t.Redirect]
	case stage == endOf(t):
		return t.Verdict
	}
	return "passed"
}

// ends are the stages that may be the end of a frame without a reason, the last
// of those that it met is.
var ends = map[string][]string{
	"answered": {"neighbour"}, "handed": {"neighbour", "request"}, "hosted": {"service", "leave"}, "routed": {"leave"}, "flooded": {"bridge"},
}

func endOf(t vrouter.Trace) (end string) {
	for _, s := range t.Stages {
		if t.Reason == "" && slices.Contains(ends[t.Verdict], s) {
			end = s
		}
	}
	return end
}

// route tells the route the frame took, or that it would have found.
func (a *answer) route(t vrouter.Trace, vrf uint32, to netip.Addr) error {
	if !to.IsValid() || t.Route == nil && !slices.Contains(vrouter.Routeless, t.Reason) {
		return nil
	}
	prefix, route, found, err := a.Path.LongestRoute(vrf, to)
	if err != nil {
		return err
	}
	origin, err := a.desired(vrf, to, prefix, found)
	if err != nil {
		return err
	}
	if !found && prefix.IsValid() {
		a.add("route", fmt.Sprintf("none to %v in VRF %d: there is no room for all of its routes in %v", to, vrf, prefix), api.ReadHow)
		return nil
	}
	if !found {
		a.add("route", fmt.Sprintf("none to %v in VRF %d", to, vrf), api.ReadHow)
		return nil
	}
	hop, there, err := a.NextHops.Get(route.NextHop)
	if err != nil {
		return err
	}
	words := fmt.Sprintf("%v in VRF %d: %s", prefix, vrf, a.hop(hop, there))
	if route.Routed {
		words += ", routed"
	}
	if route.MTU != 0 {
		words += fmt.Sprintf(", MTU %d", route.MTU)
	}
	a.add("route", words+origin, api.ReadHow)
	return nil
}

// desired says where the kernel's route comes from, and tells of a longer one
// that the host should have and has not: its table was full, or it is about to
// come. Where none is found, a prefix is that of a gap.
func (a *answer) desired(vrf uint32, to netip.Addr, have netip.Prefix, found bool) (origin string, err error) {
	err = a.Loop.Do(a.ctx, func(c *host.Core) {
		routes, least := c.Rows().Routes, max(0, have.Bits()) // of no prefix, these are -1
		if found {
			least++
		}
		for bits := to.BitLen(); bits >= least; bits-- {
			key := desired.RouteKey{VRF: vrf, Prefix: netip.PrefixFrom(to, bits).Masked()}
			if _, wanted := routes[key]; wanted {
				why := cmp.Or(c.Problems()[desired.RouteRow(key)], "it is not programmed yet")
				a.add("missing route", fmt.Sprintf("%v is to be in VRF %d and is not: %s", key.Prefix, vrf, why), api.ReadHow)
				return
			}
		}
		if row, ok := routes[desired.RouteKey{VRF: vrf, Prefix: have}]; ok && row.Origin != "" {
			origin = ", from " + row.Origin
			if row.Leaked != "" {
				origin += " by " + row.Leaked
			}
		}
	})
	return origin, err
}

func (a *answer) hop(n vrouter.NextHop, there bool) string {
	if !there {
		return "a next hop that is not there"
	}
	switch n.Kind {
	case vrouter.NextHopPort:
		return "port on interface " + a.devices[n.Ifindex]
	case vrouter.NextHopTunnel:
		return fmt.Sprintf("tunnel to %v with VNI %d, MTU %d", n.Remote, n.VNI, n.MTU)
	case vrouter.NextHopGateway:
		return "the vRouter itself"
	}
	return n.Kind.String()
}
