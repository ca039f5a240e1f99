// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// shownFields is how many changed fields a line names.
const shownFields = 5

// eventsOptions are the flags of events.
type eventsOptions struct {
	follow bool
	last   int64
	output string
}

func newEvents(s *session) *cobra.Command {
	var o eventsOptions
	c := &cobra.Command{
		Use:   "events [KIND...]",
		Short: "Show what changed, one line an event",
		Long: `Show what changed lately, and with --follow what changes from now on: when, what
became of which object, and who owns it. A change of the status is the system's
own report. Who made a change is in the audit: weft audit.

The store remembers a bounded past; when that is asked for and gone, the command
says so.`,
		Example: "  weft events\n  weft events ports bindings --follow",
		GroupID: groupSee,
		Args:    arguments(0, -1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var kinds []string
			for _, info := range api.Kinds() {
				kinds = append(kinds, info.Plural)
			}
			return kinds, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error { return s.events(c.Context(), o, args) },
	}
	f := c.Flags()
	f.BoolVar(&o.follow, "follow", false, "stay, and print changes as they happen")
	f.Int64Var(&o.last, "last", 100, "begin so many revisions of the store before now")
	outputFlag(c, &o.output, formatJSON)
	return c
}

func (s *session) events(ctx context.Context, o eventsOptions, words []string) error {
	options := client.WatchOptions{Soon: true, Interrupted: func(err error) {
		fmt.Fprintf(s.Err, "%s; connecting again\n", oneLine(err.Error()))
	}}
	for _, w := range words {
		info, err := parseKind(w)
		if err != nil {
			return err
		}
		options.Kinds = append(options.Kinds, info.Kind)
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	now, err := c.List(ctx, api.KindDomain, client.ListOptions{Limit: 1, Fields: []string{"kind"}})
	if err != nil {
		return err
	}
	options.Revision = max(1, now.Revision-max(0, o.last))
	p := eventPrinter{s: s, output: o.output, begun: now.Revision, known: map[string]api.Object{}}
	if o.output == formatTable {
		p.header()
	}
	if !o.follow && options.Revision >= now.Revision {
		return nil
	}
	for e, err := range c.Watch(ctx, options) {
		var known *api.Error
		if errors.As(err, &known) && known.Code == api.CodeGone {
			return failure{what: err.Error(), hint: "the store no longer has that past: ask for less with --last"}
		}
		if err != nil {
			return err
		}
		if !o.follow && e.Revision > now.Revision {
			return nil
		}
		if err := p.print(e); err != nil {
			return err
		}
		if !o.follow && e.Type == api.EventBookmark && e.Revision >= now.Revision {
			return nil
		}
	}
	return nil
}

// eventPrinter prints events as lines.
type eventPrinter struct {
	s      *session
	output string
	begun  int64 // revision at which the command began: what is later happens now
	known  map[string]api.Object
}

const eventLine = "%-20s  %-8s  %-10s  %s%s\n"

func (p *eventPrinter) header() {
	fmt.Fprintf(p.s.Out, eventLine, "TIME", "CHANGE", "OWNER", "OBJECT", "")
}

func (p *eventPrinter) print(e api.Event) error {
	if e.Object == nil {
		return nil
	}
	m := &e.Object.Head().Meta
	old := p.known[m.UUID]
	if p.known[m.UUID] = e.Object; e.Type == api.EventDelete {
		delete(p.known, m.UUID)
	}
	if p.output == formatJSON {
		return json.NewEncoder(p.s.Out).Encode(e)
	}
	word, at := "changed", m.UpdatedAt
	switch {
	case e.Type == api.EventDelete:
		word, at = "deleted", time.Time{}
	case m.Revision != e.Revision:
		word, at = "status", time.Time{}
	case m.CreatedAt.Equal(m.UpdatedAt):
		word = "created"
	}
	when := "-"
	switch {
	case !at.IsZero():
		when = at.UTC().Format(time.RFC3339)
	case e.Revision > p.begun:
		when = p.s.Now().UTC().Format(time.RFC3339)
	}
	_, err := fmt.Fprintf(p.s.Out, eventLine, when, word, m.Owner, oneLineKept(slashed(e.Object)), changedFields(old, e))
	return err
}

// changedFields names what differs from the state before, if that was seen.
func changedFields(old api.Object, e api.Event) string {
	if old == nil || e.Type == api.EventDelete {
		return ""
	}
	before, after := map[string]string{}, map[string]string{}
	for o, into := range map[api.Object]map[string]string{old: before, e.Object: after} {
		var raw map[string]any
		data, err := json.Marshal(o)
		if err == nil {
			err = json.Unmarshal(data, &raw)
		}
		if err != nil {
			return ""
		}
		for _, row := range flatten("", raw) {
			into[row[0]] = row[1]
		}
	}
	for field, value := range before {
		if _, stays := after[field]; !stays && value != "" {
			after[field] = ""
		}
	}
	var changed []string
	for _, field := range slices.Sorted(maps.Keys(after)) {
		switch field {
		case "meta.revision", "meta.updatedAt", "meta.generation":
			continue
		}
		if before[field] != after[field] {
			changed = append(changed, fmt.Sprintf("%s %s → %s", field, orDash(before[field]), orDash(after[field])))
		}
	}
	if n := len(changed); n > shownFields {
		changed = append(changed[:shownFields], fmt.Sprintf("and %d more", n-shownFields))
	}
	if len(changed) == 0 {
		return ""
	}
	return oneLineKept(": " + strings.Join(changed, ", "))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
