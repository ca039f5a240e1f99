// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
)

// fakeStore is a store of objects that does what the command line can see of
// the real one: names, references, allocation, all-or-nothing, who refers.
// Identities and times count up, so that transcripts are the same each time.
type fakeStore struct {
	objects  map[string]api.Object // by UUID
	revision int64
	made     int
	log      []api.Event
	changed  chan struct{} // closed and replaced with each change
	counts   bool          // a controller is there that counts the addresses of subnets
	plugs    bool          // agents are there that plug workloads at once
}

var fakeEpoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newFakeStore() *fakeStore {
	return &fakeStore{objects: map[string]api.Object{}, revision: 100, changed: make(chan struct{})}
}

// find looks up by UUID or name.
func (f *fakeStore) find(kind api.Kind, ref api.Ref) api.Object {
	for _, o := range f.objects {
		m := o.Head().Meta
		if o.Head().Kind == kind && (ref.UUID != "" && m.UUID == ref.UUID || ref.UUID == "" && m.FQName == ref.Name) {
			return o
		}
	}
	return nil
}

func (f *fakeStore) list(kind api.Kind, s api.Selection) ([]api.Object, error) {
	items := []api.Object{}
	info, _ := api.KindInfo(kind)
	if !s.Parent.IsZero() && f.find(info.Parent, s.Parent) == nil {
		return nil, missing("list", info.Parent, s.Parent)
	}
	for _, o := range f.objects {
		if o.Head().Kind == kind && s.Matches(o) {
			items = append(items, o)
		}
	}
	slices.SortFunc(items, func(a, b api.Object) int {
		return strings.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName)
	})
	return items, nil
}

func missing(verb string, kind api.Kind, ref api.Ref) error {
	return api.Errorf(api.CodeNotFound, "%s %s %s: it does not exist", verb, kind, ref).About(kind, ref.String(), "")
}

type fakeOperation struct {
	Op     string          `json:"op"`
	Object json.RawMessage `json:"object"`
}

// transact does all operations or none.
func (f *fakeStore) transact(operations []fakeOperation, dryRun bool) ([]api.Object, error) {
	before, madeBefore := maps.Clone(f.objects), f.made
	undo := func() { f.objects, f.made = before, madeBefore }
	var results []api.Object
	var events []api.Event
	for _, op := range operations {
		o, err := api.Decode(op.Object, true)
		if err == nil {
			o, err = f.operate(op.Op, o)
		}
		if err != nil {
			undo()
			return nil, err
		}
		results = append(results, o)
		kind := api.EventPut
		if op.Op == api.OpDelete {
			kind = api.EventDelete
		}
		events = append(events, api.Event{Type: kind, Revision: f.revision + 1, Kind: o.Head().Kind, Object: o})
	}
	if dryRun {
		undo()
		return results, nil
	}
	if f.counts {
		f.count()
	}
	if f.plugs {
		f.plug()
	}
	f.revision++
	f.log = append(f.log, events...)
	close(f.changed)
	f.changed = make(chan struct{})
	return results, nil
}

// count writes the counts of subnets, as the controller does after a while.
func (f *fakeStore) count() {
	for uuid, o := range f.objects {
		s, ok := o.(*api.Subnet)
		if !ok {
			continue
		}
		s = api.Clone(s)
		all := api.CountAll(s.Allocatable())
		s.Status = api.SubnetStatus{Assignable: all, Reserved: api.CountAll(s.Spec.Reserved), Free: all}
		for _, other := range f.objects {
			if a, ok := other.(*api.Address); ok && a.Spec.Subnet.UUID == uuid {
				s.Status.Used++
				if slices.ContainsFunc(s.Allocatable(), func(r api.AddressRange) bool { return r.Contains(a.Spec.IP) }) {
					s.Status.Free--
				}
			}
		}
		f.objects[uuid] = s
	}
}

// plug writes the status of bound ports, as their hosts do.
func (f *fakeStore) plug() {
	for _, o := range f.objects {
		b, ok := o.(*api.Binding)
		if !ok || !b.Spec.Active {
			continue
		}
		p := api.Clone(f.objects[b.Meta.Parent.UUID].(*api.Port))
		p.Status = api.PortStatus{State: api.PortUp, Host: f.objects[b.Spec.Host.UUID].Head().Meta.Name}
		f.objects[p.Meta.UUID] = p
	}
}

