// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// The tables of records, which a host makes for a question whose words follow
// the name as those of a URL do. Each row is one [Record] in JSON.
const (
	HostTableEvents = "events" // single frames; to ask turns the recording of them on for a while
	HostTableFlows  = "flows"  // conversations as they are now
	// HostTablePolicyLog are the records of rules that log and of audit rules, which
	// are made whether somebody asks or not.
	HostTablePolicyLog = "policy-log"
)

// What a record is about.
const (
	RecordDrop   = "drop"   // one frame that was dropped or consumed
	RecordFirst  = "first"  // one frame that began a conversation
	RecordStart  = "start"  // a conversation that was not there before
	RecordUpdate = "update" // one that goes on
	RecordEnd    = "end"    // one that is over
	RecordFlow   = "flow"   // one as it is now
	RecordLost   = "lost"   // records of frames that there are not: Lost of them; at the port that is the source, if there is one
	RecordLog    = "log"    // one frame for which a rule decided that logs
	RecordAudit  = "audit"  // one for which an audit rule would have
)

// Party is one end of a conversation, as far as the host that tells knows it.
type Party struct {
	Address  netip.Addr `json:"address"`
	Port     uint16     `json:"port,omitempty" doc:"Of TCP, UDP and the like; of an echo its identifier at the asker's end; of a frame of ICMP its type at the sender's and its code at the receiver's."`
	Workload string     `json:"workload,omitempty" doc:"Name of the port; of what several ports share, or is behind one, of what made the route to it."`
	ID       string     `json:"id,omitempty" doc:"UUID of a port of this host."`
	Host     string     `json:"host,omitempty" doc:"The other host that has it."`
	Network  string     `json:"network,omitempty"`
	Project  string     `json:"project,omitempty"`
	Identity string     `json:"identity,omitempty" doc:"Who it is to rules, hexadecimal."`
	Tags     []string   `json:"tags,omitempty" doc:"As type=value."`
}

// String is the name if there is one, and the address.
func (p Party) String() string {
	at := "-"
	if p.Address.IsValid() {
		at = p.Address.String()
	}
	if p.Port != 0 && p.Address.IsValid() {
		at = netip.AddrPortFrom(p.Address, p.Port).String()
	}
	if p.Workload == "" {
		return at
	}
	return p.Workload + " (" + at + ")"
}

