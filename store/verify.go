// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// Verify reads every key of etcd and tells what is wrong: each name, reference,
// claim and foreign key belongs to a living object and each living object has
// all of its own; what is referred to exists; and, from the objects alone, no
// address, MAC, VNI or active binding is given twice; and no address rests that
// is held. What only newer controllers know is left out.
func Verify(ctx context.Context, client *clientv3.Client) ([]string, error) {
	changes, _, err := loadKeys(ctx, client, "\x00", "\x00", 0)
	if err != nil {
		return nil, failed(err, "read all keys of etcd")
	}
	keys := map[string]string{}
	for _, c := range changes {
		keys[c.key] = string(c.value)
	}
	v := &verification{}
	v.check(keys)
	return v.problems, nil
}

// verification collects what is wrong.
type verification struct{ problems []string }

func (v *verification) failf(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

func (v *verification) check(keys map[string]string) {
	want := map[string]string{}
	newer := map[id]bool{}
	var records []*record
	for key, value := range keys {
		name, ok := strings.CutPrefix(key, prefixObject)
		if !ok {
			continue
		}
		if _, known := api.KindInfo(id(name).kind()); !known {
			newer[id(name)] = true
			continue
		}
		r, err := decodeRecord(id(name), []byte(value), 1)
		if err == nil && understood(r) != nil {
			newer[id(name)] = true // it may hold more than is known here
		}
		if err != nil {
			v.failf("%v", err)
			continue
		}
		for _, h := range heldKeys(r) {
			want[h.key] = h.value
		}
		records = append(records, r)
	}
	v.checkGiven(records)
	for key, value := range keys {
		prefix, rest, _ := strings.Cut(key, "/")
		switch prefix + "/" {
		case prefixName, prefixRef, prefixClaim, prefixForeign:
			if was, ok := want[key]; (!ok || was != value) && !newer[holderOf(key, value)] {
				v.failf("%s = %q belongs to no object", key, value)
			}
			delete(want, key)
			if parts := strings.Split(rest, "/"); prefix == "ref" && keys[prefixObject+parts[0]+"/"+parts[1]] == "" {
				v.failf("%s refers to an object that does not exist", key)
			}
		case prefixStatus:
			if keys[prefixObject+rest] == "" {
				v.failf("%s is the status of no object", key)
			}
		case prefixRest:
			if held, ok := keys[prefixClaim+claimsAddress+rest]; ok {
				v.failf("%s rests and is held by %s", key, held)
			}
		case prefixObject, prefixGuard, prefixToken, prefixWrite, PrefixPeer, PrefixLeader, "meta/", prefixAuthority:
		default:
			v.failf("unknown key %s", key)
		}
	}
	for key := range want {
		v.failf("%s is missing", key)
	}
}

// holderOf is the object that a name, reference, claim or foreign key belongs to.
func holderOf(key, value string) id {
	parts := strings.Split(key, "/")
	if parts[0]+"/" == prefixRef && len(parts) > 4 {
		return id(parts[3] + "/" + parts[4])
	}
	return id(value)
}

// checkGiven checks from the objects alone that nothing is given twice, and no
// address that is its subnet's gateway.
func (v *verification) checkGiven(records []*record) {
	given := map[string]id{}
	give := func(what string, i id) {
		if other, ok := given[what]; ok {
			v.failf("%s is given to %s and %s", what, other, i)
		}
		given[what] = i
	}
	gateways := map[string]netip.Addr{}   // by subnet
	pooled := map[string][]netip.Prefix{} // by subnet-pool
	var addresses []*api.Address
	for _, r := range records {
		m := r.object.Head().Meta
		give("name "+string(r.id.kind())+" "+m.FQName, r.id)
		switch o := r.object.(type) {
		case *api.Network:
			give("vni "+vniValue(o.Spec.VNI).String(), r.id)
		case *api.Subnet:
			if o.Spec.SharedSpace == "" {
				give("address "+m.Parent.UUID+o.Spec.Gateway.String(), r.id)
			}
			gateways[m.UUID] = o.Spec.Gateway
			for _, other := range pooled[o.Spec.SubnetPool.UUID] {
				if other.Overlaps(o.Spec.CIDR) {
					v.failf("%v of %s overlaps with %v of the same subnet-pool", o.Spec.CIDR, m.FQName, other)
				}
			}
			if pool := o.Spec.SubnetPool.UUID; pool != "" {
				pooled[pool] = append(pooled[pool], o.Spec.CIDR)
			}
		case *api.Address:
			space := m.Parent.UUID
			if o.Spec.SharedSpace != "" {
				space = o.Spec.SharedSpace
			}
			give("address "+space+o.Spec.IP.String(), r.id)
			addresses = append(addresses, o)
		case *api.Port:
			give("mac "+o.Spec.Network.UUID+string(o.Spec.MAC), r.id)
		case *api.Binding:
			if o.Spec.Active {
				give("active "+m.Parent.UUID, r.id)
			}
		}
	}
	for _, a := range addresses {
		if gateways[a.Spec.Subnet.UUID] == a.Spec.IP {
			v.failf("address %s is the gateway %v of its subnet", a.Meta.FQName, a.Spec.IP)
		}
	}
}
