// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// DefaultNetworks are the networks of the default project that every install
// has, by the names that tools for Tungsten Fabric look for. Nothing is joined
// with them until somebody says so.
var DefaultNetworks = []string{"ip-fabric", "default-virtual-network", "__link_local__", "dci-network"}

// addDefaults writes the default networks once in the life of a store: in a new
// one, and in one from before there were any. What an administrator deletes
// stays deleted, and one that has such a name already is let be. Which
// controller does it is settled by the key keyDefaults. A store that takes no
// writes now gets them at a later start.
func (s *Store) addDefaults(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	for range commitAttempts {
		reply, err := s.client.Get(ctx, keyDefaults, clientv3.WithCountOnly())
		if err != nil {
			return failed(err, "add the default networks: look for %s", keyDefaults)
		}
		if reply.Count > 0 {
			_, err := s.at(ctx, reply.Header.Revision)
			return err
		}
		base, err := s.linearizable(ctx, 0)
		if err != nil {
			return err
		}
		p, err := s.evaluate(base, api.Identity{Name: "weft-controller", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}, defaultsMissing(base), true)
		if err != nil {
			s.allocator.release(p.reserved)
			return err
		}
		compare, ops, _ := p.operations()
		done, err := s.client.Txn(ctx).If(append(compare, absent(keyDefaults))...).Then(append(ops, clientv3.OpPut(keyDefaults, "1"))...).Commit()
		if err == nil {
			_, err = s.at(ctx, done.Header.Revision)
		}
		s.allocator.release(p.reserved)
		switch {
		case err != nil:
			return failed(err, "add the default networks")
		case done.Succeeded:
			return nil
		}
	}
	return api.Errorf(api.CodeConflict, "add the default networks: given up after %d attempts, others keep changing what it depends on", commitAttempts)
}

// defaultsMissing are the operations that make the default networks which a
// state lacks. They take the highest VNIs where these are free, so that what
// people make begins at 1.
func defaultsMissing(base *Snapshot) []api.Operation {
	project := base.byName(api.KindProject, api.JoinName(DefaultDomain, DefaultProject))
	if project == nil {
		return nil
	}
	var ops []api.Operation
	for i, name := range DefaultNetworks {
		if base.byName(api.KindNetwork, api.JoinName(project.object.Head().Meta.FQName, name)) != nil {
			continue
		}
		n := &api.Network{}
		n.Kind, n.Meta.Name, n.Meta.Parent = api.KindNetwork, name, api.RefTo(project.object)
		n.Meta.Labels = map[string]string{api.LabelProtected: "true"}
		n.Spec.VNI = uint32(api.MaxVNI - i)
		for _, c := range n.Claims() {
			if base.holder(prefixClaim+c.Key) != nil {
				n.Spec.VNI = 0 // any
			}
		}
		ops = append(ops, api.Operation{Op: api.OpCreate, Object: n})
	}
	return ops
}

// protected tells whether an object is guarded against deletion by accident.
func protected(o api.Object) bool {
	m := &o.Head().Meta
	return m.Owner == api.AdministratorsName && m.Labels[api.LabelProtected] == "true"
}