// Traffic is what went one way.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Record is what a host tells of a frame or of a conversation.
type Record struct {
	Sequence  uint64    `json:"sequence,omitempty"` // of events; rises, also when the agent starts anew
	Time      time.Time `json:"time"`
	Record    string    `json:"record"` // one of the words Record…
	Host      string    `json:"host,omitempty"`
	VRF       uint32    `json:"vrf,omitempty"`
	Interface string    `json:"interface,omitempty"`
	Direction string    `json:"direction,omitempty"` // egress: the port of this host sent it, or began; ingress: it got it
	Protocol  string    `json:"protocol,omitempty"`  // a name or number; of frames that are not IP their ethertype
	// Source sent the frame, or began the conversation.
	Source      Party `json:"source"`
	Destination Party `json:"destination"`

	Verdict string `json:"verdict,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Stage   string `json:"stage,omitempty"`
	Text    string `json:"text,omitempty"`
	Layer   string `json:"layer,omitempty"` // of policy, whose rule decided
	Rule    string `json:"rule,omitempty"`  // in words
	RuleID  string `json:"ruleId,omitempty"`
	Action  string `json:"action,omitempty"` // of a rule that logs what it said, of an audit rule what it would have

	Flags  string `json:"tcpFlags,omitempty"`
	Length int    `json:"length,omitempty"` // bytes of the frame
	OneOf  uint32 `json:"oneOf,omitempty"`  // it stands for so many frames, absent for one
	Lost   uint64 `json:"lost,omitempty"`

	State string     `json:"state,omitempty"` // opening, established, closing, closed, reset
	Start *time.Time `json:"start,omitempty"`
	End   *time.Time `json:"end,omitempty"`   // when the last packet was seen
	Why   string     `json:"ended,omitempty"` // how it ended: closed, idle, gone
	// Sent went from the source, Answered to it; absent where connections do not count.
	Sent     *Traffic `json:"sent,omitempty"`
	Answered *Traffic `json:"answered,omitempty"`
	// The same since the last record of the session.
	SentSince     *Traffic `json:"sentSince,omitempty"`
	AnsweredSince *Traffic `json:"answeredSince,omitempty"`
}

// RecordsTable is a table of records.
func RecordsTable(all []Record) (Table, error) {
	t := Table{Columns: []string{"RECORD"}, Rows: make([][]string, 0, len(all))}
	for _, r := range all {
		text, err := json.Marshal(r)
		if err != nil {
			return Table{}, fmt.Errorf("encode record: %w", err)
		}
		t.Rows = append(t.Rows, []string{string(text)})
	}
	return t, nil
}

// ParseRecords reads a table of records.
func ParseRecords(t Table) ([]Record, error) {
	all := make([]Record, len(t.Rows))
	for i, row := range t.Rows {
		if len(row) != 1 {
			return nil, fmt.Errorf("decode record: a row of %d cells", len(row))
		}
		if err := json.Unmarshal([]byte(row[0]), &all[i]); err != nil {
			return nil, fmt.Errorf("decode record: %w", err)
		}
	}
	return all, nil
}

// RecordQuestion says which records are wanted. A filter that is empty lets
// everything pass.
type RecordQuestion struct {
	// After is the sequence of the last event that is known, or 0: the answer is
	// one record that only tells the sequence to go on from.
	After uint64
	// Since asks for what happened in that time, too: conversations that ended, and
	// frames that were recorded before the question.
	Since                  time.Duration
	Record                 string // one of the words Record…
	Port, Network, Project string // of either end
	Verdict                string
}

// Table is the question as the name of a host's table.
func (q RecordQuestion) Table(table string) string {
	v := url.Values{}
	for name, value := range map[string]string{"record": q.Record, "port": q.Port, "network": q.Network, "project": q.Project, "verdict": q.Verdict} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.After != 0 {
		v.Set("after", strconv.FormatUint(q.After, 10))
	}
	if q.Since != 0 {
		v.Set("since", q.Since.String())
	}
	return table + "?" + v.Encode()
}

// ParseRecordQuestion reads what follows the ? of a table's name.
func ParseRecordQuestion(query string) (q RecordQuestion, err error) {
	v, err := url.ParseQuery(query)
	if err != nil {
		return q, fmt.Errorf("read question for records: %w", err)
	}
	for name, values := range v {
		value := values[len(values)-1]
		to, known := map[string]*string{"record": &q.Record, "port": &q.Port, "network": &q.Network, "project": &q.Project, "verdict": &q.Verdict}[name]
		switch {
		case known:
			*to = value
		case name == "after":
			if q.After, err = strconv.ParseUint(value, 10, 64); err != nil {
				return q, fmt.Errorf("read question for records: after: %q is not a number", value)
			}
		case name == "since":
			if q.Since, err = time.ParseDuration(value); err != nil || q.Since < 0 {
				return q, fmt.Errorf("read question for records: since: %q is not a time", value)
			}
		default:
			return q, fmt.Errorf("read question for records: %s is not known here: upgrade the agent", name)
		}
	}
	return q, nil
}

// Matches tells whether a record is one of those that are wanted. What was lost
// could have been any, or any of a port.
func (q RecordQuestion) Matches(r *Record) bool {
	if r.Record == RecordLost {
		if r.Source.ID == "" {
			return true
		}
		q.Record, q.Verdict = "", ""
	}
	either := func(want, a, b string) bool { return want == "" || want == a || want == b }
	return (q.Record == "" || q.Record == r.Record) && (q.Verdict == "" || q.Verdict == r.Verdict) &&
		(either(q.Port, r.Source.Workload, r.Destination.Workload) || either(q.Port, r.Source.ID, r.Destination.ID)) &&
		either(q.Network, r.Source.Network, r.Destination.Network) && either(q.Project, r.Source.Project, r.Destination.Project)
}
