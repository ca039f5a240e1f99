// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/weft-network/weft/api"
)

// criterion says which workloads are meant: those of which all of it holds.
type criterion struct {
	project, network, group string // UUIDs; empty: any
	tags                    []string
	expressions             []api.TagExpression // each with its project
	anyOf                   [][]string          // of each of these lists of tags, one
	named                   *Named              // gives this name to this port; port 0: to whichever
}

// key is one spelling of equal criteria.
func (c *criterion) key() string {
	var h hasher
	h.word(c.project, c.network, c.group)
	sorted := slices.Clone(c.tags)
	slices.Sort(sorted)
	h.number(uint64(len(sorted)))
	h.word(sorted...)
	h.number(uint64(len(c.expressions)))
	for i := range c.expressions {
		x := &c.expressions[i]
		values := slices.Clone(x.Values)
		slices.Sort(values)
		h.word(x.Type, x.Operator, string(x.Level), x.Project.UUID)
		h.number(uint64(len(values)))
		h.word(values...)
	}
	h.number(uint64(len(c.anyOf)))
	for _, tags := range c.anyOf {
		h.number(uint64(len(tags)))
		h.word(tags...)
	}
	if c.named != nil {
		h.word(c.named.Name, strconv.Itoa(int(c.named.Protocol)), strconv.Itoa(int(c.named.Port)))
	}
	return string(h.buffer)
}

// idBytes is how much of a hash makes the id of a row.
const idBytes = 16

// idOf is the id of a row by what it follows from.
func idOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:idBytes])
}

// matches tells whether a workload is meant.
func (c *criterion) matches(w *Workload) bool {
	if len(w.Several) > 0 {
		return slices.ContainsFunc(w.Several, c.matches)
	}
	if c.project != "" && c.project != w.Project || c.network != "" && c.network != w.Network || c.group != "" && !slices.Contains(w.Groups, c.group) {
		return false
	}
	for _, t := range c.tags {
		if !w.has(t) {
			return false
		}
	}
	for i := range c.expressions {
		if !expressed(&c.expressions[i], w) {
			return false
		}
	}
	for _, tags := range c.anyOf {
		if !slices.ContainsFunc(tags, w.has) {
			return false
		}
	}
	if c.named == nil {
		return true
	}
	number := w.number(c.named.Name, c.named.Protocol)
	return number != 0 && (c.named.Port == 0 || number == c.named.Port)
}

// expressed tells whether the workload's tags satisfy an expression.
func expressed(x *api.TagExpression, w *Workload) bool {
	exists, in := false, false
	for i := range w.Tags {
		t := &w.Tags[i]
		if t.Type == x.Type && t.Project == x.Project.UUID && (x.Level == "" || x.Level == t.Level) {
			exists = true
			in = in || slices.Contains(x.Values, t.Value)
		}
	}
	switch x.Operator {
	case "in":
		return in
	case "not-in":
		return !in
	case "exists":
		return exists
	case "not-exists":
		return !exists
	}
	return false
}

// atoms are such that every workload which is meant has one of them, the fewest
// first to be looked at: how a selector finds its workloads, and they it.
func (c *criterion) atoms() []atom {
	switch {
	case c.group != "":
		return []atom{{kind: inGroup, a: c.group}}
	case len(c.tags) > 0:
		return []atom{{kind: withTag, a: slices.Min(c.tags)}}
	case c.network != "":
		return []atom{{kind: inNetwork, a: c.network}}
	case c.project != "":
		return []atom{{kind: inProject, a: c.project}}
	case len(c.anyOf) > 0:
		return atomsOf(c.anyOf[0], func(tag string) atom { return atom{kind: withTag, a: tag} })
	}
	for i := range c.expressions {
		if x := &c.expressions[i]; x.Operator == "in" {
			return atomsOf(x.Values, func(value string) atom { return atom{withValue, x.Type, value} })
		}
	}
	for i := range c.expressions {
		if x := &c.expressions[i]; x.Operator == "exists" {
			return []atom{{kind: withType, a: x.Type}}
		}
	}
	if c.named != nil {
		return []atom{namedAtom(c.named.Name, c.named.Protocol)}
	}
	return []atom{{kind: anyWorkload}}
}

func atomsOf(words []string, make func(string) atom) (atoms []atom) {
	for _, w := range words {
		if a := make(w); !slices.Contains(atoms, a) {
			atoms = append(atoms, a)
		}
	}
	return atoms
}
