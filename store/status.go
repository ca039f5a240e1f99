// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// PutStatus stores what the system reports of an object, if the object exists
// and the report differs from the one stored. body is the kind's status type.
// It changes neither the object's revision nor its generation. A kind's status
// has one writer, so nothing is compared but the object's existence.
func (s *Store) PutStatus(ctx context.Context, kind api.Kind, uuid string, body any) error {
	i := idOf(kind, uuid)
	text := string(mustJSON(body))
	if r := s.latest().record(i); r != nil && r.statusJSON == text {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := s.client.Txn(ctx).
		If(present(i.objectKey())).
		Then(clientv3.OpPut(i.statusKey(), text)).
		Commit()
	if err != nil {
		return failed(err, "write the status of %s %s", kind, uuid)
	}
	if !reply.Succeeded {
		return api.Errorf(api.CodeNotFound, "write the status of %s %s: there is no such object", kind, uuid).About(kind, uuid, "")
	}
	return nil
}
