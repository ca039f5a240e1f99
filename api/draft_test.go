// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

// staging is a draft to which a test stages things.
type staging struct {
	t *testing.T
	d *Draft
}

func newStaging(t *testing.T) staging { return staging{t, New(KindDraft).(*Draft)} }

// stage stages a write of a tag of a name, with a UUID if there is one.
func (s staging) stage(op, name, uuid, value string) error {
	s.t.Helper()
	tag := New(KindTag).(*Tag)
	tag.Meta.Name, tag.Meta.Parent = name, Ref{Name: "d:p"}
	if uuid != "" {
		tag.Meta.UUID, tag.Meta.Revision = someUUID, 7
	}
	tag.Spec.Type, tag.Spec.Value = "label", value
	return s.d.Stage(Operation{Op: op, Object: tag})
}

func (s staging) want(writes string) {
	s.t.Helper()
	var got []string
	ops, err := s.d.Operations()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, op := range ops {
		got = append(got, op.Op+" "+op.Object.Head().Meta.Name+"="+op.Object.(*Tag).Spec.Value)
	}
	if text := strings.Join(got, ", "); text != writes {
		s.t.Errorf("staged are %s, want %s", text, writes)
	}
	s.d.Meta = Meta{Name: "draft", Parent: Ref{Name: "d:p"}}
	if p := s.d.Validate(); len(p) > 0 {
		s.t.Errorf("it is not valid: %v", p)
	}
}

// Changes of one object are one write, whatever is staged in turn.
func TestStagedWritesOfOneObjectAreOne(t *testing.T) {
	s := newStaging(t)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	do(s.stage(OpCreate, "new", "", "1"))
	do(s.stage(OpUpdate, "new", "", "2"))
	s.want("create new=2")
	do(s.stage(OpDelete, "new", "", ""))
	s.want("")
	do(s.stage(OpUpdate, "is", someUUID, "1"))
	do(s.stage(OpUpdate, "is", someUUID, "2"))
	s.want("update is=2")
	do(s.stage(OpDelete, "is", someUUID, ""))
	s.want("delete is=")
	if s.stage(OpUpdate, "is", someUUID, "3") == nil {
		t.Error("what the draft deletes was changed")
	}
	do(s.stage(OpCreate, "is", "", "4"))
	s.want("create is=4, delete is=")
	if s.stage(OpCreate, "is", "", "5") == nil {
		t.Error("what the draft creates was created once more")
	}
}

func TestStagedWritesKeepTheFirstRevision(t *testing.T) {
	s := newStaging(t)
	for _, revision := range []int64{7, 9} {
		tag := New(KindTag).(*Tag)
		tag.Meta = Meta{UUID: someUUID, Name: "t", Parent: Ref{Name: "d:p"}, Revision: revision, FQName: "d:p:t", Owner: "weft", Generation: 3}
		tag.Spec.Type = "label"
		if err := s.d.Stage(Operation{Op: OpUpdate, Object: tag}); err != nil {
			t.Fatal(err)
		}
	}
	if text := string(s.d.Spec.Writes[0].Object); !strings.Contains(text, `"revision":7`) || strings.Contains(text, "owner") {
		t.Errorf("staged is %s", text)
	}
}

func TestWhatADraftRefuses(t *testing.T) {
	tag := func(name, more string) string {
		return `{"op":"create","object":{"kind":"tag","meta":{"name":"` + name + `","parent":"d:p"` + more + `},"spec":{"type":"label"}}}`
	}
	many := strings.Repeat(tag("x", "")+",", MaxStagedWrites) + tag("x", "")
	big := `{"op":"create","object":{"kind":"tag","meta":{"name":"b%","parent":"d:p","description":"` + strings.Repeat("x", 4000) + `"},"spec":{"type":"label"}}}`
	var bigs []string
	for i := range 99 {
		bigs = append(bigs, strings.ReplaceAll(big, "%", strings.Repeat("x", i+1)))
	}
	checkSpecs(t, []specCase{
		{KindDraft, `{}`, ok},
		{KindDraft, `{"writes":[` + tag("a", "") + `,` + tag("b", "") + `]}`, ok},
		{KindDraft, `{"writes":[` + tag("a", "") + `,` + tag("a", "") + `]}`, "spec.writes[1].object"},
		{KindDraft, `{"writes":[` + tag("a", `,"revision":3`) + `]}`, "spec.writes[0].object.meta"},
		{KindDraft, `{"writes":[{"op":"create","object":{"kind":"tag","meta":{"name":"a","parent":"d:p"},"spec":{}}}]}`, "spec.writes[0].object.spec.type"},
		{KindDraft, `{"writes":[{"op":"update","object":{"kind":"tag","meta":{"name":"a","parent":"d:p"},"spec":{"type":"x"}}}]}`, "spec.writes[0].object.meta"},
		{KindDraft, `{"writes":[{"op":"delete","object":{"kind":"port","meta":{"name":"a","parent":"d:p"}}}]}`, "spec.writes[0].object.kind"},
		{KindDraft, `{"writes":[{"op":"create","object":{"kind":"draft","meta":{"name":"a","parent":"d:p"}}}]}`, "spec.writes[0].object.kind"},
		{KindDraft, `{"writes":[{"op":"rename","object":{}},{"object":{"kind":"thing"}},{"op":"create","object":[]}]}`, "spec.writes[0].op spec.writes[1].op spec.writes[2].object"},
		{KindDraft, `{"writes":[` + many + `]}`, "spec.writes"},
		{KindDraft, `{"writes":[` + strings.Join(bigs, ",") + `]}`, ok}, // 99 of 4 KB are below the bound
	})
}

func encodedLen(t *testing.T, o Object) int {
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return len(data)
}

// Together the writes are bounded, so that a commit fits into one request.
func TestDraftsAreBounded(t *testing.T) {
	s := newStaging(t)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		g := New(KindAddressGroup).(*AddressGroup)
		g.Meta = Meta{Name: name, Parent: Ref{Name: "d:p"}}
		for encodedLen(t, g) < 60_000 {
			for range 100 {
				g.Spec.Ranges = append(g.Spec.Ranges, netip.MustParsePrefix("198.51.100.0/24"))
			}
		}
		if err := s.d.Stage(Operation{Op: OpCreate, Object: g}); err != nil {
			t.Fatal(err)
		}
	}
	if p := s.d.Validate(); len(p) != 1 || !strings.Contains(p[0].Reason, "make several drafts") {
		t.Errorf("9 writes of 60 KB: %v", p)
	}
}
