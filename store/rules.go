// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
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
		if now.Spec.IPAM.IsZero() {
			now.Spec.IPAM = old.(*api.Network).Spec.IPAM
		}
	case *api.Subnet:
		was := old.(*api.Subnet)
		if !now.Spec.CIDR.IsValid() {
			now.Spec.CIDR = was.Spec.CIDR
		}
		if !now.Spec.Gateway.IsValid() {
			now.Spec.Gateway = was.Spec.Gateway
		}
		if now.Spec.SubnetPool.IsZero() {
			now.Spec.SubnetPool = was.Spec.SubnetPool
		}
		if now.Spec.PrefixLength == 0 {
			now.Spec.PrefixLength = was.Spec.PrefixLength
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
		if now.Spec.Project.IsZero() {
			now.Spec.Project = was.Spec.Project
		}
	}
}

// rules checks an object against others, and allocates what it leaves open.
func (p *plan) rules(r, old *record, fail failure) error {
	if err := p.underlay(r, old, fail); err != nil {
		return err
	}
	switch o := r.object.(type) {
	case *api.Network:
		if err := p.segments(o, old, fail); err != nil {
			return err
		}
		return p.network(o, fail)
	case *api.Subnet:
		if err := p.fromPool(o, old, fail); err != nil {
			return err
		}
		if err := p.sameScope(o, old, fail); err != nil {
			return err
		}
		return p.subnet(o, fail)
	case *api.SubnetPool:
		return p.scopedPool(o, old, fail)
	case *api.Address:
		if err := p.keepsPort(o, old, fail); err != nil {
			return err
		}
		return p.address(o, fail)
	case *api.RouteTable:
		if err := p.underlayRoutes(o, fail); err != nil {
			return err
		}
	case *api.Draft:
		if err := p.held(o, fail); err != nil {
			return err
		}
	case *api.Share:
		if old != nil {
			return p.shareKeepsVerbs(old.object.(*api.Share), o, fail)
		}
	}
	return p.relations(r, old, fail)
}

// held leaves holds to those who answer for all projects of an orchestrator: they delay what everybody allows.
func (p *plan) held(d *api.Draft, fail failure) error {
	if d.Spec.Hold == nil || p.by.Role == api.RoleAdmin && p.by.Scope == nil {
		return nil
	}
	return fail.forbidden("spec.hold", "only administrators, Weft's or an orchestrator's, make changes strictly: they delay what others allow meanwhile")
}

// underlayRoutes leaves routes into the underlay to those who answer for it: a
// label of somebody else would lead into that tenant's network.
func (p *plan) underlayRoutes(o *api.RouteTable, fail failure) error {
	if administrator(p.by) || !slices.ContainsFunc(o.Spec.Routes, func(r api.StaticRoute) bool { return r.Tunnel != nil }) {
		return nil
	}
	return fail.forbidden("spec.routes", "only Weft's administrators write tables with routes by a tunnel; they may share such a table (verb attach)")
}

// administered are the kinds that only Weft's administrators write.
func administered(kind api.Kind) bool {
	return kind == api.KindOrchestrator || kind == api.KindHost || kind == api.KindSwitch
}

// segments leaves places of the physical network to those who answer for it.
func (p *plan) segments(o *api.Network, old *record, fail failure) error {
	var had []api.Segment
	if old != nil {
		had = old.object.(*api.Network).Spec.Segments
	}
	if administrator(p.by) || slices.Equal(o.Spec.Segments, had) {
		return nil
	}
	return fail.forbidden("spec.segments", "only Weft's administrators write segments: they lead into the physical network")
}

func (p *plan) network(o *api.Network, fail failure) error {
	if o.Spec.VNI != 0 {
		return nil
	}
	labelled := slices.Contains(o.Spec.Encapsulation, api.EncapsulationMPLSUDP)
	v, err := p.allocate(vniPool(labelled), fail, "spec.vni", "no VNI is free")
	if err != nil {
		return err
	}
	o.Spec.VNI = vniOf(v)
	return nil
}

// subnet refuses ranges that overlap with another of the network. The guard
// "subnets/<network>" keeps two such from committing at the same time.
func (p *plan) subnet(o *api.Subnet, fail failure) error {
	network := p.record(idOf(api.KindNetwork, o.Meta.Parent.UUID)).object.(*api.Network)
	if o.Spec.SharedSpace = network.Spec.IPAM.UUID; o.Spec.SharedSpace != "" {
		if err := p.sharedRange(o, network.Spec.IPAM, fail); err != nil {
			return err
		}
	}
	for _, other := range p.children(api.KindSubnet, o.Meta.Parent.UUID) {
		s := other.(*api.Subnet)
		if s.Meta.UUID != o.Meta.UUID && s.Spec.CIDR.Overlaps(o.Spec.CIDR) {
			return fail.conflict("spec.cidr", "%v overlaps with %v of subnet %s", o.Spec.CIDR, s.Spec.CIDR, s.Meta.FQName)
		}
	}
	return nil
}

