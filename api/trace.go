// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// HostTableTrace is not a table that is there: a host makes it for a question,
// whose words follow it as those of a URL do (trace?port=…&to=…). Each row is
// an item, its value, and how it is known.
const HostTableTrace = "trace"

// The items of a trace. Those with a word of their own are for whoever follows
// a packet further; the others are for people.
const (
	TraceVerdict   = "verdict"   // as doc/packet-path.md calls them, or none: nothing was tried
	TraceReason    = "reason"    // why it ended
	TraceText      = "text"      // the reason in a sentence
	TraceStage     = "stage"     // one that it met: its name, then what it found
	TraceReceiver  = "receiver"  // UUID of the port it was delivered to
	TraceRemote    = "remote"    // with verdict tunnelled: underlay address of the other host
	TraceLocal     = "local"     // and of this one
	TraceVNI       = "vni"       // that it travels with
	TraceNextHost  = "next-host" // with verdict routed: name of the host that the workload is on; absent if it is no workload
	TraceFrame     = "frame"     // as it leaves, hexadecimal, without zeros at the end
	TraceFrameSize = "frame-size"
	TraceFrom      = "from" // source of the packet
	TraceTo        = "to"
	TraceProtocol  = "protocol"
	TracePolicy    = "policy" // one layer that was asked; a further cell of the row is its PolicyStep in JSON
)

// PolicyStep is what one layer of policy said of a traced packet at one end.
type PolicyStep struct {
	Direction Side        `json:"direction"` // egress at the sender's port, ingress at the receiver's
	Layer     string      `json:"layer"`
	Port      string      `json:"port"`            // fully qualified name of the port that was asked
	Remote    netip.Addr  `json:"remote,omitzero"` // address of the other end
	Identity  string      `json:"identity"`        // who the other end is to rules: a number, outside or pending
	Action    string      `json:"action"`          // pass, deny, reject, next, pending or absent
	Ruleset   string      `json:"ruleset"`         // what the rules are of: security-groups a:b:web, a:b:db
	Rule      *PolicyRule `json:"rule,omitempty"`  // that decided; absent if none matched
	Audit     *PolicyRule `json:"audit,omitempty"` // that would have, and only counts
}

// String says it: "ingress, security-group: deny, no rule of security-group a:b:web matches".
func (s PolicyStep) String() string {
	text := fmt.Sprintf("%s at %s, %s: %s", s.Direction, s.Port, s.Layer, s.Action)
	if s.Rule != nil {
		text += " by " + s.Rule.String()
	} else if s.Ruleset != "" {
		text += ", no rule of " + s.Ruleset + " matches"
	}
	if s.Audit != nil {
		text += "; audit: " + s.Audit.String()
	}
	return text
}

// String names the rule, its owner and what it came by.
func (r PolicyRule) String() string {
	text := r.Kind + " " + r.Name
	if r.Index > 0 {
		text = fmt.Sprintf("rule %d of %s", r.Index, text)
	}
	if len(r.Via) > 0 {
		text += " by " + strings.Join(r.Via, ", ")
	}
	if r.Owner != "" {
		text += " (owner " + r.Owner + ")"
	}
	return text
}

// PolicyRule is a rule by where it comes from.
type PolicyRule struct {
	Kind  string   `json:"kind"`
	Name  string   `json:"name"`            // of the object, fully qualified
	Index int      `json:"index,omitempty"` // its place among the object's rules, from 1; 0: the object is the rule
	Owner string   `json:"owner,omitempty"`
	Via   []string `json:"via,omitempty"` // kind and name of what it came to the port by, the nearest first
}

// How an item of a trace is known.
const (
	TracedHow  = "traced"  // the packet path's own programs ran on the live tables
	ReadHow    = "read"    // from the agent's or the kernel's tables
	QueriedHow = "queried" // the kernel was asked, beside the packet path
)

