// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// fill sets what follows from the object itself.
func fill(o api.Object) {
	switch o := o.(type) {
	case *api.Subnet:
		o.Default()
	case *api.Port:
		if o.Spec.MAC == "" {
			o.Spec.MAC = api.MACFromUUID(o.Meta.UUID)
		}
	}
}

// inherit keeps allocated and derived values that an update leaves out, so
// that what was written once can be written again unchanged.
func inherit(old, now api.Object) {
	switch now := now.(type) {
	case *api.Network:
		if now.Spec.VNI == 0 {
			now.Spec.VNI = old.(*api.Network).Spec.VNI
		}
	case *api.Subnet:
		if !now.Spec.Gateway.IsValid() {
			now.Spec.Gateway = old.(*api.Subnet).Spec.Gateway
		}
	case *api.Port:
		if now.Spec.MAC == "" {
			now.Spec.MAC = old.(*api.Port).Spec.MAC
		}
	case *api.Address:
		was := old.(*api.Address)
		if !now.Spec.IP.IsValid() {
			now.Spec.IP = was.Spec.IP
		}
		if now.Spec.Subnet.IsZero() {
			now.Spec.Subnet = was.Spec.Subnet
		}
	}
}

// rules checks an object against others, and allocates what it leaves open.
func (p *plan) rules(r, old *record, fail failure) error {
	switch o := r.object.(type) {
	case *api.Network:
		return p.network(o, fail)
	case *api.Subnet:
		return p.subnet(o, fail)
	case *api.Address:
		if err := p.keepsPort(o, old, fail); err != nil {
			return err
		}
		return p.address(o, fail)
	case *api.Share:
		if old != nil {
			return p.shareKeepsVerbs(old.object.(*api.Share), o, fail)
		}
	}
	return p.relations(r, old, fail)
}

// administered are the kinds that only Weft's administrators write.
func administered(kind api.Kind) bool {
	return kind == api.KindOrchestrator || kind == api.KindHost || kind == api.KindSwitch
}

func (p *plan) network(o *api.Network, fail failure) error {
	if o.Spec.VNI != 0 {
		return nil
	}
	v, err := p.allocate(vniPool(), fail, "spec.vni", "no VNI is free")
	if err != nil {
		return err
	}
	o.Spec.VNI = vniOf(v)
	return nil
}

// subnet refuses ranges that overlap with another of the network. The guard
// "subnets/<network>" keeps two such from committing at the same time.
func (p *plan) subnet(o *api.Subnet, fail failure) error {
	for _, other := range p.children(api.KindSubnet, o.Meta.Parent.UUID) {
		s := other.(*api.Subnet)
		if s.Meta.UUID != o.Meta.UUID && s.Spec.CIDR.Overlaps(o.Spec.CIDR) {
			return fail.conflict("spec.cidr", "%v overlaps with %v of subnet %s", o.Spec.CIDR, s.Spec.CIDR, s.Meta.FQName)
		}
	}
	return nil
}

func (p *plan) address(o *api.Address, fail failure) error {
	subnet, err := p.subnetOf(o, fail)
	if err != nil {
		return err
	}
	network := o.Meta.Parent
	if subnet.Meta.Parent.UUID != network.UUID {
		return fail.invalid("spec.subnet", "subnet %s is of network %s, the address of %s", subnet.Meta.FQName, subnet.Meta.Parent, network)
	}
	if !o.Spec.Port.IsZero() {
		port := p.record(idOf(api.KindPort, o.Spec.Port.UUID)).object.(*api.Port)
		if port.Spec.Network.UUID != network.UUID {
			return fail.invalid("spec.port", "port %s is on network %s, the address of %s", port.Meta.FQName, port.Spec.Network, network)
		}
	}
	switch ip := o.Spec.IP; {
	case !ip.IsValid():
		v, err := p.allocate(subnetPool(subnet), fail, "spec.ip", "no address is free in "+subnet.Spec.CIDR.String()+" of subnet "+subnet.Meta.FQName)
		if err != nil {
			return err
		}
		o.Spec.IP = v
	case !subnet.Spec.CIDR.Contains(ip):
		return fail.invalid("spec.ip", "%v is not in %v of subnet %s", ip, subnet.Spec.CIDR, subnet.Meta.FQName)
	case !api.Assignable(subnet.Spec.CIDR, ip):
		return fail.invalid("spec.ip", "%v is the network or broadcast address of %v and cannot be given out", ip, subnet.Spec.CIDR)
	}
	return nil
}

// subnetOf returns the address's subnet; where the address does not say, it
// is the one that contains the ip, or the only one of the network.
func (p *plan) subnetOf(o *api.Address, fail failure) (*api.Subnet, error) {
	if !o.Spec.Subnet.IsZero() {
		return p.record(idOf(api.KindSubnet, o.Spec.Subnet.UUID)).object.(*api.Subnet), nil
	}
	children := p.children(api.KindSubnet, o.Meta.Parent.UUID)
	var fit []*api.Subnet
	for _, c := range children {
		s := c.(*api.Subnet)
		if !o.Spec.IP.IsValid() || s.Spec.CIDR.Contains(o.Spec.IP) {
			fit = append(fit, s)
		}
	}
	switch {
	case o.Spec.IP.IsValid() && len(fit) == 0:
		return nil, fail.invalid("spec.ip", "%v is in none of the %d subnets of network %s", o.Spec.IP, len(children), o.Meta.Parent)
	case len(fit) != 1:
		return nil, fail.invalid("spec.subnet", "network %s has %d subnets, not one: say which, or give an ip", o.Meta.Parent, len(fit))
	}
	o.Spec.Subnet = api.RefTo(fit[0])
	i := idOf(api.KindSubnet, fit[0].Meta.UUID)
	p.exists[i] = true
	// "The only one" must still be true at commit.
	for _, g := range fit[0].Guards() {
		key := prefixGuard + g
		p.compare[key] = notAfter(key, p.base.revision)
	}
	return fit[0], nil
}

