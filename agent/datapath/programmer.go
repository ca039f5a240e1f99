// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
)

// maxPasses bounds the passes over the tables in one round. Each pass does
// something, and a chain of rows that wait for each other is six long; more
// passes are only needed for more rows than a batch.
const maxPasses = 64

// Programmer keeps the vRouter's tables as computed. It belongs to one goroutine.
type Programmer struct {
	tables    Tables
	hopTarget *nextHops
	sources   *reconcile.Sync[uint32, []netip.Addr]
	vnis      *reconcile.Sync[uint32, vrouter.VNI]
	addresses *reconcile.Sync[int, []netip.Addr]
	prefixes  *reconcile.Sync[int, []PortPrefix]
	ports     *reconcile.Sync[int, vrouter.Port]
	subPorts  *reconcile.Sync[vrouter.SubPort, int]
	tags      *tags // the table under it
	limits    *reconcile.Sync[int, vrouter.Limits]
	hops      *reconcile.Sync[vrouter.NextHop, struct{}]
	routes    *reconcile.Sync[vrouter.RouteKey, Route]
	gaps      gaps
	services  *reconcile.Sync[vrouter.Service, uint16]
	aliases   *reconcile.Sync[uint32, int]
	macs      *reconcile.Sync[vrouter.MACKey, vrouter.NextHop]
	floods    *reconcile.Sync[uint32, Flood]
	enforcement
	service    service
	transition *transition // nil: what is wanted is in the Syncs
	given      Tables      // what was wanted last
	began      bool        // something was wanted before that
	held       *heldPolicy // nil: there is no hold
	term       term
}

// NewProgrammer returns a Programmer. Call Load before anything else.
func NewProgrammer(k Kernel) *Programmer {
	p := &Programmer{}
	hopTarget := &nextHops{table: k.NextHops, groups: k.Groups, ids: map[vrouter.NextHop][]uint32{}, words: map[uint32]vrouter.NextHop{}, members: map[uint32][]uint32{}}
	p.hopTarget = hopTarget
	refs := map[vrouter.NextHop]int{} // from all tables
	routeTarget := &routes{table: k.Routes, hopUses: newHopUses[vrouter.RouteKey](hopTarget, refs)}
	p.sources = reconcile.New(tunnelSources(k.TunnelSources), reconcile.Options[uint32, []netip.Addr]{
		Name: "tunnel sources of VNI", Compare: cmp.Compare[uint32], Equal: slices.Equal[[]netip.Addr],
		Free: func(vni uint32) error {
			return when(p.mayCheck(vni), "VNI %d still checks its tunnel sources", vni)
		},
	})
	p.vnis = reconcile.New(plain[uint32, vrouter.VNI]{k.VNIs}, reconcile.Options[uint32, vrouter.VNI]{
		Name: "vni", Compare: cmp.Compare[uint32], Equal: same[vrouter.VNI], Ready: p.sourcesReady,
	})
	p.addresses = reconcile.New(portAddresses(k.PortAddresses), reconcile.Options[int, []netip.Addr]{
		Name: "addresses of interface", Compare: cmp.Compare[int], Equal: slices.Equal[[]netip.Addr],
		Free: func(ifindex int) error {
			return when(p.ports.MayHave(ifindex), "port on interface %d is not removed yet", ifindex)
		},
	})
	p.prefixes = reconcile.New(&portPrefixes{table: k.PortPrefixes, there: map[int]map[vrouter.PortPrefix]held{}}, reconcile.Options[int, []PortPrefix]{
		Name: "prefixes of interface", Compare: cmp.Compare[int], Equal: slices.Equal[[]PortPrefix],
		Free: func(ifindex int) error {
			return when(p.ports.MayHave(ifindex), "port on interface %d is not removed yet", ifindex)
		},
	})
	p.ports = reconcile.New(ports{plain[int, vrouter.Port]{k.Ports}, k.Forget}, reconcile.Options[int, vrouter.Port]{
		Name: "port on interface", Compare: cmp.Compare[int], Equal: same[vrouter.Port],
		Ready: func(ifindex int, port vrouter.Port) error {
			st, wanted := p.addresses.Status(ifindex)
			if err := when(!wanted || st.State != reconcile.Done, "addresses of interface %d are not programmed yet", ifindex); err != nil {
				return err
			}
			st, wanted = p.prefixes.Status(ifindex)
			if err := when(!wanted || st.State != reconcile.Done, "prefixes of interface %d are not programmed yet", ifindex); err != nil {
				return err
			}
			return p.policyReady(ifindex, port)
		},
		Free: p.notCarried,
	})
	p.addSubPorts(k)
	p.addLimits(k)
	p.addEnforcement(k)
	p.addRouting(k, hopTarget, routeTarget)
	p.services = reconcile.New(plain[vrouter.Service, uint16]{k.Services}, reconcile.Options[vrouter.Service, uint16]{
		Name: "service", Compare: compareServices, Equal: same[uint16],
	})
	p.aliases = reconcile.New(plain[uint32, int]{k.Aliases}, reconcile.Options[uint32, int]{
		Name: "alias", Compare: cmp.Compare[uint32], Equal: same[int],
	})
	p.bridge(k, hopTarget, refs)
	p.addService(k, hopTarget, refs)
	p.addFloats(k)
	return p
}

