// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

const (
	// MaxOperations is how many objects one transaction may write.
	MaxOperations = 100
	// commitAttempts is how often a transaction is worked out anew because
	// others changed what it depends on. Each time somebody else made progress.
	commitAttempts = 32
	// commitTimeout bounds a commit with all its attempts.
	commitTimeout = 20 * time.Second
	// diagnosed is how many keys are looked up to explain why a commit was given up.
	diagnosed = 64
)

// CommitOptions say how to commit.
type CommitOptions struct {
	// DryRun works everything out and writes nothing. Allocated values are
	// examples of what would be given.
	DryRun bool
	// UnchangedSince, if not 0, is a precondition: no other transaction wrote
	// objects after this revision, of those from which anything follows.
	UnchangedSince int64
}

// Result is what a transaction did.
type Result struct {
	// Revision is the store's revision of the write; of the state looked at,
	// if nothing was written.
	Revision int64
	// Objects has one object for each operation: as it is now, or as it was
	// before its deletion. They are shared and must not be modified.
	Objects []api.Object
}

// commitAll is Commit, which also counts.
func (s *Store) commitAll(ctx context.Context, by api.Identity, ops []api.Operation, options CommitOptions) (Result, error) {
	if by.Role != api.RoleAdmin && by.Role != api.RoleMember {
		return Result{}, api.Errorf(api.CodeForbidden, "write: %s has role %s, which may not write", by.Name, by.Role)
	}
	if len(ops) == 0 || len(ops) > MaxOperations {
		return Result{}, api.Errorf(api.CodeTooLarge, "write: %d operations in a transaction, want 1 to %d", len(ops), MaxOperations)
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	// The tables here may be behind etcd. That is harmless for a commit, which
	// compares; a refusal must not be based on it.
	base, current := s.latest(), false
	var last *plan
	for attempt := 0; attempt < commitAttempts; {
		if (options.DryRun || options.UnchangedSince != 0) && !current {
			var err error
			if base, err = s.linearizable(ctx, 0); err != nil {
				return Result{}, err
			}
			current = true
		}
		if err := base.unchanged(options.UnchangedSince, ops); err != nil {
			return Result{}, err
		}
		p, err := s.evaluate(base, by, ops, attempt > 0)
		p.unchangedSince = options.UnchangedSince
		switch {
		case (err != nil || p.empty()) && !current:
			s.allocator.release(p.reserved)
			if base, err = s.linearizable(ctx, 0); err != nil {
				return Result{}, err
			}
			current = true
			continue
		case err != nil:
			s.allocator.release(p.reserved)
			return Result{}, err
		case p.empty() || options.DryRun:
			s.allocator.release(p.reserved)
			return p.result(base.revision), nil
		}
		revision, committed, err := s.write(ctx, p)
		if committed {
			s.settleHere(ctx, revision)
		}
		s.allocator.release(p.reserved)
		switch {
		case err != nil:
			return Result{}, err
		case committed:
			return p.result(revision), nil
		}
		if base, err = s.at(ctx, revision); err != nil {
			return Result{}, err
		}
		current, last = true, p
		attempt++
		s.metrics.conflicts.Inc()
	}
	return Result{}, s.diagnose(ctx, last)
}

// unchanged refuses a transaction that rests on what was at a revision, if another
// one wrote objects after it.
func (s *Snapshot) unchanged(since int64, ops []api.Operation) error {
	switch {
	case since == 0:
		return nil
	case since < 0 || since > s.revision:
		return api.Errorf(api.CodeInvalid, "write: unchangedSince %d is no revision yet, the newest is %d", since, s.revision).About("", "", api.FieldUnchangedSince)
	case s.written <= since:
		return nil
	}
	e := api.Errorf(api.CodePrecondition, "write: others wrote objects at revision %d, after %d on which this rests: look again", s.written, since)
	if o := ops[0].Object; o != nil {
		m := &o.Head().Meta
		e = e.About(o.Head().Kind, cmp.Or(m.FQName, m.Name, m.UUID, string(o.Head().Kind)), "")
	}
	return e.About(e.Kind, e.Object, api.FieldUnchangedSince)
}

// settleHere waits until the tables have a commit, so that the writer sees it
// in Latest and the next allocation knows of it. Failing that is no failure of
// the write.
func (s *Store) settleHere(ctx context.Context, revision int64) {
	if _, err := s.at(ctx, revision); err != nil {
		s.log.Warn("store: the tables are late", "revision", revision, "error", err)
	}
}

// result returns the objects of each operation after a commit at a revision.
func (p *plan) result(revision int64) Result {
	result := Result{Revision: revision}
	for _, i := range p.objects {
		d := p.deltas[i]
		switch {
		case d.now == nil && d.old != nil:
			result.Objects = append(result.Objects, d.old.object)
		case d.now == nil: // created and deleted in the same transaction
			result.Objects = append(result.Objects, api.New(i.kind()))
		case d.now == d.old:
			result.Objects = append(result.Objects, d.now.object)
		default:
			o := api.Clone(d.now.object)
			o.Head().Meta.Revision = revision
			result.Objects = append(result.Objects, o)
		}
	}
	return result
}

// operations returns what must hold in etcd and what is then done. Puts and
// deletes of name, reference, claim and foreign keys are the difference
// between what the objects held before and hold after.
func (p *plan) operations() ([]clientv3.Cmp, []clientv3.Op, int) {
	var ops []clientv3.Op
	size := 0
	put := func(key, value string) {
		ops = append(ops, clientv3.OpPut(key, value))
		size += len(key) + len(value)
	}
	deletes := false
	compare := maps.Clone(p.compare)
	before, after := p.heldBefore(), p.heldAfter()
	for _, i := range p.order {
		d := p.deltas[i]
		key := i.objectKey()
		switch {
		case d.old == nil:
			compare[key] = absent(key)
		default:
			compare[key] = unchanged(key, d.old.modRevision)
		}
		switch {
		case d.now == nil && d.old != nil:
			ops = append(ops, clientv3.OpDelete(key), clientv3.OpDelete(i.statusKey()))
			deletes = true
			for n, c := range nothingElseRefers(i, before) {
				compare[fmt.Sprintf("%s#%d", i.refsPrefix(), n)] = c
			}
		case d.now != nil && d.now != d.old:
			put(key, string(d.now.encode()))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		was, had := before[key]
		if !had {
			compare[key] = absent(key)
			ops = append(ops, p.restOver(key, compare)...)
		}
		if !had || was != after[key] {
			put(key, after[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, keeps := after[key]; !keeps {
			ops = append(ops, clientv3.OpDelete(key))
			size += len(key)
		}
	}
	for i := range p.exists {
		if _, compared := compare[i.objectKey()]; !compared {
			compare[i.objectKey()] = present(i.objectKey())
		}
	}
	for g := range p.guards {
		compare[prefixGuard+g] = notAfter(prefixGuard+g, p.base.revision)
		put(prefixGuard+g, "")
	}
	if deletes {
		put(keyDeleted, "")
	}
	if p.heeded() {
		put(keyWritten, "")
	}
	if p.unchangedSince != 0 {
		compare[keyWritten] = notAfter(keyWritten, p.unchangedSince)
	}
	compare[keySchema] = notAfter(keySchema, p.base.revision)
	return slices.Collect(maps.Values(compare)), ops, size
}

// heeded tells whether anything could follow from what the plan writes, for whoever
// works something out of the objects: all but drafts that hold nothing, and
// foreign-documents, of which nobody but their writers takes notice.
func (p *plan) heeded() bool {
	return slices.ContainsFunc(p.order, func(i id) bool {
		d := p.deltas[i]
		return d.now != d.old && (heeded(d.old) || heeded(d.now))
	})
}

func heeded(r *record) bool {
	if r == nil {
		return false
	}
	switch o := r.object.(type) {
	case *api.Draft:
		return o.Spec.Hold != nil
	case *api.ForeignDocument:
		return false
	}
	return true
}

func (p *plan) heldBefore() map[string]string {
	keys := map[string]string{}
	for _, d := range p.deltas {
		if d.old != nil {
			for _, h := range heldKeys(d.old) {
				keys[h.key] = h.value
			}
		}
	}
	return keys
}

func (p *plan) heldAfter() map[string]string {
	keys := map[string]string{}
	for _, d := range p.deltas {
		if d.now != nil {
			for _, h := range heldKeys(d.now) {
				keys[h.key] = h.value
			}
		}
	}
	return keys
}

// nothingElseRefers compares that no reference to an object exists but those
// that the transaction knows: the ranges between them are empty.
func nothingElseRefers(i id, known map[string]string) []clientv3.Cmp {
	from := i.refsPrefix()
	end := clientv3.GetPrefixRangeEnd(from)
	var keys []string
	for key := range known {
		if key >= from && key < end {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var compare []clientv3.Cmp
	for _, key := range keys {
		if from < key {
			compare = append(compare, emptyRange(from, key))
		}
		from = key + "\x00"
	}
	return append(compare, emptyRange(from, end))
}

// write commits a plan. It reports whether it was committed and at which
// revision, or else up to which revision one must read to see why not.
func (s *Store) write(ctx context.Context, p *plan) (revision int64, committed bool, err error) {
	compare, ops, size := p.operations()
	if n := max(len(compare), len(ops)+len(p.rests)) + 1; n > s.maxOps {
		return 0, false, api.Errorf(api.CodeTooLarge, "write: it needs %d keys in one transaction, etcd is set to take %d (--max-txn-ops): write fewer objects at once, or raise the limit", n, s.maxOps)
	}
	if size > maxRequestBytes {
		return 0, false, api.Errorf(api.CodeTooLarge, "write: it has %d bytes, etcd takes %d in one transaction: write fewer objects at once", size, maxRequestBytes)
	}
	lease, err := s.lease.get(ctx, s.client)
	if err != nil {
		return 0, false, err
	}
	if ops, err = s.putRests(ctx, p.rests, ops); err != nil {
		return 0, false, err
	}
	writeKey := prefixWrite + uuid.NewString()
	compare = append(compare, absent(writeKey))
	ops = append(ops, clientv3.OpPut(writeKey, valueCommitted, clientv3.WithLease(lease)))
	attempt, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := s.client.Txn(attempt).If(compare...).Then(ops...).Commit()
	s.wrote(err)
	if err == nil {
		return reply.Header.Revision, reply.Succeeded, nil
	}
	if verdict, definite := s.refused(err); definite {
		return 0, false, verdict
	}
	// Nobody knows whether it was committed. Ask, and never send it again blindly.
	committed, revision, askErr := s.resolve(writeKey, lease)
	switch {
	case askErr != nil:
		return 0, false, askErr
	case committed:
		return revision, true, nil
	}
	return 0, false, failed(err, "write: nothing was written")
}

// refused tells for an error of etcd whether it says that nothing was written.
func (s *Store) refused(err error) (error, bool) {
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		s.lease.drop()
		s.rests.drop()
		return api.Errorf(api.CodeUnavailable, "write: the lease of this controller ran out: try again"), true
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrRequestTooLarge):
		return api.Errorf(api.CodeTooLarge, "write: etcd refuses its size (%v): write fewer objects at once", err), true
	case errors.Is(err, rpctypes.ErrNoSpace):
		return api.Errorf(api.CodeUnavailable, "write: %s", textFull), true
	case errors.Is(err, rpctypes.ErrDuplicateKey):
		return api.Errorf(api.CodeInternal, "write: the same key twice in one transaction (%v)", err), true
	}
	return nil, false
}

// diagnose says which key stands in the way of a plan that was given up.
func (s *Store) diagnose(ctx context.Context, p *plan) error {
	before := p.heldBefore()
	var keys []string
	var ops []clientv3.Op
	for _, key := range slices.Sorted(maps.Keys(p.heldAfter())) {
		if _, had := before[key]; !had && len(keys) < min(diagnosed, s.maxOps) {
			keys = append(keys, key)
			ops = append(ops, clientv3.OpGet(key))
		}
	}
	if err := s.unknownReferrer(ctx, p); err != nil {
		return err
	}
	message := fmt.Sprintf("write: given up after %d attempts, others keep changing what it depends on: try again", commitAttempts)
	if reply, err := s.client.Txn(ctx).Then(ops...).Commit(); err == nil {
		for n, r := range reply.Responses {
			if kvs := r.GetResponseRange().Kvs; len(kvs) > 0 {
				now := s.latest()
				if holder := now.record(id(kvs[0].Value)); holder != nil && p.sight.sees(now, holder) {
					message += fmt.Sprintf("; %s is held by %s", keys[n], nameOf(holder))
				} else {
					message += fmt.Sprintf("; %s is held", keys[n])
				}
			}
		}
	}
	return api.Errorf(api.CodeConflict, "%s", message)
}
