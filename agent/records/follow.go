// SPDX-License-Identifier: Apache-2.0

package records

import (
	"context"
	"slices"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

const (
	// sessionInterval is the pause between two looks at the connections: what
	// comes and goes stays in the tables for 10 s at least.
	sessionInterval = 5 * time.Second
	// maxSessions bounds what is followed, which takes some 400 bytes each.
	maxSessions = 1 << 18
)

// follow tells of sessions until the context ends, and then that it no longer
// follows those that go on: their next records are of the next agent.
func (r *Recorder) follow(ctx context.Context) {
	s := newSessions(r.path.ConnectionTimeout, r.options.Sessions, maxSessions)
	ticker := time.NewTicker(sessionInterval)
	defer ticker.Stop()
	for {
		if err := r.look(ctx, s); err != nil && ctx.Err() == nil {
			r.log.Warn("conversations are not recorded; trying again", "error", err, "retry", sessionInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look tells what has changed since the last look.
func (r *Recorder) look(ctx context.Context, s *sessions) error {
	var ends []end
	if err := r.path.Connections(func(k vrouter.ConnectionKey, c vrouter.Connection) { ends = here(ends, k, c) }); err != nil {
		return err
	}
	now := time.Now()
	changes := s.look(ends, now)
	r.untold.Store(s.over)
	devices, err := r.options.Interfaces()
	if err != nil {
		return err
	}
	for part := range slices.Chunk(changes, batch) {
		err := look(ctx, r.loop, func(d directory) {
			for _, c := range part {
				if f, told := d.session(c, now, s.find); told {
					f.Host, f.Interface = r.options.Host, devices[c.key.Ifindex]
					r.options.Export.Take(f)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// session is what there is to tell of a change.
func (d directory) session(c change, now time.Time, known finder) (api.Record, bool) {
	f, told := d.flow(c.end, now, known)
	if !told {
		return f, false
	}
	made := c.made
	f.Record, f.Why, f.Start, f.Verdict = c.record, c.why, &made, "passed"
	total, added := c.total, c.added
	remote := f.Destination
	if c.heardFirst() {
		remote = f.Source
	}
	if other, there := d.other(c.key, remote, known); there { // what that one sent is counted there alone
		sent := api.Traffic(other.Sent)
		total.heard, added.heard = sent, counts{sent: sent}.since(counts{sent: c.session.heardOther}).sent
		c.session.heardOther = sent
	}
	if c.heardFirst() {
		total.sent, total.heard = total.heard, total.sent
		added.sent, added.heard = added.heard, added.sent
	}
	if total.sent.Packets+total.heard.Packets > 0 { // else nothing was counted
		f.Sent, f.Answered, f.SentSince, f.AnsweredSince = &total.sent, &total.heard, &added.sent, &added.heard
	}
	return f, true
}