// addRouting adds next hops, groups of them, and routes.
func (p *Programmer) addRouting(k Kernel, hopTarget *nextHops, routeTarget *routes) {
	p.hops = reconcile.New(hopTarget, reconcile.Options[vrouter.NextHop, struct{}]{
		Name: "next hop", Compare: compareHops, Equal: same[struct{}],
		Ready: func(hop vrouter.NextHop, _ struct{}) error {
			for _, m := range hopTarget.contents[hop.Group].Members {
				st, wanted := p.hops.Status(m.NextHop)
				if err := when(!wanted || st.State != reconcile.Done, "next hop %+v is not programmed yet", m.NextHop); err != nil {
					return err
				}
			}
			if hop.Kind == vrouter.NextHopMapped {
				return p.service.mappingReady(hop.Mapping)
			}
			return nil
		},
		Free: func(hop vrouter.NextHop) error {
			if err := when(hopTarget.isMember(hop), "a group still has next hop %+v as a member", hop); err != nil {
				return err
			}
			return when(routeTarget.refs[hop] > 0, "%d routes, MACs and receivers still lead to next hop %+v", routeTarget.refs[hop], hop)
		},
	})
	p.routes = reconcile.New(routeTarget, reconcile.Options[vrouter.RouteKey, Route]{
		Name: "route", Compare: CompareRoutes, Equal: same[Route],
		Ready: func(_ vrouter.RouteKey, r Route) error {
			return p.hopReady(r.NextHop)
		},
	})
	p.gaps = newGaps(k.Gaps)
	routeTarget.placed = p.gaps.taken
}

