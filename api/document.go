// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The kind of what only one orchestrator understands.
const KindForeignDocument Kind = "foreign-document"

var documentKinds = []Info{
	{KindForeignDocument, "foreign-documents", "fdoc", KindProject, "What only one orchestrator understands: a bounded JSON object of its own, about any object or none.", func() Object { return &ForeignDocument{} }},
}

// MaxDocumentBytes bounds a document. A transaction of 20 of them stays below
// etcd's request limit of 1.5 MiB.
const MaxDocumentBytes = 64 << 10

// Document is a JSON object that Weft stores and does not read.
type Document []byte

// MarshalJSON writes the object as it is.
func (d Document) MarshalJSON() ([]byte, error) { return json.RawMessage(d).MarshalJSON() }

// UnmarshalJSON takes any JSON, in one spelling; null is none.
func (d *Document) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		*d = nil
		return nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	*d = b.Bytes()
	return nil
}

func (d Document) problem() string {
	switch {
	case len(d) > MaxDocumentBytes:
		return fmt.Sprintf("is %d bytes long, at most %d are allowed", len(d), MaxDocumentBytes)
	case len(d) == 0 || d[0] != '{':
		return "is not a JSON object"
	}
	return ""
}

// ForeignDocument holds what one orchestrator wants kept and nobody else
// understands. Its identity there is meta.foreign, which the store keeps unique
// and finds it by.
type ForeignDocument struct {
	Header
	Spec   ForeignDocumentSpec `json:"spec"`
	Status Reported            `json:"status,omitzero"`
}

// ForeignDocumentSpec is the document, what it is about, and what it is found by.
type ForeignDocumentSpec struct {
	TargetKind Kind              `json:"targetKind,omitempty" doc:"Kind of the object it is about; fixed."`
	Target     Ref               `json:"target,omitzero" doc:"The object it is about, which may belong to somebody else; fixed. While the document exists it is not deleted."`
	Index      map[string]string `json:"index,omitempty" doc:"What the document is found by, beside meta.foreign; at most 64 pairs."`
	Body       Document          `json:"body,omitempty" doc:"The document: a JSON object of at most 65536 bytes."`
}

func (d *ForeignDocument) Refs() []FieldRef {
	return []FieldRef{{"spec.target", d.Spec.TargetKind, &d.Spec.Target, VerbSee}}
}

func (d *ForeignDocument) Validate() Problems {
	p := checkFields(d.Spec)
	if d.Meta.Foreign == nil {
		p.Addf("meta.foreign", "is required: it says which of the orchestrator's things the document is")
	}
	if d.Spec.Target.IsZero() != (d.Spec.TargetKind == "") {
		p.Addf("spec.target", "targetKind and target come together")
	}
	switch _, ok := KindInfo(d.Spec.TargetKind); {
	case d.Spec.TargetKind == "":
	case !ok:
		p.Addf("spec.targetKind", "%q is not a kind of object", d.Spec.TargetKind)
	case d.Spec.TargetKind == KindForeignDocument || d.Spec.TargetKind == KindShare:
		p.Addf("spec.targetKind", "a document is not about a %s", d.Spec.TargetKind)
	}
	return p
}

func (d *ForeignDocument) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*ForeignDocument)
	immutable(&p, "spec.targetKind", was.Spec.TargetKind, d.Spec.TargetKind)
	immutable(&p, "spec.target", was.Spec.Target, d.Spec.Target)
	return p
}

func (d *ForeignDocument) StatusBody() any { return &d.Status }
