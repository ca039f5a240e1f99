// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"
	"time"
)

// AuditEntry is one attempt to change something, whatever became of it.
type AuditEntry struct {
	Time         time.Time `json:"time" doc:"When it ended, RFC 3339, UTC."`
	Who          string    `json:"who" doc:"Name of the credential."`
	Orchestrator string    `json:"orchestrator,omitempty" doc:"Orchestrator the credential is bound to."`
	Role         Role      `json:"role" doc:"Role of the credential."`
	Op           string    `json:"op" doc:"create, update, delete, certify; the operation's name where it was not allowed at all."`
	Kind         Kind      `json:"kind,omitempty" doc:"Kind of the object."`
	Object       string    `json:"object,omitempty" doc:"Fully qualified name, or what is known of it."`
	UUID         string    `json:"uuid,omitempty" doc:"UUID of the object, where it is known."`
	Revision     int64     `json:"revision,omitempty" doc:"Store revision of the change."`
	Outcome      string    `json:"outcome" doc:"done, or the code of the error."`
	Cause        string    `json:"cause,omitempty" doc:"The error."`
	Controller   string    `json:"controller,omitempty" doc:"Controller that was asked for the change, as others call it now."`
}

// Audit is the answer to a question about the audit.
type Audit struct {
	Items       []AuditEntry      `json:"items" doc:"The entries, the oldest first, by the clock of the controller of each."`
	Controllers []AuditController `json:"controllers" doc:"Those whose entries were looked for: the one that answers, and all others that are known to run."`
}

// AuditController is a controller whose entries were looked for.
type AuditController struct {
	Name  string `json:"name" doc:"Its name."`
	Error string `json:"error,omitempty" doc:"Why its entries are missing; absent when they are here."`
}

// AuditQuery selects entries; all conditions must hold.
type AuditQuery struct {
	Since, Until time.Time // either may be zero; Since is included, Until is not
	Object       string    // fully qualified name, its beginning and '*', or UUID
	Who          string    // name of a credential or of an orchestrator
	Kind         Kind
	Outcome      string
	Limit        int  // the newest so many
	Local        bool // only at the controller that is asked, which asks no other
}

// Matches tells whether an entry is selected, the limit aside.
func (q AuditQuery) Matches(e AuditEntry) bool {
	start, open := strings.CutSuffix(q.Object, "*")
	switch {
	case !q.Since.IsZero() && e.Time.Before(q.Since), !q.Until.IsZero() && !e.Time.Before(q.Until):
		return false
	case q.Who != "" && q.Who != e.Who && q.Who != e.Orchestrator:
		return false
	case q.Kind != "" && q.Kind != e.Kind, q.Outcome != "" && q.Outcome != e.Outcome:
		return false
	case open:
		return strings.HasPrefix(e.Object, start)
	}
	return q.Object == "" || q.Object == e.Object || q.Object == e.UUID
}
