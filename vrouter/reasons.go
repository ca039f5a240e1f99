// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
)

// Reason is why a frame ended in the vRouter. All of it is read from the
// object file; bpf/reasons.h is the list.
type Reason struct {
	Name    string // as the CLI prints it: spoofed-address
	Stage   string // the one stage that gives it: spoof
	Verdict string // dropped or consumed
	Text    string
}

// Routeless are the reasons of frames whose destination has no route here, and
// LeftOut those of them where there is one that found no room.
var (
	LeftOut   = []string{"route-left-out", "target-left-out"}
	Routeless = append([]string{"no-route", "arp-unknown-target", "nd-unknown-target"}, LeftOut...)
)

var words = sync.OnceValues(readWords)

// vocabulary is what numbers in kernel tables mean.
type vocabulary struct {
	reasons      []Reason // by number; 0 is no reason
	verdicts     map[uint32]string
	stages       map[uint32]string
	nextHopKinds map[uint32]string

	encapsulations map[uint32]string
}

// Reasons returns every reason in the order of the list. An error means a
// broken build.
func Reasons() ([]Reason, error) {
	w, err := words()
	if err != nil {
		return nil, err
	}
	return append([]Reason(nil), w.reasons[1:]...), nil
}

func readWords() (vocabulary, error) {
	spec, err := loadLayout()
	if err != nil {
		return vocabulary{}, fmt.Errorf("read layout object: %w", err)
	}
	names := map[string]map[uint32]string{}
	for enum, prefix := range map[string]string{
		"reason": "REASON_", "verdict": "VERDICT_", "stage": "STAGE_", "next_hop_kind": "NEXT_HOP_", "encapsulation": "ENCAPSULATION_",
	} {
		if names[enum], err = enumWords(spec.Types, enum, prefix); err != nil {
			return vocabulary{}, err
		}
	}
	var rows [layoutReasonREASON_COUNT]layoutReasonRow
	if err := spec.Variables["reason_rows"].Get(&rows); err != nil {
		return vocabulary{}, fmt.Errorf("read texts of reasons: %w", err)
	}
	w := vocabulary{verdicts: names["verdict"], stages: names["stage"], nextHopKinds: names["next_hop_kind"], encapsulations: names["encapsulation"], reasons: make([]Reason, len(rows))}
	for i, row := range rows {
		text, _, _ := bytes.Cut(row.Text[:], []byte{0})
		w.reasons[i] = Reason{
			Name:    names["reason"][uint32(i)],
			Stage:   names["stage"][uint32(row.Stage)],
			Verdict: names["verdict"][uint32(row.Verdict)],
			Text:    string(text),
		}
	}
	return w, nil
}

// enumWords turns SPOOFED_MAC of enum reason's REASON_SPOOFED_MAC into spoofed-mac.
func enumWords(types *btf.Spec, name, prefix string) (map[uint32]string, error) {
	var enum *btf.Enum
	if err := types.TypeByName(name, &enum); err != nil {
		return nil, fmt.Errorf("find enum %s in layout object: %w", name, err)
	}
	names := map[uint32]string{}
	for _, v := range enum.Values {
		word := strings.ToLower(strings.TrimPrefix(v.Name, prefix))
		names[uint32(v.Value)] = strings.ReplaceAll(word, "_", "-")
	}
	return names, nil
}
