// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/shards"
)

// Derive computes everything that follows from the objects.
//
// References that lead nowhere have a defined outcome: a security-group that is
// missing allows nothing; a tag, policy, set or rule that is missing is none; a
// rule whose address-group or service-group is missing matches nothing.
func Derive(d *routing.Derived) *Derived {
	u := newUpdate(&Derived{}, d, listed(d.Snapshot))
	u.global, u.Holds = globalSets(d.Snapshot), holdsOf(d.Snapshot)
	for _, n := range d.Networks {
		u.sharing[n.Ref.UUID] = true
		for _, p := range n.Ports() {
			u.ports.add(p.Ref.UUID)
		}
		u.noteReserved(n)
		u.noteVirtual(nil, n)
	}
	return u.run()
}

// Update computes what Derive does of d, from what was derived earlier and the
// events in between, and looks only at what they touch.
func Update(earlier *Derived, d *routing.Derived, events []api.Event) *Derived {
	indexed, ok := d.Snapshot.(routing.Indexed)
	if !ok {
		return Derive(d)
	}
	u := newUpdate(earlier, d, indexes{indexed})
	u.moved()
	for _, e := range events {
		if e.Type == api.EventPut && e.Was != nil && e.Was.Head().Meta.Revision == e.Object.Head().Meta.Revision {
			continue // only its status, of which routing has told
		}
		if e.Kind == api.KindDraft {
			u.Holds = holdsOf(d.Snapshot)
		}
		u.touch(e)
	}
	return u.run()
}

// update is one computation.
type update struct {
	*Derived // as it becomes
	earlier  *Derived
	snapshot api.Snapshot
	objects  objects
	turn     *turn
	hasher   hasher
	builder  builder
	// What a host needs is gathered in the same place for all.
	hostRulesets  []*Ruleset
	hostSelectors []string

	writePorts     shards.Writer[string, *Port]
	writeClasses   shards.Writer[uint64, *class]
	writeSelectors shards.Writer[string, held[*Selector]]
	writeRulesets  shards.Writer[string, held[*Ruleset]]
	writeHosts     shards.Writer[string, *Host]
	writeMembers   shards.Writer[string, *Members]
	writeShared    shards.Writer[string, []uint64]
	writeWorkloads shards.Writer[atom, *list[*Workload]]
	writeSelecting shards.Writer[atom, *list[string]]
	writeNamers    shards.Writer[atom, *list[uint64]]

	ports    noted[string]   // that may be others
	stale    noted[uint64]   // classes whose rulesets may be others
	emptied  map[uint64]bool // classes that something left
	sharing  map[string]bool // networks whose shared addresses may be others
	became   map[string]*Port
	came     []*Workload
	went     []*Workload
	grew     map[string]bool // selectors whose workloads are others
	onHosts  map[string]bool // hosts whose ports are others
	made     []*Ruleset
	released []*Ruleset

	groups   map[string][Directions]*Ruleset // by the groups
	networks map[string][Directions]*Ruleset // by network, where no rule names addresses at the port's side, nor ports
	asked    asked
}

func newUpdate(earlier *Derived, d *routing.Derived, objects objects) *update {
	now := *earlier
	now.Routing = d
	u := &update{
		Derived: &now, earlier: earlier, snapshot: d.Snapshot, objects: objects, turn: &turn{},
		emptied: map[uint64]bool{}, sharing: map[string]bool{},
		became: map[string]*Port{}, grew: map[string]bool{}, onHosts: map[string]bool{},
		groups: map[string][Directions]*Ruleset{}, networks: map[string][Directions]*Ruleset{},
	}
	u.writePorts.Map, u.writeClasses.Map, u.writeSelectors.Map = &now.ports, &now.classes, &now.selectors
	u.writeRulesets.Map, u.writeHosts.Map, u.writeMembers.Map = &now.rulesets, &now.hosts, &now.members
	u.writeShared.Map, u.writeWorkloads.Map, u.writeSelecting.Map = &now.shared, &now.workloads, &now.selecting
	u.writeNamers.Map = &now.namers
	return u
}

// run computes what was noted.
func (u *update) run() *Derived {
	u.runPorts()
	u.runShared()
	u.runEmptied()
	u.runSelectors()
	u.runRulesets()
	u.runReleased()
	u.runHosts()
	return u.Derived
}

// runPorts finds who the ports are, and puts them into their classes.
func (u *update) runPorts() {
	for _, uuid := range u.ports.order {
		old, now := u.earlier.Port(uuid), u.port(uuid)
		if old != nil {
			u.onHosts[old.Host] = true
		}
		if now != nil {
			u.onHosts[now.Host] = true
		}
		u.became[uuid] = now
		if old != nil && now != nil && old.Workload.Identity == now.Workload.Identity {
			now.Workload = old.Workload
			continue
		}
		if now != nil {
			c := u.class(now.Workload)
			c.ports = c.ports.with(u.turn, uuid)
			now.Workload = c.Workload
			u.memberChanged(now.Workload.Network)
		}
		if old != nil {
			c := u.class(old.Workload)
			if c.ports = c.ports.without(u.turn, uuid); c.ports == nil {
				u.emptied[c.Identity] = true
			}
			u.memberChanged(old.Workload.Network)
		}
	}
}