func (f *fakeStore) operate(op string, o api.Object) (api.Object, error) {
	switch op {
	case api.OpCreate:
		return f.create(o)
	case api.OpUpdate:
		return f.update(o)
	}
	return f.remove(o)
}

func (f *fakeStore) create(o api.Object) (api.Object, error) {
	h := o.Head()
	m := &h.Meta
	f.made++
	if m.UUID == "" {
		m.UUID = fmt.Sprintf("00000000-0000-4000-8000-%012x", f.made)
	}
	if m.Name == "" {
		m.Name = m.UUID
	}
	info, _ := api.KindInfo(h.Kind)
	if info.Parent != "" {
		parent := f.find(info.Parent, m.Parent)
		if parent == nil {
			return nil, missing("create "+string(h.Kind)+" "+m.Name+" in", info.Parent, m.Parent)
		}
		m.Parent = api.RefTo(parent)
	}
	m.FQName = api.JoinName(m.Parent.Name, m.Name)
	if f.find(h.Kind, api.Ref{Name: m.FQName}) != nil {
		return nil, api.Errorf(api.CodeConflict, "create %s %s: the name is taken", h.Kind, m.FQName).About(h.Kind, m.FQName, "meta.name")
	}
	if err := f.resolve(o); err != nil {
		return nil, err
	}
	if err := f.allocate(o); err != nil {
		return nil, err
	}
	if p := append(api.ValidateHeader(h), o.Validate()...); len(p) > 0 {
		e := api.Errorf(api.CodeInvalid, "create %s %s", h.Kind, m.FQName)
		e.Problems = p
		return nil, e
	}
	m.Owner, m.Generation, m.Revision = api.AdministratorsName, 1, f.revision+1
	m.CreatedAt = fakeEpoch.Add(time.Duration(f.revision) * time.Second)
	m.UpdatedAt = m.CreatedAt
	f.objects[m.UUID] = o
	return o, nil
}

// resolve fills in both halves of every reference.
func (f *fakeStore) resolve(o api.Object) error {
	for _, r := range o.Refs() {
		if r.Ref.IsZero() {
			continue
		}
		to := f.find(r.Kind, *r.Ref)
		if to == nil {
			e := missing(string(o.Head().Kind)+" "+o.Head().Meta.FQName+" refers to", r.Kind, *r.Ref).(*api.Error)
			e.Field = r.Field
			return e
		}
		*r.Ref = api.RefTo(to)
	}
	return nil
}

// allocate fills in what the real store allocates.
func (f *fakeStore) allocate(o api.Object) error {
	switch o := o.(type) {
	case *api.Network:
		taken := map[uint32]bool{0: true}
		for _, other := range f.objects {
			if n, ok := other.(*api.Network); ok {
				taken[n.Spec.VNI] = true
			}
		}
		for vni := uint32(1); o.Spec.VNI == 0; vni++ {
			if !taken[vni] {
				o.Spec.VNI = vni
			}
		}
	case *api.Subnet:
		if pool, ok := f.find(api.KindSubnetPool, o.Spec.SubnetPool).(*api.SubnetPool); ok && !o.Spec.CIDR.IsValid() {
			o.Spec.CIDR = netip.PrefixFrom(pool.Spec.Prefixes[0].Addr(), pool.Length(o.Spec.PrefixLength)) // enough for one
		}
		o.Default()
	case *api.Port:
		if o.Spec.MAC == "" {
			o.Spec.MAC = api.MACFromUUID(o.Meta.UUID)
		}
	case *api.Address:
		return f.allocateAddress(o)
	case *api.Binding:
		for _, other := range f.objects {
			b, ok := other.(*api.Binding)
			if ok && o.Spec.Active && b.Spec.Active && b.Meta.Parent == o.Meta.Parent && b.Meta.UUID != o.Meta.UUID {
				return api.Errorf(api.CodeConflict, "create binding %s: the active binding of port %s is held by binding %s", o.Meta.FQName, o.Meta.Parent, b.Meta.FQName).About(api.KindBinding, o.Meta.FQName, "spec.active")
			}
		}
	}
	return nil
}

