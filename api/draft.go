// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// KindDraft is the kind of what is staged.
const KindDraft Kind = "draft"

var draftKinds = []Info{
	{KindDraft, "drafts", "dr", KindProject, "Changes of policy that are staged, and committed as one.", func() Object { return &Draft{} }},
}

// draftable are the kinds whose changes can be staged.
var draftable = []Kind{
	KindAddressGroup, KindServiceGroup, KindSecurityGroup, KindSecurityGroupRule, KindTag, KindTagBinding,
	KindFirewallRule, KindFirewallPolicy, KindApplicationPolicySet, KindNetworkPolicy, KindNetworkPolicyAttachment,
}

// Draftable lists the kinds whose changes can be staged.
func Draftable() []Kind { return slices.Clone(draftable) }

const (
	// MaxStagedWrites leaves room for the deletion of the draft in the
	// transaction of at most 100 operations that commits it.
	MaxStagedWrites = 99
	// MaxDraftBytes bounds a draft: what it stages is written in one request
	// to etcd, with its keys, of at most 1.5 MiB.
	MaxDraftBytes = 512 << 10
	// MaxHoldSeconds bounds how long a change can be held.
	MaxHoldSeconds = 600
)

// Draft is changes that are staged: nothing follows from them until all of
// them are committed in one transaction, in which the draft itself goes.
type Draft struct {
	Header
	Spec   DraftSpec   `json:"spec"`
	Status DraftStatus `json:"status,omitzero"`
}

// DraftStatus is how far the hosts have come with a change that is held.
type DraftStatus struct {
	Behind  int        `json:"behind,omitempty" doc:"How many hosts a hold waits for, once it has lasted a second."`
	Waiting []HeldHost `json:"waiting,omitempty" doc:"These, by name, at most 100."`
	Expired bool       `json:"expired,omitempty" doc:"The hold has lasted as long as it may, and ends without the hosts that it waits for."`
}

// HeldHost is a host that a hold waits for.
type HeldHost struct {
	Host string `json:"host" doc:"Name."`
	Why  string `json:"why" doc:"Why it is not known to ask both policies."`
}

// String names the host with the reason.
func (h HeldHost) String() string { return h.Host + " (" + h.Why + ")" }

// DraftSpec lists what is staged.
type DraftSpec struct {
	Writes []StagedWrite `json:"writes,omitempty" maxItems:"99" doc:"What is staged, of each object one write; together at most 524288 bytes. Committed in an order that works."`
	Hold   *Hold         `json:"hold,omitempty" doc:"A change is to hold at all hosts at once: while this draft is there, what ports asked before the transaction that wrote this is asked besides what they are to ask. A controller deletes the draft when all hosts do so. Only administrators, Weft's or an orchestrator's, may set it, of all drafts one has it, and it stages nothing."`
}

// Hold is how long a change may be held, and for whom.
type Hold struct {
	Seconds int      `json:"seconds" minimum:"1" maximum:"600" doc:"After so long it ends, even if not all hosts have the change."`
	Without []string `json:"without,omitempty" maxItems:"10000" doc:"UUIDs of hosts that are not waited for: they are away, or of a release that cannot hold."`
}

// StagedWrite is one write that is staged.
type StagedWrite struct {
	Op     string   `json:"op" enum:"create,update,delete" doc:"create, update or delete."`
	Object Document `json:"object" doc:"The object with kind, meta and spec, as a write of it has. An update and a delete have meta.uuid, and meta.revision as it was when they were staged: if the object is at another one, nothing of the draft is committed."`
}

// Operation reads a staged write.
func (w StagedWrite) Operation() (Operation, error) {
	o, err := Decode(w.Object, true)
	return Operation{Op: w.Op, Object: o}, err
}

// Operations are the writes in an order that works: what is referred to is
// created before, and deleted after, what refers to it.
func (d *Draft) Operations() ([]Operation, error) {
	ops := make([]Operation, len(d.Spec.Writes))
	for i, w := range d.Spec.Writes {
		var err error
		if ops[i], err = w.Operation(); err != nil {
			return nil, fmt.Errorf("read write %d of draft %s: %w", i+1, d.Meta.FQName, err)
		}
	}
	place := func(op Operation) int {
		n := kindPlaces[op.Object.Head().Kind]
		if op.Op == OpDelete {
			return 2*len(kinds) - n
		}
		return n
	}
	slices.SortStableFunc(ops, func(a, b Operation) int { return place(a) - place(b) })
	return ops, nil
}

// Find returns the place of the write of an object, by its UUID or fully
// qualified name, -1 if it has none; of one that is deleted and made anew, the
// latter.
func (d *Draft) Find(kind Kind, ref Ref) int {
	for i, w := range slices.Backward(d.Spec.Writes) {
		op, err := w.Operation()
		if err != nil || op.Object.Head().Kind != kind {
			continue
		}
		if is := StagedRef(op.Object); ref.UUID != "" && ref.UUID == is.UUID || ref.Name != "" && ref.Name == is.Name {
			return i
		}
	}
	return -1
}

