// SPDX-License-Identifier: Apache-2.0

package records

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// logTail is how much of the file's end is read when an agent starts, some
// thousand records.
const logTail = 2 << 20

// loggedOf are the records of an event of what is logged: one for each rule. What
// they say of the packet is what became of it at the end that was asked.
func loggedOf(e *vrouter.Event, d directory) []api.Record {
	about := recordOf(e, d)
	about.Rule, about.RuleID = "", ""
	about.Verdict = cmp.Or(about.Verdict, "passed")
	all := make([]api.Record, len(e.Logged))
	for i, l := range e.Logged {
		r := about
		r.Record = api.RecordLog
		if l.Audit {
			r.Record = api.RecordAudit
		}
		layer := rules.Layer(l.Layer)
		r.Layer = layer.String()
		d.logged(&r, l.Rule, func(n datapath.Numbered) bool { return n.Layer == layer && n.Audit == l.Audit })
		all[i] = r
	}
	return all
}

// logged writes down which rule of those that are meant has a number.
func (d directory) logged(r *api.Record, number uint32, meant func(datapath.Numbered) bool) {
	for _, n := range d.rules[number] {
		if !meant(n) {
			continue
		}
		r.RuleID, r.Action = n.Object, n.Action.String()
		if r.Rule != "" {
			r.Rule += " or "
		}
		r.Rule += n.Cause.String()
	}
	if r.Rule == "" {
		r.Rule = fmt.Sprintf("rule %d, which this host does not have any more", number)
	}
}

// keepLogged keeps records of rules for those who ask, and hands them on.
func (r *Recorder) keepLogged(all []api.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logged.add(all)
	for _, to := range []*Exporter{r.options.Log, r.options.Export} {
		for i := range all {
			to.Take(all[i])
		}
	}
}

// recall reads what rules logged before this agent started.
func (r *Recorder) recall() {
	all, err := tailOf(r.options.LogFile)
	if err != nil {
		r.log.Warn("the policy log of before is not read", "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logged.all = append(all, r.logged.all...)
	r.logged.add(nil) // keeps the bound
}

// PolicyLog answers with what rules logged: after the record that the question
// names, or in the time that it names.
func (r *Recorder) PolicyLog(_ context.Context, query string) (api.Table, error) {
	q, err := api.ParseRecordQuestion(query)
	if err != nil {
		return api.Table{}, err
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.logged.here(r.options.Host, now)
	switch {
	case q.Since > 0:
		all, left := r.logged.past(q, now)
		first.Lost = left
		return api.RecordsTable(append([]api.Record{first}, all...))
	case q.After != 0 && q.After <= r.logged.sequence: // else of before a clock was set back
		return api.RecordsTable(r.logged.after(q, r.options.Host, now))
	}
	return api.RecordsTable([]api.Record{first})
}

// tailOf reads the last records of a file and of the one that it was before it was
// full. What is no record is passed over.
func tailOf(path string) (all []api.Record, err error) {
	f := file{path: path}
	for n := 1; n >= 0 && path != "" && path != standardOutput; n-- {
		text, failed := tail(f.numbered(n))
		if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("read file of records: %w", failed))
		}
		for line := range bytes.Lines(text) {
			var r api.Record
			if json.Unmarshal(line, &r) == nil {
				all = append(all, r)
			}
		}
	}
	return all, err
}

// tail reads the end of a file, from the beginning of a line on.
func tail(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, info.Size()-logTail)
	text, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err == nil && from > 0 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text, err
}