// TraceQuestion is what is asked of a host: what becomes of a packet that the
// workload of a port sends, or of a frame that another host sends here.
type TraceQuestion struct {
	Port            string     // UUID or fully qualified name; empty for a frame from a tunnel
	From            netip.Addr // invalid: the port's own
	To              netip.Addr
	Protocol        string // tcp, udp, icmp, or a number
	SourcePort      uint16 // of ICMP: the identifier
	DestinationPort uint16
	Reply           bool // of ICMP: an echo reply
	Hops            int  // 0: 64
	Size            int  // of the IP packet; 0: as small as it can be

	VNI       uint32 // of a frame from a tunnel, like what follows
	Source    netip.Addr
	Frame     string // hexadecimal, without zeros at the end
	FrameSize int
	Uplink    bool // the frame comes without encapsulation: it has no VNI and source
}

// Table is the question as the name of a host's table.
func (q TraceQuestion) Table() string {
	v := url.Values{}
	set := func(name, value string, is bool) {
		if is {
			v.Set(name, value)
		}
	}
	set("port", q.Port, q.Port != "")
	set("from", q.From.String(), q.From.IsValid())
	set("to", q.To.String(), q.To.IsValid())
	set("protocol", q.Protocol, q.Protocol != "")
	set("sport", strconv.Itoa(int(q.SourcePort)), q.SourcePort != 0)
	set("dport", strconv.Itoa(int(q.DestinationPort)), q.DestinationPort != 0)
	set("reply", "true", q.Reply)
	set("hops", strconv.Itoa(q.Hops), q.Hops != 0)
	set("size", strconv.Itoa(q.Size), q.Size != 0)
	set("vni", strconv.Itoa(int(q.VNI)), q.VNI != 0)
	set("source", q.Source.String(), q.Source.IsValid())
	set("frame", q.Frame, q.Frame != "")
	set("uplink", "true", q.Uplink)
	set("frame-size", strconv.Itoa(q.FrameSize), q.FrameSize != 0)
	return HostTableTrace + "?" + v.Encode()
}

// ParseTraceQuestion reads what follows the ? of a table's name.
func ParseTraceQuestion(query string) (q TraceQuestion, err error) {
	v, err := url.ParseQuery(query)
	if err != nil {
		return q, fmt.Errorf("read question for a trace: %w", err)
	}
	for name, values := range v {
		if err := q.set(name, values[len(values)-1]); err != nil {
			return q, fmt.Errorf("read question for a trace: %s: %w", name, err)
		}
	}
	switch {
	case q.Frame == "" && (q.Port == "" || !q.To.IsValid()):
		return q, fmt.Errorf("read question for a trace: it needs port and to, or a frame with vni and source")
	case q.Frame == "" && q.From.IsValid() && q.From.Is4() != q.To.Is4():
		return q, fmt.Errorf("read question for a trace: %v and %v are not of one family", q.From, q.To)
	case q.Frame != "" && !q.Uplink && (q.VNI == 0 || !q.Source.IsValid()):
		return q, fmt.Errorf("read question for a trace: a frame needs vni and source")
	}
	return q, nil
}

func (q *TraceQuestion) set(name, text string) (err error) {
	number := func(bits int) (n uint64) {
		if n, err = strconv.ParseUint(text, 10, bits); err != nil {
			err = fmt.Errorf("%q is not a number of %d bits", text, bits)
		}
		return n
	}
	address := func() (a netip.Addr) {
		a, err = netip.ParseAddr(text)
		return a.Unmap()
	}
	switch name {
	case "port":
		q.Port = text
	case "from":
		q.From = address()
	case "to":
		q.To = address()
	case "protocol":
		q.Protocol = text
	case "sport":
		q.SourcePort = uint16(number(16))
	case "dport":
		q.DestinationPort = uint16(number(16))
	case "reply":
		q.Reply = text == "true"
	case "hops":
		q.Hops = int(number(8))
	case "size":
		q.Size = int(number(16))
	case "vni":
		q.VNI = uint32(number(24))
	case "source":
		q.Source = address()
	case "frame":
		q.Frame = text
	case "uplink":
		q.Uplink = text == "true"
	case "frame-size":
		q.FrameSize = int(number(16))
	default:
		return fmt.Errorf("no such word")
	}
	return err
}