// bridge makes the reconcilers of what networks do with frames.
func (p *Programmer) bridge(k Kernel, hops *nextHops, refs map[vrouter.NextHop]int) {
	p.macs = reconcile.New(&macs{table: k.MACs, hopUses: newHopUses[vrouter.MACKey](hops, refs)}, reconcile.Options[vrouter.MACKey, vrouter.NextHop]{
		Name: "MAC", Compare: CompareMACs, Equal: same[vrouter.NextHop],
		Ready: func(_ vrouter.MACKey, hop vrouter.NextHop) error { return p.hopReady(hop) },
	})
	target := &floods{lists: k.Floods, receivers: k.Receivers, hopUses: newHopUses[vrouter.Receiver](hops, refs), places: map[uint32]map[int]place{}}
	p.floods = reconcile.New(target, reconcile.Options[uint32, Flood]{
		Name: "receivers of VRF", Compare: cmp.Compare[uint32], Equal: sameFlood,
		Ready: func(_ uint32, f Flood) error {
			for _, hop := range f.Hops {
				if err := p.hopReady(hop); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// hopReady says that a next hop is not in the kernel yet, if so.
func (p *Programmer) hopReady(hop vrouter.NextHop) error {
	st, wanted := p.hops.Status(hop)
	return when(!wanted || st.State != reconcile.Done, "next hop %+v is not programmed yet", hop)
}

// CompareMACs orders MACs by VRF.
func CompareMACs(a, b vrouter.MACKey) int {
	return cmp.Or(cmp.Compare(a.VRF, b.VRF), slices.Compare(a.MAC[:], b.MAC[:]))
}

// mayCheck tells whether the kernel may be checking the sources of a VNI.
func (p *Programmer) mayCheck(vni uint32) bool {
	v, known := p.vnis.Applied(vni)
	return p.vnis.MayHave(vni) && (!known || v.CheckSources)
}

// sourcesReady lets a VNI check its sources when all of them are in the
// kernel: what it carried before must not stop. A VNI that carries nothing yet
// does not wait for sources that the table refuses; the others may send.
func (p *Programmer) sourcesReady(vni uint32, v vrouter.VNI) error {
	st, wanted := p.sources.Status(vni)
	waits := !wanted || st.State == reconcile.Pending || st.State == reconcile.Failed && p.vnis.MayHave(vni)
	return when(v.CheckSources && waits, "tunnel sources of VNI %d are not programmed yet", vni)
}

func same[V comparable](a, b V) bool { return a == b }

// when returns an error if the condition holds.
func when(condition bool, format string, args ...any) error {
	if !condition {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func compareServices(a, b vrouter.Service) int {
	return cmp.Or(cmp.Compare(a.VRF, b.VRF), a.Address.Compare(b.Address), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

func compareHops(a, b vrouter.NextHop) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Ifindex, b.Ifindex), cmp.Compare(a.VNI, b.VNI), a.Remote.Compare(b.Remote), cmp.Compare(a.MTU, b.MTU),
		cmp.Compare(a.Encapsulation, b.Encapsulation), a.Local.Compare(b.Local), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Mapping, b.Mapping))
}

// CompareRoutes orders routes by VRF, family, address and length.
func CompareRoutes(a, b vrouter.RouteKey) int {
	return cmp.Or(cmp.Compare(a.VRF, b.VRF), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
}

// Load reads the kernel's tables, which an earlier run may have filled.
func (p *Programmer) Load(ctx context.Context) error {
	return errors.Join(
		p.sources.Load(ctx),
		p.vnis.Load(ctx),
		p.addresses.Load(ctx),
		p.prefixes.Load(ctx),
		p.managed.Load(ctx),
		p.rulesets.Load(ctx),
		p.policies.Load(ctx),
		p.ports.Load(ctx),
		p.subPorts.Load(ctx),
		p.limits.Load(ctx),
		p.hops.Load(ctx), // before routes, which are read as next hops
		p.routes.Load(ctx),
		p.gaps.Load(ctx),
		p.services.Load(ctx),
		p.aliases.Load(ctx),
		p.macs.Load(ctx),
		p.floods.Load(ctx),
		p.service.load(ctx),
	)
}

// Want sets what the tables should have.
func (p *Programmer) Want(t Tables) {
	p.given = t
	defer func() { p.began = true }()
	fits, leftOut := p.service.admit(t.Balanced)
	if t.Balanced = fits; len(leftOut) > 0 {
		t.Problems = maps.Clone(t.Problems)
		maps.Copy(t.Problems, leftOut)
	}
	p.followHold(&t)
	if p.transition = p.transitionTo(&t); p.transition != nil {
		p.advance()
		return
	}
	if p.holds(&t) {
		p.hold(t.Hold.ID, moves{})
	}
	p.followMembers(&t)
	p.want(t)
}

func (p *Programmer) want(t Tables) {
	p.applyPolicies(&t)
	p.tables = t
	p.sources.Want(t.TunnelSources)
	p.vnis.Want(t.VNIs)
	p.addresses.Want(t.PortAddresses)
	p.prefixes.Want(t.PortPrefixes)
	p.ports.Want(p.asking(t.Ports))
	p.subPorts.Want(t.SubPorts)
	p.limits.Want(t.Limits)
	p.hopTarget.contents = t.Groups
	p.hops.Want(t.NextHops)
	p.routes.Want(t.Routes)
	p.gaps.stale = true
	p.services.Want(t.Services)
	p.aliases.Want(t.Aliases)
	p.macs.Want(t.MACs)
	p.floods.Want(t.Floods)
	p.service.serve(t)
}

// Sweep schedules the removal of everything that is in the tables and not
// wanted. The tables are all ours; the caller vouches that what is wanted is
// complete.
func (p *Programmer) Sweep() {
	if tr := p.transition; tr != nil { // what is on its way to be wanted must not be swept
		p.transition = nil
		if tr.holds {
			p.meetNewRules(tr)
		} else {
			p.followMembers(&tr.goal)
			p.want(tr.goal)
		}
	}
	p.sources.Sweep()
	p.vnis.Sweep()
	p.addresses.Sweep()
	p.prefixes.Sweep()
	p.managed.Sweep()
	p.rulesets.Sweep()
	p.policies.Sweep()
	p.ports.Sweep()
	p.subPorts.Sweep()
	p.limits.Sweep()
	p.hops.Sweep()
	p.routes.Sweep()
	p.gaps.sweeps = true
	p.services.Sweep()
	p.aliases.Sweep()
	p.macs.Sweep()
	p.floods.Sweep()
	p.service.sweep()
}

// Round does what is due and tells whether there is more that could be done at
// once, because the context ended or there is very much.
func (p *Programmer) Round(ctx context.Context, now time.Time) (more bool) {
	p.timeHold(now)
	for range maxPasses {
		done := p.pass(ctx, now)
		if ctx.Err() != nil {
			return true
		}
		if done == 0 && !p.advance() && !p.releaseMembers() && !p.letGo(now) && !p.followGaps() {
			return false
		}
	}
	return true
}

// pass goes over all tables once: first what frames will need, bottom up, then
// what they no longer use, top down.
func (p *Programmer) pass(ctx context.Context, now time.Time) (done int) {
	done += p.service.sendUpdates(ctx, now)
	done += p.sources.Updates(ctx, now)
	done += p.vnis.Updates(ctx, now)
	done += p.addresses.Updates(ctx, now)
	done += p.prefixes.Updates(ctx, now)
	done += p.managed.Updates(ctx, now)
	done += p.policyUpdates(ctx, now)
	done += p.limits.Updates(ctx, now)
	done += p.ports.Updates(ctx, now)
	done += p.subPorts.Updates(ctx, now)
	done += p.hops.Updates(ctx, now)
	done += p.service.updates(ctx, now)
	done += p.gaps.count(p.routes.Updates(ctx, now))
	done += p.gaps.Updates(ctx, now)
	done += p.services.Updates(ctx, now)
	done += p.aliases.Updates(ctx, now)
	done += p.macs.Updates(ctx, now)
	done += p.floods.Updates(ctx, now)

	done += p.floods.Deletes(ctx, now)
	done += p.macs.Deletes(ctx, now)
	done += p.aliases.Deletes(ctx, now)
	done += p.services.Deletes(ctx, now)
	done += p.gaps.Deletes(ctx, now)
	done += p.gaps.count(p.routes.Deletes(ctx, now))
	done += p.service.deletes(ctx, now)
	done += p.hops.Deletes(ctx, now)
	done += p.subPorts.Deletes(ctx, now)
	done += p.ports.Deletes(ctx, now)
	done += p.limits.Deletes(ctx, now)
	done += p.policies.Deletes(ctx, now)
	done += p.rulesets.Deletes(ctx, now)
	done += p.managed.Deletes(ctx, now)
	done += p.prefixes.Deletes(ctx, now)
	done += p.addresses.Deletes(ctx, now)
	done += p.vnis.Deletes(ctx, now)
	done += p.sources.Deletes(ctx, now)
	return done
}

// Settled tells whether the tables are as wanted.
func (p *Programmer) Settled() bool {
	return p.sources.Settled() && p.vnis.Settled() && p.addresses.Settled() && p.prefixes.Settled() && p.ports.Settled() && p.subPorts.Settled() && p.limits.Settled() && p.hops.Settled() && p.routes.Settled() && p.gaps.Settled() &&
		p.services.Settled() && p.aliases.Settled() && p.macs.Settled() && p.floods.Settled() &&
		p.managed.Settled() && p.rulesets.Settled() && p.policies.Settled() && p.service.settled()
}

// NextAttempt returns when a failed row is due again; false if there is none.
func (p *Programmer) NextAttempt() (time.Time, bool) {
	var first time.Time
	for _, next := range append(p.service.attempts(),
		p.sources.NextAttempt, p.vnis.NextAttempt, p.addresses.NextAttempt, p.prefixes.NextAttempt, p.ports.NextAttempt, p.subPorts.NextAttempt, p.limits.NextAttempt, p.hops.NextAttempt, p.routes.NextAttempt, p.gaps.NextAttempt,
		p.services.NextAttempt, p.aliases.NextAttempt, p.macs.NextAttempt, p.floods.NextAttempt,
		p.managed.NextAttempt, p.rulesets.NextAttempt, p.policies.NextAttempt, p.nextWait, p.nextTerm,
	) {
		if t, ok := next(); ok && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first, !first.IsZero()
}

// Alias returns the number of the port on an interface, 0 if it has none.
func (p *Programmer) Alias(ifindex int) uint32 { return p.tables.Ports[ifindex].Alias }

// InterfaceFree tells whether no table may refer to an interface any more.
func (p *Programmer) InterfaceFree(ifindex int) bool {
	for vlan := range uint16(vrouter.VLANs) {
		if p.subPorts.MayHave(vrouter.SubPort{Device: ifindex, VLAN: vlan}) {
			return false
		}
	}
	return !p.service.maps(ifindex) && !p.ports.MayHave(ifindex) && !p.policies.MayHave(ifindex) && !p.addresses.MayHave(ifindex) && !p.prefixes.MayHave(ifindex) && !p.limits.MayHave(ifindex) &&
		!p.hops.MayHave(vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: ifindex})
}
