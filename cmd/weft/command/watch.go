// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/cmd/weft/table"
)

// watching prints rows as objects, or what their columns tell of, change.
type watching struct {
	s        *session
	o        getOptions
	kind     api.Kind
	columns  []column
	selected func(api.Object) bool
	view     *view
	objects  map[string]api.Object // rows, by UUID
	shown    map[string]string     // last row printed, by UUID
	synced   bool                  // the first bookmark has come
	stream   *table.Stream
}

// getWatch prints what is there, and then changes until it is interrupted.
func (s *session) getWatch(ctx context.Context, c *client.Client, o getOptions, word string, targets []target, labels selector) error {
	kind, _, _ := strings.Cut(word, "/")
	info, err := parseKind(kind)
	if err != nil {
		return err
	}
	if o.output == formatYAML {
		return usagef("--watch with -o yaml has no meaning: use json, one event a line")
	}
	if slices.ContainsFunc(targets, func(t target) bool { return t.info.Kind != info.Kind }) {
		return usagef("--watch follows one kind at a time")
	}
	w := &watching{s: s, o: o, kind: info.Kind, view: newView(s.project), objects: map[string]api.Object{}, shown: map[string]string{}}
	w.selected = func(object api.Object) bool {
		named := slices.ContainsFunc(targets, func(t target) bool {
			m := object.Head().Meta
			return t.ref.UUID == m.UUID || t.ref.Name != "" && t.ref.Name == m.FQName
		})
		return (named || len(targets) == 0 && s.inScope(o.all, object)) && labels.matches(object.Head().Meta.Labels)
	}
	w.columns = append([]column{{title: "CHANGE"}}, tableColumns(info.Kind, o.output == formatWide, o.all)...)
	options := client.WatchOptions{Kinds: []api.Kind{info.Kind}}
	if o.output == formatTable || o.output == formatWide {
		for _, r := range relatedKinds(info.Kind, o.output == formatWide) {
			options.Kinds = append(options.Kinds, r.kind)
		}
	}
	if len(options.Kinds) == 1 { // what is beside others need not meet their conditions
		options.Select.Labels = labels.words()
		if len(targets) == 0 && !o.all && inProject(info.Kind) {
			options.Select.Name = s.project + ":*"
		}
	}
	options.Interrupted = func(err error) { fmt.Fprintf(s.Err, "%s; connecting again\n", oneLine(err.Error())) }
	for event, err := range c.Watch(ctx, options) {
		if err != nil {
			return goneAdvice(err)
		}
		if err := w.event(event); err != nil {
			return err
		}
	}
	return nil
}

// goneAdvice explains a watch that cannot go on.
func goneAdvice(err error) error {
	var e *api.Error
	if errors.As(err, &e) && e.Code == api.CodeGone {
		return failure{what: err.Error(), hint: "the connection was lost for longer than the store keeps history: begin again"}
	}
	return err
}

// event takes one event in and prints what it changes.
func (w *watching) event(e api.Event) error {
	if e.Type == api.EventBookmark {
		if w.synced {
			return nil
		}
		w.synced = true
		return w.first()
	}
	if e.Object == nil {
		return nil
	}
	if w.o.output == formatJSON || w.o.output == formatName {
		return w.program(e)
	}
	if e.Object.Head().Kind == w.kind {
		return w.own(e)
	}
	change := w.view.put
	if e.Type == api.EventDelete {
		change = w.view.remove
	}
	for _, uuid := range change(e.Object) {
		if o := w.objects[uuid]; o != nil {
			if err := w.print(api.EventPut, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// program prints an event for programs: one JSON value or one name a line.
func (w *watching) program(e api.Event) error {
	if !w.selected(e.Object) {
		return nil
	}
	if w.o.output == formatName {
		_, err := fmt.Fprintln(w.s.Out, e.Type, slashed(e.Object))
		return err
	}
	return json.NewEncoder(w.s.Out).Encode(e)
}

// own takes a change of an object that has a row itself. An object that no
// longer matches the selection leaves the table.
func (w *watching) own(e api.Event) error {
	uuid := e.Object.Head().Meta.UUID
	if e.Type == api.EventPut && w.selected(e.Object) {
		w.objects[uuid] = e.Object
		return w.print(api.EventPut, e.Object)
	}
	if _, had := w.objects[uuid]; !had {
		return nil
	}
	err := w.print(api.EventDelete, e.Object)
	delete(w.objects, uuid)
	delete(w.shown, uuid)
	return err
}

// print writes a row if it differs from the last one of the object.
func (w *watching) print(change string, o api.Object) error {
	if !w.synced {
		return nil
	}
	row := w.row(change, o)
	uuid, now := o.Head().Meta.UUID, strings.Join(row, "\x00")
	if w.shown[uuid] == now {
		return nil
	}
	w.shown[uuid] = now
	return w.stream.Rows([][]string{row})
}

func (w *watching) row(change string, o api.Object) []string {
	return append([]string{change}, w.view.cells(w.columns[1:], o)...)
}

// first writes the table as it is at the bookmark.
func (w *watching) first() error {
	if w.o.output == formatJSON || w.o.output == formatName {
		return nil
	}
	objects := make([]api.Object, 0, len(w.objects))
	for _, o := range w.objects {
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b api.Object) int {
		return strings.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName)
	})
	var rows [][]string
	for _, o := range objects {
		row := w.row(api.EventPut, o)
		w.shown[o.Head().Meta.UUID] = strings.Join(row, "\x00")
		rows = append(rows, row)
	}
	w.stream = w.s.printer.Stream(titles(w.columns), rows).Header(titles(w.columns))
	return w.stream.Rows(rows)
}