// StagedRef names the object of a write.
func StagedRef(o Object) Ref {
	m := &o.Head().Meta
	name := m.FQName
	if name == "" && m.Name != "" {
		name = JoinName(m.Parent.Name, m.Name)
	}
	return Ref{UUID: m.UUID, Name: name}
}

// Stage adds a write. Together with what is staged of the same object already
// it stays one write: a change of what the draft creates is part of the
// creation, and a deletion of it leaves nothing.
func (d *Draft) Stage(op Operation) error {
	o := Clone(op.Object)
	m, is := &o.Head().Meta, StagedRef(o)
	at := d.Find(o.Head().Kind, is)
	if at >= 0 {
		was, err := d.Spec.Writes[at].Operation()
		if err != nil {
			return err
		}
		switch {
		case was.Op == OpDelete && op.Op == OpCreate && m.UUID == "":
			at = -1 // anew
		case was.Op == OpDelete:
			return Errorf(CodeConflict, "stage %s of %s %s: the draft deletes it", op.Op, o.Head().Kind, is)
		case op.Op == OpCreate:
			return Errorf(CodeConflict, "stage create of %s %s: the draft writes it already", o.Head().Kind, is)
		case was.Op == OpCreate && op.Op == OpDelete:
			d.Spec.Writes = slices.Delete(d.Spec.Writes, at, at+1)
			return nil
		case was.Op == OpCreate:
			op.Op, m.UUID = OpCreate, was.Object.Head().Meta.UUID
		}
		if at >= 0 {
			m.Revision = was.Object.Head().Meta.Revision
		}
	}
	m.FQName, m.Owner, m.Generation, m.CreatedAt, m.UpdatedAt = "", "", 0, time.Time{}, time.Time{}
	reflect.ValueOf(o.StatusBody()).Elem().SetZero()
	body, err := stagedBody(op.Op, o)
	if err != nil {
		return err
	}
	w := StagedWrite{Op: op.Op, Object: body}
	if at >= 0 {
		d.Spec.Writes[at] = w
		return nil
	}
	d.Spec.Writes = append(d.Spec.Writes, w)
	return nil
}

// stagedBody encodes an object; of one that is deleted only what it is.
func stagedBody(op string, o Object) (Document, error) {
	if op != OpDelete {
		return json.Marshal(o)
	}
	m := o.Head().Meta
	return json.Marshal(Header{Kind: o.Head().Kind, Meta: Meta{UUID: m.UUID, Name: m.Name, Parent: m.Parent, Revision: m.Revision}})
}

func (d *Draft) Validate() Problems {
	p := checkFields(d.Spec)
	if len(p) > 0 {
		return p
	}
	if d.Spec.Hold != nil && len(d.Spec.Writes) > 0 {
		p.Addf("spec.hold", "a draft that holds a change stages nothing")
	}
	bytes, seen := 0, map[string]bool{}
	for i, w := range d.Spec.Writes {
		bytes += len(w.Object)
		at := entry("spec.writes", i) + ".object"
		op, err := w.Operation()
		if err != nil {
			p.Addf(at, "%v", err)
			continue
		}
		w.check(&p, at, op.Object)
		is := StagedRef(op.Object)
		for _, name := range []string{is.UUID, w.Op[:1] + is.Name} { // what is deleted may be created anew
			if key := string(op.Object.Head().Kind) + "/" + name; len(name) > 1 && seen[key] {
				p.Addf(at, "%s %s has another write in the draft", op.Object.Head().Kind, is)
			} else {
				seen[key] = true
			}
		}
	}
	if bytes > MaxDraftBytes {
		p.Addf("spec.writes", "they are %d bytes together, at most %d are allowed: make several drafts", bytes, MaxDraftBytes)
	}
	return p
}

// check says what is wrong with a write by itself.
func (w StagedWrite) check(p *Problems, at string, o Object) {
	h := o.Head()
	if !slices.Contains(draftable, h.Kind) {
		p.Addf(at+".kind", "changes of a %s cannot be staged: want one of %s", h.Kind, joinKinds(draftable))
		return
	}
	switch create := w.Op == OpCreate; {
	case create && (h.Meta.Name == "" || h.Meta.Revision != 0):
		p.Addf(at+".meta", "a create has a name and no revision")
	case !create && (h.Meta.UUID == "" || h.Meta.Revision <= 0):
		p.Addf(at+".meta", "%s needs uuid, and revision as it was when it was staged", w.Op)
	}
	problems := ValidateHeader(h)
	if w.Op != OpDelete {
		problems = append(problems, o.Validate()...)
	}
	for _, problem := range problems {
		p.Addf(at+"."+problem.Field, "%s", problem.Reason)
	}
}

func joinKinds(kinds []Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// Claims: there is one hold at a time.
func (d *Draft) Claims() []Claim {
	if d.Spec.Hold == nil {
		return nil
	}
	return []Claim{{Key: "hold", Field: "spec.hold", What: "the one strict change at a time"}}
}

func (d *Draft) StatusBody() any { return &d.Status }