func (p *plan) allocate(from pool, fail failure, field, exhausted string) (netip.Addr, error) {
	v, key, ok := p.allocator.take(from, p.taken, p.random)
	if !ok {
		return netip.Addr{}, fail.with(api.CodeExhausted, field, "%s", exhausted)
	}
	p.reserved = append(p.reserved, key)
	return v, nil
}

// allowances returns for each field that refers to another owner's object the
// share that allows it. A field that is as it was keeps its share, which
// cannot have been revoked since.
func (p *plan) allowances(r, old *record, targets map[string]*record, fail failure) (map[string]string, error) {
	o := r.object
	refs := o.Refs()
	if !o.Head().Meta.Parent.IsZero() {
		info, _ := api.KindInfo(r.id.kind())
		refs = append(refs, api.FieldRef{Field: fieldParent, Kind: info.Parent, Ref: &o.Head().Meta.Parent, Verb: api.VerbAttach})
	}
	var shares map[string]string
	for _, f := range refs {
		t := targets[f.Field]
		if t == nil || f.Verb == "" || t.object.Head().Meta.Owner == o.Head().Meta.Owner {
			continue
		}
		share := keptShare(old, f, t)
		if share == "" {
			var err error
			if share, err = p.shareFor(r, f, t, fail); err != nil {
				return nil, err
			}
		}
		if shares == nil {
			shares = map[string]string{}
		}
		shares[f.Field] = share
	}
	return shares, nil
}

func keptShare(old *record, f api.FieldRef, t *record) string {
	if old == nil || old.shares[f.Field] == "" {
		return ""
	}
	for _, was := range old.targets() {
		if was.field == f.Field && was.target == t.id {
			return old.shares[f.Field]
		}
	}
	return ""
}

// shareFor finds a share that lets the writer refer to another owner's object.
func (p *plan) shareFor(r *record, f api.FieldRef, t *record, fail failure) (string, error) {
	owner := t.object.Head().Meta.Owner
	if r.id.kind() == api.KindShare && f.Field == "spec.target" {
		return "", fail.forbidden(f.Field, "%s belongs to orchestrator %s, which alone may share it", nameOf(t), owner)
	}
	var found *record
	p.base.each(indexTarget, refersTo(t.id, api.KindShare), func(s *record) bool {
		share := s.object.(*api.Share)
		if idOf(share.Spec.TargetKind, share.Spec.Target.UUID) == t.id && share.Allows(f.Verb) && p.granted(share, r) {
			found = s
		}
		return found == nil
	})
	if found == nil {
		return "", fail.forbidden(f.Field, "%s belongs to orchestrator %s and no share lets %s use it with verb %s: ask its owner for one", nameOf(t), owner, p.by.Orchestrator, f.Verb)
	}
	// A share that is revoked or cut at the same moment makes the commit fail.
	p.compare[found.id.objectKey()] = unchanged(found.id.objectKey(), found.modRevision)
	return found.id.uuid(), nil
}

// granted tells whether a share is for the writer of a record.
func (p *plan) granted(s *api.Share, r *record) bool {
	switch grantee := s.Spec.Grantee.UUID; s.Spec.GranteeKind {
	case api.GranteeAll:
		return true
	case api.KindOrchestrator:
		return grantee == p.writer.id.uuid()
	case api.KindProject:
		return grantee == p.ancestor(api.KindProject, r.id.kind(), &r.object.Head().Meta)
	case api.KindDomain:
		key := p.writer.id.objectKey()
		if grantee != p.writer.object.(*api.Orchestrator).Spec.Domain.UUID {
			return false
		}
		p.compare[key] = unchanged(key, p.writer.modRevision)
		return true
	}
	return false
}

// shareKeepsVerbs refuses to take a verb from a share that somebody needs. A
// reference made at the same moment compares the share, and the other way
// round the update compares that no reference is newer than what it looked at.
func (p *plan) shareKeepsVerbs(old, now *api.Share, fail failure) error {
	lost := slices.ContainsFunc(old.Spec.Verbs, func(v api.Verb) bool { return !now.Allows(v) })
	if !lost {
		return nil
	}
	self := idOf(api.KindShare, now.Meta.UUID)
	for _, user := range p.referrers(self, referrersNamed) {
		for _, verb := range neededFrom(user, now.Meta.UUID) {
			if !now.Allows(verb) {
				e := fail.conflict("spec.verbs", "%s relies on its verb %s: delete that first", nameOf(user), verb)
				e.Referrers = []string{nameOf(user)}
				return e
			}
		}
	}
	from := self.refsPrefix()
	p.compare[from] = clientv3.Compare(clientv3.ModRevision(from), "<", p.base.revision+1).WithPrefix()
	return nil
}

// neededFrom lists the verbs that an object relies on a share for.
func neededFrom(r *record, share string) []api.Verb {
	var verbs []api.Verb
	for field, s := range r.shares {
		if s == share && field == fieldParent {
			verbs = append(verbs, api.VerbAttach)
		}
	}
	for _, f := range r.object.Refs() {
		if r.shares[f.Field] == share {
			verbs = append(verbs, f.Verb)
		}
	}
	return verbs
}
