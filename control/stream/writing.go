// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
)

// writing is one delta while it is filled. Its methods report false when the
// delta is full: what is left goes into the next one.
type writing struct {
	*progress
	delta *hoststream.Delta
	keys  []string
	size  int
}

// everything writes what leads to the target: puts, things before what refers
// to them, and then deletes the other way round. First of all is that a change is held.
func (w *writing) everything() bool {
	return w.ownPuts("hold/") && w.ownPuts("tunnel-endpoint/") && w.puts(placement.Sources) && w.ownPuts("") && w.puts(placement.Routes) &&
		w.ownDeletes() && w.deletes(placement.Routes) && w.ownDeletes("port/", "reservation/") && w.ownDeletes("ruleset/") && w.ownDeletes("selector/") && w.deletes(placement.Sources) && w.ownDeletes("tunnel-endpoint/") &&
		w.finish()
}

func (w *writing) finish() bool {
	w.ownAs, w.todo = w.view, w.todo[:0]
	return true
}

func (w *writing) put(r placement.Row, has map[string]uint64) bool {
	if !fits(&w.size, len(r.Key)+len(r.Body)) {
		return false
	}
	w.delta.Put = append(w.delta.Put, &hoststream.EncodedRow{Key: r.Key, Body: r.Body})
	w.keys = append(w.keys, r.Key)
	if has != nil {
		has[r.Key] = r.Hash
	}
	return true
}

// change puts one of the host's own rows by what is other in it.
func (w *writing) change(r placement.Row, c *hoststream.SelectorChange) bool {
	if !fits(&w.size, len(c.Key)+8*(len(c.Came)+len(c.Went)+4)) {
		return false
	}
	w.delta.Change = append(w.delta.Change, c)
	w.keys, w.own[r.Key] = append(w.keys, r.Key), r.Hash
	return true
}

func (w *writing) delete(key string, has map[string]uint64) bool {
	if !fits(&w.size, len(key)) {
		return false
	}
	w.delta.Delete = append(w.delta.Delete, key)
	w.keys = append(w.keys, key)
	delete(has, key)
	return true
}

// ownPuts puts the host's own rows whose keys begin so.
func (w *writing) ownPuts(prefix string) bool {
	if w.ownAs != nil {
		return true
	}
	for r := range w.view.Own {
		if hash, ok := w.own[r.Key]; ok && hash == r.Hash || !strings.HasPrefix(r.Key, prefix) {
			continue
		}
		var change *hoststream.SelectorChange
		if hash, has := w.own[r.Key]; has && w.changes {
			change = w.view.Change(r, hash)
		}
		if change == nil && !w.put(r, w.own) || change != nil && !w.change(r, change) {
			return false
		}
	}
	return true
}

// ownDeletes deletes the host's own rows that it must not have and whose keys
// begin so; without a prefix those of kinds that are not known here.
func (w *writing) ownDeletes(prefixes ...string) bool {
	if w.ownAs != nil {
		return true
	}
	count := 0
	for range w.view.Own {
		count++
	}
	if count == len(w.own) {
		return true // all wanted rows were put, so there are no others
	}
	wanted := make(map[string]bool, count)
	for r := range w.view.Own {
		wanted[r.Key] = true
	}
	known := func(key string, prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
	}
	for _, key := range slices.Sorted(maps.Keys(w.own)) {
		chosen := known(key, prefixes...) || len(prefixes) == 0 && !known(key, "port/", "reservation/", "ruleset/", "selector/", "tunnel-endpoint/")
		if chosen && !wanted[key] && !w.delete(key, w.own) {
			return false
		}
	}
	return true
}

// puts puts the rows of a part of all networks that are to be done.
func (w *writing) puts(of placement.Part) bool {
	for _, vrf := range w.todo {
		n, table := w.network(vrf), w.view.Table(vrf)
		if !n[of].is(table) && !w.putPart(&n[of], of, table) {
			return false
		}
	}
	return true
}

// putPart puts the rows of a part that the host has not, or not so. The part
// is then the table, or all its rows and some to be deleted.
func (w *writing) putPart(p *part, of placement.Part, table *placement.Table) bool {
	if p.listed == nil && p.table == table {
		return true // all but what is to be deleted
	}
	if p.listed == nil {
		puts, deletes := placement.Difference(of, p.table, table, w.host)
		if len(p.extra) == 0 && w.fit(puts) {
			for _, r := range puts {
				w.put(r, nil)
			}
			*p = part{table: table, extra: deletes}
			return true
		}
		*p = part{listed: p.list(of, w.host)}
	}
	wanted := 0
	for r := range table.Rows(of, w.host) {
		wanted++
		if hash, ok := p.listed[r.Key]; (!ok || hash != r.Hash) && !w.put(r, p.listed) {
			return false
		}
	}
	if wanted == len(p.listed) {
		*p = part{table: table}
	}
	return true
}

// fit tells whether there is room for all rows.
func (w *writing) fit(rows []placement.Row) bool {
	size := w.size
	for _, r := range rows {
		if !fits(&size, len(r.Key)+len(r.Body)) {
			return false
		}
	}
	return true
}

// deletes deletes the rows of a part of all networks that are to be done.
func (w *writing) deletes(of placement.Part) bool {
	for _, vrf := range w.todo {
		n, table := w.network(vrf), w.view.Table(vrf)
		if !n[of].is(table) && !w.deletePart(&n[of], of, table) {
			return false
		}
		if n[placement.Sources].empty() && n[placement.Routes].empty() {
			delete(w.networks, vrf)
		}
	}
	return true
}

func (w *writing) deletePart(p *part, of placement.Part, table *placement.Table) bool {
	for len(p.extra) > 0 {
		if !w.delete(p.extra[0], nil) {
			return false
		}
		p.extra = p.extra[1:]
	}
	if p.listed == nil {
		return true
	}
	wanted := map[string]bool{}
	for r := range table.Rows(of, w.host) {
		wanted[r.Key] = true
	}
	var deletes []string
	for key := range p.listed {
		if !wanted[key] {
			deletes = append(deletes, key)
		}
	}
	slices.SortFunc(deletes, compareDeletes)
	for _, key := range deletes {
		if !w.delete(key, p.listed) {
			return false
		}
	}
	*p = part{table: table}
	return true
}

// compareDeletes has a VRF go before the sources that it makes matter, and
// after what is said about it.
func compareDeletes(a, b string) int {
	rank := func(key string) int {
		class, _, _ := strings.Cut(key, "/")
		return slices.Index([]string{"name", "mac", "subnet", "vrf", "tunnel-source"}, class)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}
