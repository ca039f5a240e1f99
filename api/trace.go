// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// HostTableTrace is not a table that is there: a host makes it for a question,
// whose words follow it as those of a URL do (trace?port=…&to=…). Each row is
// an item, its value, and how it is known.
const HostTableTrace = "trace"

// TraceNoSuchWord is in the answer of a host that does not know a word of a
// question, for its agent is older than who asks.
const TraceNoSuchWord = "no such word"

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
	TraceFromMAC   = "from-mac" // of a frame that is no packet
	TraceLabelled  = "labelled" // with verdict tunnelled: the frame is as it leaves the host, with its outer headers
	TraceOneWay    = "one-way"  // why the answer cannot be tried
	TracePolicy    = "policy"   // one layer that was asked; a further cell of the row is its PolicyStep in JSON
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
	Logs      bool        `json:"logs,omitempty"`  // that rule logs: first packets, and what it refuses
	Audit     *PolicyRule `json:"audit,omitempty"` // that would have, and only counts
	// Former: it was asked as what the port asked before a change, which is held.
	Former bool `json:"former,omitempty"`
}

// String says it: "ingress, security-group: deny, no rule of security-group a:b:web matches".
func (s PolicyStep) String() string {
	text := fmt.Sprintf("%s at %s, %s: %s", s.Direction, s.Port, s.Layer, s.Action)
	if s.Former {
		text = fmt.Sprintf("%s at %s, %s as before a change that is held: %s", s.Direction, s.Port, s.Layer, s.Action)
	}
	if s.Rule != nil && s.Rule.Kind == string(KindSecurityGroup) {
		text += ", no rule of " + s.Ruleset + " matches, which " + s.Rule.String() + " logs"
	} else if s.Rule != nil {
		text += " by " + s.Rule.String()
		if s.Logs {
			text += ", which logs"
		}
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
// workload of a port sends, or the host itself, or of a frame that another host
// sends here.
type TraceQuestion struct {
	Port            string     // UUID or fully qualified name; empty for what comes from elsewhere
	Host            bool       // the packet is one of this host's own TCP/IP
	From            netip.Addr // invalid: the port's own, or the one that the host chooses
	To              netip.Addr
	ToMAC           MAC    // of a port: it goes there, and nobody is asked who has To; without To it is a frame that is no packet
	Ethertype       uint16 // of such a frame
	Protocol        string // name or number
	ICMP            string // TYPE or TYPE/CODE of ICMP; an echo request when empty
	SourcePort      uint16 // of ICMP: the identifier
	DestinationPort uint16
	Reply           bool // of ICMP: an echo reply
	ReplyToHost     bool // and to what the port's host itself began, about which policy is not asked
	Hops            int  // 0: 64
	Size            int  // of the IP packet; 0: as small as it can be

	VNI       uint32 // of a frame from a tunnel, like what follows
	Source    netip.Addr
	Frame     string // hexadecimal, without zeros at the end
	FrameSize int
	Uplink    bool // the frame comes without encapsulation: it has no VNI and source
	Labelled  bool // the frame is one of MPLS over UDP with its outer headers, which say VNI and source
}

// ICMPMessage reads TYPE or TYPE/CODE.
func ICMPMessage(text string) (kind, code uint8, err error) {
	first, second, two := strings.Cut(text, "/")
	n, err := strconv.ParseUint(first, 10, 8)
	var m uint64
	if err == nil && two {
		m, err = strconv.ParseUint(second, 10, 8)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%q is not a type of ICMP, or a type and a code as 3/4", text)
	}
	return uint8(n), uint8(m), nil
}

// Table is the question as the name of a host's table.
func (q TraceQuestion) Table() string {
	v := url.Values{}
	set := func(name, value string, is bool) {
		if is {
			v.Set(name, value)
		}
	}
	number := func(name string, n int) { set(name, strconv.Itoa(n), n != 0) }
	set("port", q.Port, q.Port != "")
	set("host", "true", q.Host)
	set("from", q.From.String(), q.From.IsValid())
	set("to", q.To.String(), q.To.IsValid())
	set("to-mac", string(q.ToMAC), q.ToMAC != "")
	number("ethertype", int(q.Ethertype))
	set("protocol", q.Protocol, q.Protocol != "")
	set("icmp", q.ICMP, q.ICMP != "")
	number("sport", int(q.SourcePort))
	number("dport", int(q.DestinationPort))
	set("reply", "true", q.Reply)
	set("reply-to-host", "true", q.ReplyToHost)
	number("hops", q.Hops)
	number("size", q.Size)
	number("vni", int(q.VNI))
	set("source", q.Source.String(), q.Source.IsValid())
	set("frame", q.Frame, q.Frame != "")
	set("uplink", "true", q.Uplink)
	set("labelled", "true", q.Labelled)
	number("frame-size", q.FrameSize)
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
	if err := q.check(); err != nil {
		return q, fmt.Errorf("read question for a trace: %w", err)
	}
	return q, nil
}

// check says what a question lacks.
func (q TraceQuestion) check() error {
	if q.Frame != "" {
		if !q.Uplink && !q.Labelled && (q.VNI == 0 || !q.Source.IsValid()) {
			return fmt.Errorf("a frame needs vni and source")
		}
		return nil
	}
	switch {
	case q.Host && (q.Port != "" || q.ToMAC != "" || !q.To.IsValid()):
		return fmt.Errorf("what the host itself sends needs to, and has no port and to-mac")
	case !q.Host && (q.Port == "" || !q.To.IsValid() && q.ToMAC == ""):
		return fmt.Errorf("it needs port and to, or a frame with vni and source")
	case q.To.IsValid() && q.From.IsValid() && q.From.Is4() != q.To.Is4():
		return fmt.Errorf("%v and %v are not of one family", q.From, q.To)
	}
	return nil
}

// set reads one word's value.
func (q *TraceQuestion) set(name, text string) error {
	read, known := map[string]func(string) error{
		"port": textInto(&q.Port), "host": truthInto(&q.Host), "from": addressInto(&q.From), "to": addressInto(&q.To), "to-mac": macInto(&q.ToMAC),
		"ethertype": numberInto(&q.Ethertype, 16), "protocol": textInto(&q.Protocol), "icmp": textInto(&q.ICMP),
		"sport": numberInto(&q.SourcePort, 16), "dport": numberInto(&q.DestinationPort, 16),
		"reply": truthInto(&q.Reply), "reply-to-host": truthInto(&q.ReplyToHost), "hops": numberInto(&q.Hops, 8), "size": numberInto(&q.Size, 16),
		"vni": numberInto(&q.VNI, 24), "source": addressInto(&q.Source), "frame": textInto(&q.Frame), "frame-size": numberInto(&q.FrameSize, 16),
		"uplink": truthInto(&q.Uplink), "labelled": truthInto(&q.Labelled),
	}[name]
	if !known {
		return fmt.Errorf("%s; who asks is newer than this agent", TraceNoSuchWord)
	}
	return read(text)
}

func textInto(to *string) func(string) error {
	return func(text string) error {
		*to = text
		return nil
	}
}

func truthInto(to *bool) func(string) error {
	return func(text string) error {
		*to = text == "true"
		return nil
	}
}

func numberInto[T ~int | ~uint16 | ~uint32](to *T, bits int) func(string) error {
	return func(text string) error {
		n, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			return fmt.Errorf("%q is not a number of %d bits", text, bits)
		}
		*to = T(n)
		return nil
	}
}

func addressInto(to *netip.Addr) func(string) error {
	return func(text string) error {
		a, err := netip.ParseAddr(text)
		*to = a.Unmap()
		return err
	}
}

func macInto(to *MAC) func(string) error {
	return func(text string) error {
		raw, err := MAC(text).Bytes()
		*to = MAC(net.HardwareAddr(raw[:]).String())
		return err
	}
}