func (u *update) memberChanged(network string) {
	u.sharing[network] = true
	if old, _ := u.earlier.members.Get(network); u.Members(network) == old {
		u.writeMembers.Put(network, &Members{})
		u.membersBy = u.turn
	}
}

// class returns the class of a workload, to be changed; a new one if there is none.
func (u *update) class(w *Workload) *class {
	c, ok := u.classes.Get(w.Identity)
	switch {
	case !ok:
		c = &class{Workload: w, turn: u.turn}
		u.came = append(u.came, w)
		u.stale.add(w.Identity)
	case c.turn != u.turn:
		own := *c
		c, own.turn = &own, u.turn
	default:
		return c
	}
	u.writeClasses.Put(w.Identity, c)
	return c
}

// runShared finds the addresses that several ports share, and who these are together.
func (u *update) runShared() {
	for network := range u.sharing {
		before, _ := u.earlier.shared.Get(network)
		now := u.togetherIn(u.Routing.Network(network))
		if len(before) == 0 && len(now) == 0 {
			continue
		}
		for _, w := range now {
			u.class(w).shared++
		}
		for _, id := range before {
			if c, ok := u.classes.Get(id); ok {
				c = u.class(c.Workload)
				c.shared--
				u.emptied[id] = true
			}
		}
		ids := make([]uint64, len(now))
		for i, w := range now {
			ids[i] = w.Identity
		}
		if u.writeShared.Put(network, ids); len(ids) == 0 {
			u.writeShared.Remove(network)
		}
	}
}

// togetherIn are the workloads that a network's shared addresses are: one for
// each address that is not one port's or of equal ones.
func (u *update) togetherIn(n *routing.Network) (all []*Workload) {
	if n == nil {
		return nil
	}
	for i := 0; i < len(n.OwnEqual); {
		end := i + 1
		for end < len(n.OwnEqual) && n.OwnEqual[end].Prefix == n.OwnEqual[i].Prefix {
			end++
		}
		at, found := slices.BinarySearchFunc(n.Own, n.OwnEqual[i], func(r, q routing.Route) int { return r.Prefix.Compare(q.Prefix) })
		if found {
			if w := u.together(&n.Own[at], n.OwnEqual[i:end]); w != nil {
				all = append(all, w)
			}
		}
		i = end
	}
	return all
}

func (u *update) together(r *routing.Route, equal []routing.Route) *Workload {
	var ids []uint64
	each := func(r *routing.Route) {
		if r.Port.IsZero() || r.Via.IsValid() {
			return
		}
		if w := u.workloadOf(r.Port.UUID); w != nil {
			ids = append(ids, w.Identity)
		}
	}
	each(r)
	for i := range equal {
		each(&equal[i])
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) < 2 {
		return nil
	}
	w := &Workload{Identity: Together(ids...)}
	for _, id := range ids {
		c, _ := u.classes.Get(id)
		w.Several = append(w.Several, c.Workload)
	}
	return w
}

// workloadOf is who a port is now.
func (u *update) workloadOf(port string) *Workload {
	if p, changed := u.became[port]; changed {
		if p == nil {
			return nil
		}
		return p.Workload
	}
	if p := u.earlier.Port(port); p != nil {
		return p.Workload
	}
	return nil
}

// runEmptied takes away the classes that are nobody's now.
func (u *update) runEmptied() {
	for id := range u.emptied {
		c, ok := u.classes.Get(id)
		if !ok || c.ports != nil || c.shared > 0 {
			continue
		}
		u.writeClasses.Remove(id)
		for _, name := range c.names {
			drop(&u.writeNamers, u.turn, name, id)
		}
		u.went = append(u.went, c.Workload)
	}
}

// runSelectors gives the selectors the workloads that came, and takes from them
// those that went.
func (u *update) runSelectors() {
	type change struct{ came, went []uint64 }
	changes := map[string]*change{}
	each := func(w *Workload, atoms []atom, add func(*change)) {
		seen := map[string]bool{}
		for _, a := range append(atoms, atom{kind: anyWorkload}) {
			if a.kind == withName {
				namers, _ := u.namers.Get(a)
				for _, id := range namers.items() {
					u.stale.add(id)
				}
			}
			selecting, _ := u.selecting.Get(a)
			for _, id := range selecting.items() {
				if s, _ := u.selectors.Get(id); !seen[id] && s.is.criterion.matches(w) {
					if changes[id] == nil {
						changes[id] = &change{}
					}
					add(changes[id])
				}
				seen[id] = true
			}
		}
	}
	for _, w := range u.went {
		atoms := w.atoms()
		each(w, atoms, func(c *change) { c.went = append(c.went, w.Identity) })
		for _, a := range atoms {
			drop(&u.writeWorkloads, u.turn, a, w)
		}
	}
	for _, w := range u.came {
		atoms := w.atoms()
		each(w, atoms, func(c *change) { c.came = append(c.came, w.Identity) })
		for _, a := range atoms {
			add(&u.writeWorkloads, u.turn, a, w)
		}
	}
	for id, c := range changes {
		s, _ := u.selectors.Get(id)
		ids := slices.DeleteFunc(append(slices.Clone(s.is.Identities), c.came...), func(id uint64) bool { return slices.Contains(c.went, id) })
		slices.Sort(ids)
		now := newSelector(id, s.is.criterion, ids)
		now.after(s.is)
		u.writeSelectors.Put(id, held[*Selector]{now, s.refs})
		u.grew[id] = true
	}
}
