// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"slices"

	"github.com/weft-network/weft/vrouter/rules"
)

// loggedFrame is what an end tells of a frame because its rules log.
type loggedFrame struct {
	Ifindex   int // of the end
	Port, VRF uint32
	In        bool
	Reason    string // for which the end refuses it
	Layer     int    // the last that was asked, -1 if none was
	Rule      uint32 // that decided there
	Logged    []LoggedRule
}

// rules adds what a layer has to tell: the audit rule that was counted, and the
// rule that decided if it logs. Those of former rulesets take the place of others.
func (l *loggedFrame) rules(layer rules.Layer, verdict, audit rules.Verdict) {
	if audit.Rule != 0 {
		l.put(LoggedRule{Layer: int(layer), Rule: audit.Rule, Audit: true})
	}
	if verdict.Log {
		l.put(LoggedRule{Layer: int(layer), Rule: verdict.Rule})
	}
}

func (l *loggedFrame) put(r LoggedRule) {
	place := func(r LoggedRule) int {
		if r.Audit {
			return 2 * r.Layer
		}
		return 2*r.Layer + 1
	}
	l.Logged = slices.DeleteFunc(l.Logged, func(other LoggedRule) bool { return place(other) == place(r) })
	l.Logged = append(l.Logged, r)
	slices.SortFunc(l.Logged, func(a, b LoggedRule) int { return place(a) - place(b) })
}

// log tells of a frame when an end has been asked, if any layer has something to tell.
func (o *Oracle) log(l loggedFrame, reason string) {
	if o.Logged == nil || len(l.Logged) == 0 {
		return
	}
	l.Reason = reason
	*o.Logged = append(*o.Logged, l)
}
