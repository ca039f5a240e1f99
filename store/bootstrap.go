// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"strconv"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// The names of the objects that exist from the first start on.
const (
	DefaultDomain  = "default-domain"
	DefaultProject = "default-project"
)

// bootstrap writes the first objects in one transaction, unless another
// controller or an earlier start did so.
func (s *Store) bootstrap(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	ops := []clientv3.Op{clientv3.OpPut(keyEpoch, "1"), clientv3.OpPut(keySchema, strconv.Itoa(schemaVersion))}
	for _, r := range s.firstRecords() {
		ops = append(ops, clientv3.OpPut(r.id.objectKey(), string(r.encode())))
		for _, h := range heldKeys(r) {
			ops = append(ops, clientv3.OpPut(h.key, h.value))
		}
	}
	_, err := s.client.Txn(ctx).If(absent(keyEpoch)).Then(ops...).Commit()
	if err != nil {
		return failed(err, "write the first objects")
	}
	return nil
}

func (s *Store) firstRecords() []*record {
	domain := &api.Domain{}
	orchestrator := &api.Orchestrator{Spec: api.OrchestratorSpec{Platform: api.PlatformWeft}}
	project := &api.Project{}
	now := s.timestamp()
	add := func(o api.Object, kind api.Kind, name, parentName string) *record {
		h := o.Head()
		h.Kind = kind
		h.Meta.UUID, h.Meta.Name, h.Meta.FQName = uuid.NewString(), name, api.JoinName(parentName, name)
		h.Meta.Owner, h.Meta.Generation = api.AdministratorsName, 1
		h.Meta.CreatedAt, h.Meta.UpdatedAt = now, now
		return &record{id: idOf(kind, h.Meta.UUID), object: o}
	}
	d := add(domain, api.KindDomain, DefaultDomain, "")
	orchestrator.Spec.Domain = api.RefTo(domain)
	project.Meta.Parent = api.RefTo(domain)
	return []*record{
		d,
		add(orchestrator, api.KindOrchestrator, api.AdministratorsName, ""),
		add(project, api.KindProject, DefaultProject, DefaultDomain),
	}
}

// absent compares that a key does not exist.
func absent(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
}

// present compares that a key exists.
func present(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), ">", 0)
}

// unchanged compares that a key was last written at a revision.
func unchanged(key string, modRevision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", modRevision)
}

// notAfter compares that a key, if it exists, was last written at or before a revision.
func notAfter(key string, revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "<", revision+1)
}

// emptyRange compares that no key lies between from and end.
func emptyRange(from, end string) clientv3.Cmp {
	return absent(from).WithRange(end)
}
