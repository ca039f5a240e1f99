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
	return s.putStatus(ctx, kind, uuid, body, nil)
}

// Term is the time during which one controller leads: the key that says so,
// and the revision at which it was made. The key goes with the term.
type Term struct {
	Key      string
	Revision int64
}

// TermWriter writes statuses as long as a term lasts and not a moment longer,
// however late its holder learns that it has ended.
type TermWriter struct {
	store *Store
	term  Term
}

// During returns the writer of statuses for a term.
func (s *Store) During(t Term) *TermWriter { return &TermWriter{s, t} }

// PutStatus is as Store.PutStatus, and refuses once the term has ended.
func (w *TermWriter) PutStatus(ctx context.Context, kind api.Kind, uuid string, body any) error {
	return w.store.putStatus(ctx, kind, uuid, body, &w.term)
}

func (s *Store) putStatus(ctx context.Context, kind api.Kind, uuid string, body any, term *Term) error {
	i := idOf(kind, uuid)
	base := s.latest()
	if err := base.outdated(); err != nil {
		return err
	}
	text := string(mustJSON(body))
	if r := base.record(i); r != nil {
		if text = r.keepStatus(text); r.statusJSON == text {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	compare := []clientv3.Cmp{present(i.objectKey())}
	if term != nil {
		compare = append(compare, clientv3.Compare(clientv3.CreateRevision(term.Key), "=", term.Revision))
	}
	reply, err := s.client.Txn(ctx).
		If(compare...).
		Then(clientv3.OpPut(i.statusKey(), text)).
		Else(clientv3.OpGet(i.objectKey(), clientv3.WithCountOnly())).
		Commit()
	s.wrote(err)
	if err != nil {
		return failed(err, "write the status of %s %s", kind, uuid)
	}
	switch {
	case reply.Succeeded:
		return nil
	case term != nil && reply.Responses[0].GetResponseRange().Count > 0:
		return api.Errorf(api.CodeUnavailable, "write the status of %s %s: this controller no longer leads, another one writes statuses now", kind, uuid).About(kind, uuid, "")
	default:
		return api.Errorf(api.CodeNotFound, "write the status of %s %s: there is no such object", kind, uuid).About(kind, uuid, "")
	}
}