func (f *fakeStore) allocateAddress(a *api.Address) error {
	taken := map[netip.Addr]string{}
	var subnets []*api.Subnet
	for _, o := range f.objects {
		switch o := o.(type) {
		case *api.Subnet:
			if o.Meta.Parent.UUID == a.Meta.Parent.UUID {
				taken[o.Spec.Gateway] = "subnet " + o.Meta.FQName
				subnets = append(subnets, o)
			}
		case *api.Address:
			if o.Meta.Parent.UUID == a.Meta.Parent.UUID {
				taken[o.Spec.IP] = "address " + o.Meta.FQName
			}
		}
	}
	if a.Spec.IP.IsValid() {
		for _, s := range subnets {
			if s.Spec.CIDR.Contains(a.Spec.IP) {
				a.Spec.Subnet = api.RefTo(s)
			}
		}
		if by := taken[a.Spec.IP]; by != "" {
			return api.Errorf(api.CodeConflict, "create address %s: address %v in %s is held by %s", a.Meta.FQName, a.Spec.IP, a.Meta.Parent, by).About(api.KindAddress, a.Meta.FQName, "spec.ip")
		}
		return nil
	}
	s, _ := f.find(api.KindSubnet, a.Spec.Subnet).(*api.Subnet)
	if s == nil {
		return api.Errorf(api.CodeInvalid, "create address %s: name a subnet", a.Meta.FQName).About(api.KindAddress, a.Meta.FQName, "spec.subnet")
	}
	ranges, next := s.Allocatable(), netip.Addr.Next
	if s.Spec.AllocateFrom == api.FromTop {
		next = netip.Addr.Prev
		slices.Reverse(ranges)
	}
	for _, r := range ranges {
		ip := r.First
		if s.Spec.AllocateFrom == api.FromTop {
			ip = r.Last
		}
		for ; r.Contains(ip); ip = next(ip) {
			if taken[ip] == "" {
				a.Spec.IP = ip
				return nil
			}
		}
	}
	return api.Errorf(api.CodeExhausted, "create address %s: subnet %s has no address left", a.Meta.FQName, s.Meta.FQName)
}

func (f *fakeStore) update(o api.Object) (api.Object, error) {
	h := o.Head()
	was := f.find(h.Kind, api.RefTo(o))
	if was == nil {
		return nil, missing("update", h.Kind, api.RefTo(o))
	}
	if h.Meta.Revision != 0 && h.Meta.Revision != was.Head().Meta.Revision {
		return nil, api.Errorf(api.CodePrecondition, "update %s %s: it changed meanwhile", h.Kind, h.Meta.FQName)
	}
	if err := f.resolve(o); err != nil {
		return nil, err
	}
	if p := append(o.Validate(), o.ValidateUpdate(was)...); len(p) > 0 {
		e := api.Errorf(api.CodeInvalid, "update %s %s", h.Kind, h.Meta.FQName)
		e.Problems = p
		return nil, e
	}
	h.Meta.Generation++
	h.Meta.Revision = f.revision + 1
	h.Meta.UpdatedAt = fakeEpoch.Add(time.Duration(f.revision) * time.Second)
	f.objects[h.Meta.UUID] = o
	return o, nil
}

func (f *fakeStore) remove(o api.Object) (api.Object, error) {
	h := o.Head()
	was := f.find(h.Kind, api.RefTo(o))
	if was == nil {
		return nil, missing("delete", h.Kind, api.RefTo(o))
	}
	uuid := was.Head().Meta.UUID
	var referrers []string
	for _, other := range f.objects {
		refers := other.Head().Meta.Parent.UUID == uuid
		for _, r := range other.Refs() {
			refers = refers || r.Ref.UUID == uuid
		}
		if refers {
			referrers = append(referrers, string(other.Head().Kind)+" "+other.Head().Meta.FQName)
		}
	}
	if len(referrers) > 0 {
		slices.Sort(referrers)
		e := api.Errorf(api.CodeConflict, "delete %s %s: others refer to it", h.Kind, was.Head().Meta.FQName).About(h.Kind, was.Head().Meta.FQName, "")
		e.Referrers = referrers
		return nil, e
	}
	delete(f.objects, uuid)
	return was, nil
}
