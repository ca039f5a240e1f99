// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"time"

	"github.com/weft-network/weft/reconcile"
)

// rulesetReady says why a ruleset is not to be written, if so.
func (e *enforcement) rulesetReady(id uint32, c *contents) error {
	if err := when(e.uses.used(id), "number %d is that of a former ruleset which ports still ask: add or remove a rule", id); err != nil {
		return err
	}
	if c.head.Audit == 0 {
		return nil
	}
	st, wanted := e.rulesets.Status(c.head.Audit)
	return when(!wanted || st.State != reconcile.Done, "audit rules are not programmed yet")
}

// rulesetFree says why a ruleset is not to be removed, if so: it is asked, or a
// packet that came before may be asking it.
func (e *enforcement) rulesetFree(id uint32) error {
	if err := when(e.uses.used(id), "ports still ask ruleset %d", id); err != nil {
		return err
	}
	if err := when(e.target.audits(id), "a ruleset still has %d for its audit rules", id); err != nil {
		return err
	}
	return when(e.waited != e.uses.changes, "packets may be asking ruleset %d", id)
}

// waitRetry is when the kernel is asked again that could not wait.
const waitRetry = time.Second

// letGo waits, once for all of them, for the packets that may be asking rulesets to
// which no port leads any more, and tells whether these can be removed now. It comes
// after everything else, so that many changes share a wait.
func (e *enforcement) letGo(now time.Time) bool {
	if e.waited == e.uses.changes || !e.rulesets.Removes() || e.busy != nil && now.Before(e.retry) {
		return false
	}
	changes := e.uses.changes
	if e.busy = e.wait(); e.busy != nil {
		e.retry = now.Add(waitRetry)
		return false
	}
	e.waited = changes
	return true
}

// nextWait is when to ask again; false if not.
func (e *enforcement) nextWait() (time.Time, bool) { return e.retry, e.busy != nil }
