// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

// auditOptions are the flags of audit.
type auditOptions struct {
	since, until, who, outcome, kind string
	limit                            int
	local                            bool
	output                           string
}

func newAudit(s *session) *cobra.Command {
	var o auditOptions
	c := &cobra.Command{
		Use:   "audit [KIND NAME]",
		Short: "Show who changed what, or tried to",
		Long: `Show who changed what, or tried to, the newest last: every write with its outcome,
also those that were refused. Only administrators may. Each controller keeps the
audit of what was asked of it; older entries are given up when its files are full.
All controllers that run are asked, and those that do not answer are named. The order
is by their clocks.

With KIND NAME, only that object; a NAME that ends in * is the beginning of one.`,
		Example:           "  weft audit --since 1h\n  weft audit network web\n  weft audit --who k8s-1 --outcome conflict",
		GroupID:           groupSee,
		Args:              arguments(0, 2),
		ValidArgsFunction: s.completeTargets,
		RunE:              func(c *cobra.Command, args []string) error { return s.audit(c.Context(), o, args) },
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", "", "from this `TIME` on: how long ago (90m) or RFC 3339")
	f.StringVar(&o.until, "until", "", "before this `TIME`")
	f.StringVar(&o.who, "who", "", "`NAME` of a credential or an orchestrator")
	f.StringVar(&o.outcome, "outcome", "", "`OUTCOME`: done, or the code of an error, e.g. conflict")
	f.StringVar(&o.kind, "kind", "", "objects of this `KIND`")
	f.IntVar(&o.limit, "limit", 100, "the newest so many")
	f.BoolVar(&o.local, "local", false, "only of the controller that answers")
	outputFlag(c, &o.output, formatJSON, formatYAML, formatWide)
	return c
}

func (s *session) audit(ctx context.Context, o auditOptions, args []string) error {
	q := api.AuditQuery{Who: o.who, Outcome: o.outcome, Limit: o.limit, Local: o.local}
	if o.limit < 1 {
		return usagef("--limit %d: want 1 or more", o.limit)
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	if q.Since, err = s.moment("since", o.since); err != nil {
		return err
	}
	if q.Until, err = s.moment("until", o.until); err != nil {
		return err
	}
	if o.kind != "" {
		info, err := parseKind(o.kind)
		if err != nil {
			return err
		}
		q.Kind = info.Kind
	}
	if len(args) > 0 {
		targets, err := s.parseTargets(args)
		if err != nil {
			return err
		}
		if len(targets) != 1 {
			return usagef("want one object: weft audit KIND NAME")
		}
		q.Kind, q.Object = targets[0].info.Kind, cmp.Or(targets[0].ref.UUID, targets[0].ref.Name)
	}
	found, err := c.Audit(ctx, q)
	if err != nil {
		return err
	}
	for _, missing := range found.Controllers {
		if missing.Error != "" {
			fmt.Fprintf(s.Err, "controller %s does not answer, its entries are missing: %s\n", missing.Name, oneLine(missing.Error))
		}
	}
	if done, err := s.encode(o.output, found); done {
		return err
	}
	return s.printer.Print(auditTable(found.Items, o.output == formatWide))
}

// moment reads a time, or how long ago it was.
func (s *session) moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return s.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usagef("--%s %q: want how long ago, as 90m, or a time as 2026-01-02T15:04:05Z", flag, text)
	}
	return t, nil
}

func auditTable(entries []api.AuditEntry, wide bool) api.Table {
	t := api.Table{Columns: []string{"TIME", "WHO", "CHANGE", "OBJECT", "OUTCOME", "CAUSE"}}
	if wide {
		t.Columns = append(t.Columns, "ORCHESTRATOR", "ROLE", "REVISION", "UUID", "CONTROLLER")
	}
	for _, e := range entries {
		row := []string{e.Time.UTC().Format(time.RFC3339), e.Who, e.Op, strings.Trim(string(e.Kind)+"/"+e.Object, "/"), e.Outcome, e.Cause}
		if wide {
			row = append(row, e.Orchestrator, string(e.Role), number(int(e.Revision)), e.UUID, e.Controller)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}
