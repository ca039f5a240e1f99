// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/weft-network/weft/api"
)

// Workload is everything about a port that rules can ask. Ports of which all of
// it is equal have the same. It never changes.
type Workload struct {
	Identity uint64
	Project  string   // UUID
	Network  string   // UUID
	Groups   []string // UUIDs of security-groups, ascending
	Tags     []Tag    // those that count, ascending
	Named    []Named  // ascending
	// Several are what an address is that several ports share: whatever one of
	// them is. Nothing else is set then. By identity.
	Several []*Workload
}

// Tag is a tag that a workload has.
type Tag struct {
	UUID, Type, Value string
	Level             api.Kind // of what it is bound to
	Project           string   // UUID; it never changes, so the tag's own stands for it in an identity
}

// Named is a transport port that a workload has a name for.
type Named struct {
	Name     string
	Protocol uint8
	Port     uint16
}

func compareTags(a, b Tag) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Value, b.Value), cmp.Compare(a.UUID, b.UUID), cmp.Compare(a.Level, b.Level))
}

func compareNamed(a, b Named) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

// has tells whether the workload has a tag.
func (w *Workload) has(tag string) bool {
	return slices.ContainsFunc(w.Tags, func(t Tag) bool { return t.UUID == tag })
}

// ofType are the UUIDs of the tags of a type that the workload has.
func (w *Workload) ofType(word string) (tags []string) {
	for _, t := range w.Tags {
		if t.Type == word && !slices.Contains(tags, t.UUID) {
			tags = append(tags, t.UUID)
		}
	}
	return tags
}

// Words are the tags as type=value, each once, ascending.
func (w *Workload) Words() (words []string) {
	if w == nil {
		return nil
	}
	for i := range w.Tags {
		words = append(words, w.Tags[i].Type+"="+w.Tags[i].Value)
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// number is what the workload has a name for; 0: it has not that name.
func (w *Workload) number(name string, protocol uint8) uint16 {
	for _, n := range w.Named {
		if n.Name == name && n.Protocol == protocol {
			return n.Port
		}
	}
	return 0
}

// The smallest identity that a workload has: 0 is outside, 1 is pending.
const firstIdentity = 2

// hasher makes numbers out of words.
type hasher struct{ buffer []byte }

func (h *hasher) word(words ...string) {
	for _, w := range words {
		h.buffer = binary.AppendUvarint(h.buffer, uint64(len(w)))
		h.buffer = append(h.buffer, w...)
	}
}

func (h *hasher) number(n uint64) { h.buffer = binary.AppendUvarint(h.buffer, n) }

func (h *hasher) identity() uint64 {
	sum := sha256.Sum256(h.buffer)
	id := binary.BigEndian.Uint64(sum[:])
	if id < firstIdentity {
		id += firstIdentity
	}
	return id
}

// identify gives a workload its identity, which follows from all the rest.
func (h *hasher) identify(w *Workload) {
	h.buffer = h.buffer[:0]
	h.word("workload", w.Project, w.Network)
	h.number(uint64(len(w.Groups)))
	h.word(w.Groups...)
	h.number(uint64(len(w.Tags)))
	for i := range w.Tags {
		t := &w.Tags[i]
		h.word(t.UUID, t.Type, t.Value, string(t.Level))
	}
	for i := range w.Named {
		n := &w.Named[i]
		h.word(n.Name)
		h.number(uint64(n.Protocol))
		h.number(uint64(n.Port))
	}
	w.Identity = h.identity()
}

// Together is the identity of an address that ports with these identities
// share; 0 of none. Those that are 0 do not count.
func Together(identities ...uint64) uint64 {
	ids := slices.Clone(identities)
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id uint64) bool { return id == 0 })
	switch len(ids) {
	case 0:
		return 0
	case 1:
		return ids[0]
	}
	var h hasher
	h.word("several")
	for _, id := range ids {
		h.number(id)
	}
	return h.identity()
}

// atom is one thing that a workload is: all that are have it in common.
type atom struct {
	kind byte
	a, b string
}

// The kinds of atoms.
const (
	inProject   = 'p'
	inNetwork   = 'n'
	inGroup     = 'g'
	withTag     = 't' // by UUID
	withValue   = 'v' // type and value of a tag
	withType    = 'y' // type of a tag
	withName    = 'm' // name and protocol of a port
	anyWorkload = '*'
)

// atoms are what the workload is, each once.
func (w *Workload) atoms() []atom {
	all := make([]atom, 0, 4+len(w.Groups)+3*len(w.Tags)+len(w.Named))
	for _, one := range w.Several {
		all = append(all, one.atoms()...)
	}
	if len(w.Several) == 0 {
		all = append(all, atom{kind: inProject, a: w.Project}, atom{kind: inNetwork, a: w.Network})
	}
	for _, g := range w.Groups {
		all = append(all, atom{kind: inGroup, a: g})
	}
	for i := range w.Tags {
		t := &w.Tags[i]
		all = append(all, atom{kind: withTag, a: t.UUID}, atom{withValue, t.Type, t.Value}, atom{kind: withType, a: t.Type})
	}
	for i := range w.Named {
		all = append(all, namedAtom(w.Named[i].Name, w.Named[i].Protocol))
	}
	if len(w.Tags) > 1 || len(w.Several) > 0 || len(w.Named) > 1 {
		slices.SortFunc(all, compareAtoms)
		all = slices.Compact(all)
	}
	return all
}

func compareAtoms(x, y atom) int {
	return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
}

func namedAtom(name string, protocol uint8) atom {
	return atom{withName, name, strconv.Itoa(int(protocol))}
}
