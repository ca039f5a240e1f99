// SPDX-License-Identifier: Apache-2.0

package vrouter

import "github.com/weft-network/weft/vrouter/rules"

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
// rule that decided if it logs.
func (l *loggedFrame) rules(layer rules.Layer, verdict, audit rules.Verdict) {
	if audit.Rule != 0 {
		l.Logged = append(l.Logged, LoggedRule{Layer: int(layer), Rule: audit.Rule, Audit: true})
	}
	if verdict.Log {
		l.Logged = append(l.Logged, LoggedRule{Layer: int(layer), Rule: verdict.Rule})
	}
}

// log tells of a frame when an end has been asked, if any layer has something to tell.
func (o *Oracle) log(l loggedFrame, reason string) {
	if o.Logged == nil || len(l.Logged) == 0 {
		return
	}
	l.Reason = reason
	*o.Logged = append(*o.Logged, l)
}