// sharedRange refuses a range that overlaps with one of another network in the
// same ipam, unless it is the same range with the same gateway. The guard
// "subnets/<ipam>" keeps two from committing at the same time.
func (p *plan) sharedRange(o *api.Subnet, ipam api.Ref, fail failure) error {
	for _, n := range p.networksIn(ipam.UUID) {
		if n == o.Meta.Parent.UUID {
			continue
		}
		for _, other := range p.children(api.KindSubnet, n) {
			s := other.(*api.Subnet)
			if s.Spec.CIDR.Overlaps(o.Spec.CIDR) && (s.Spec.CIDR != o.Spec.CIDR || s.Spec.Gateway != o.Spec.Gateway) {
				return fail.conflict("spec.cidr", "%v with gateway %v overlaps with %v, gateway %v, of %s in the same ipam %s: take the same range and gateway, or another range",
					o.Spec.CIDR, o.Spec.Gateway, s.Spec.CIDR, s.Spec.Gateway, p.user(p.recordOf(s)), ipam)
			}
		}
	}
	return nil
}

// networksIn lists the UUIDs of the networks that share an address space.
func (p *plan) networksIn(ipam string) []string {
	var found []string
	p.base.eachReferrer(idOf(api.KindIPAM, ipam), api.KindNetwork, func(r *record) bool {
		found = append(found, r.id.uuid())
		return true
	})
	for _, i := range p.order {
		if d := p.deltas[i]; i.kind() == api.KindNetwork && d.old == nil && d.now != nil && d.now.object.(*api.Network).Spec.IPAM.UUID == ipam {
			found = append(found, i.uuid())
		}
	}
	return found
}

func (p *plan) address(o *api.Address, fail failure) error {
	subnet, err := p.subnetOf(o, fail)
	if err != nil {
		return err
	}
	o.Spec.SharedSpace = subnet.Spec.SharedSpace
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
		return p.allocateAddress(o, subnet, fail)
	case !subnet.Spec.CIDR.Contains(ip):
		return fail.invalid("spec.ip", "%v is not in %v of subnet %s", ip, subnet.Spec.CIDR, subnet.Meta.FQName)
	case o.Spec.SharedSpace != "" && ip == subnet.Spec.Gateway:
		return fail.conflict("spec.ip", "%v is the gateway of subnet %s", ip, subnet.Meta.FQName)
	case !api.Assignable(subnet.Spec.CIDR, ip):
		return fail.invalid("spec.ip", "%v is the network or broadcast address of %v and cannot be given out", ip, subnet.Spec.CIDR)
	}
	return nil
}

// dropReservations deletes the addresses reserved for a host that goes, and its
// port-blocks: they were Weft's to make, and nobody else can need them.
func (p *plan) dropReservations(host id) {
	p.base.eachReferrer(host, api.KindPortBlock, func(r *record) bool {
		if p.record(r.id) != nil {
			p.set(r.id, nil)
		}
		return true
	})
	p.base.eachReferrer(host, api.KindAddress, func(r *record) bool {
		if now := p.record(r.id); now != nil && now.object.(*api.Address).ReservedFor().UUID == host.uuid() {
			p.set(r.id, nil)
		}
		return true
	})
}

// allocateAddress takes an address from the pools of a subnet. They must be
// the subnet's pools at commit, too.
func (p *plan) allocateAddress(o *api.Address, subnet *api.Subnet, fail failure) error {
	if ip, ok := p.interfaceAddress(o, subnet); ok {
		o.Spec.IP = ip
		return nil
	}
	v, err := p.allocate(subnetPool(subnet), fail, "spec.ip", "no address is free in "+poolsOf(subnet)+" of subnet "+subnet.Meta.FQName)
	if err != nil {
		return err
	}
	o.Spec.IP = v
	if r := p.base.record(idOf(api.KindSubnet, subnet.Meta.UUID)); r != nil {
		p.compare[r.id.objectKey()] = unchanged(r.id.objectKey(), r.modRevision)
	}
	return nil
}

// interfaceAddress is the address that a workload gives itself by SLAAC, from the
// subnet's prefix and its port's MAC (RFC 4291, appendix A). None if the subnet is
// no such one, the address is for no port, or is given out.
func (p *plan) interfaceAddress(o *api.Address, subnet *api.Subnet) (netip.Addr, bool) {
	prefix := subnet.Spec.CIDR
	if o.Spec.Port.IsZero() || subnet.Spec.Mode() != api.ModeSLAAC || !prefix.Addr().Is6() || prefix.Bits() != 64 {
		return netip.Addr{}, false
	}
	port := p.record(idOf(api.KindPort, o.Spec.Port.UUID)).object.(*api.Port)
	mac := port.Spec.MAC
	if mac == "" {
		mac = api.MACFromUUID(port.Meta.UUID)
	}
	raw, err := mac.Bytes()
	if err != nil {
		return netip.Addr{}, false
	}
	ip := prefix.Masked().Addr().As16()
	copy(ip[8:], []byte{raw[0] ^ 2, raw[1], raw[2], 0xff, 0xfe, raw[3], raw[4], raw[5]})
	trial := api.Clone(o)
	trial.Spec.IP = netip.AddrFrom16(ip)
	for _, c := range trial.Claims() {
		if p.taken(c.Key) {
			return netip.Addr{}, false
		}
	}
	return trial.Spec.IP, true
}

// poolsOf says in words where addresses of a subnet are allocated.
func poolsOf(s *api.Subnet) string {
	switch len(s.Spec.Pools) {
	case 0:
		return s.Spec.CIDR.String()
	case 1:
		return "the pool " + s.Spec.Pools[0].String()
	}
	return fmt.Sprintf("the %d pools", len(s.Spec.Pools))
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
				e := fail.conflict("spec.verbs", "%s relies on its verb %s: delete that first", p.user(user), verb)
				e.Referrers = []string{p.user(user)}
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
