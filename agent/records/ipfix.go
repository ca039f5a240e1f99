// SPDX-License-Identifier: Apache-2.0

package records

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weft-network/weft/api"
)

// IPFIX (RFC 7011): templates, and records by them. No I/O.

const (
	ipfixVersion  = 10
	ipfixHeader   = 16
	setHeader     = 4
	templateSet   = 2
	firstTemplate = 256
	variable      = 65535
	// reverseNumber is of elements that are those of IANA the other way (RFC 5103).
	reverseNumber = 29305
	enterpriseBit = 1 << 15
	// maxText is of what a text is cut to at least: names have 63 bytes a part.
	maxText = 200
)

// element is an information element: its number at IANA or at an enterprise.
type element struct {
	number     uint16
	enterprise uint32
	size       uint16 // variable: a text
}

// The templates have these in common, and then addresses of the family.
var commonElements = []element{
	{152, 0, 8}, // flowStartMilliseconds
	{153, 0, 8}, // flowEndMilliseconds
	{7, 0, 2},   // sourceTransportPort
	{11, 0, 2},  // destinationTransportPort
	{4, 0, 1},   // protocolIdentifier
	{61, 0, 1},  // flowDirection
	{6, 0, 2},   // tcpControlBits
	{2, 0, 8},   // packetDeltaCount
	{1, 0, 8},   // octetDeltaCount
	{2, reverseNumber, 8},
	{1, reverseNumber, 8},
	{234, 0, 4},        // ingressVRFID
	{233, 0, 1},        // firewallEvent
	{136, 0, 1},        // flowEndReason
	{300, 0, variable}, // observationDomainName: the host
	{236, 0, variable}, // VRFname: the network
	{82, 0, variable},  // interfaceName
}

// enterpriseTexts are names for which IANA has no elements, by their numbers at
// the enterprise that is configured.
var enterpriseTexts = []func(*api.Record) string{
	func(r *api.Record) string { return r.Source.Workload },      // 1
	func(r *api.Record) string { return r.Destination.Workload }, // 2
	func(r *api.Record) string { return r.Source.Identity },      // 3
	func(r *api.Record) string { return r.Destination.Identity }, // 4
	func(r *api.Record) string { return r.Source.Project },       // 5
	func(r *api.Record) string { return r.Destination.Project },  // 6
	func(r *api.Record) string { return r.Reason },               // 7
	func(r *api.Record) string { return r.Layer },                // 8
	func(r *api.Record) string { return r.Rule },                 // 9
	func(r *api.Record) string { return tagsOf(r.Source) },       // 10
	func(r *api.Record) string { return tagsOf(r.Destination) },  // 11
	func(r *api.Record) string { return r.Source.Network },       // 12
	func(r *api.Record) string { return r.Destination.Network },  // 13
	func(r *api.Record) string { return r.RuleID },               // 14
}

func tagsOf(p api.Party) string { return strings.Join(p.Tags, ",") }

// encoder makes messages of one exporter for one connection.
type encoder struct {
	domain     uint32
	enterprise uint32 // 0: none, and no names that need one
	sequence   uint32 // of data records
	max        int    // bytes of a message
}

// domainOf is the observation domain of a host: a number that follows from its name.
func domainOf(host string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(host))
	return max(1, h.Sum32())
}

// elements are those of the template of a family.
func (e *encoder) elements(six bool) []element {
	addresses := []element{{8, 0, 4}, {12, 0, 4}}
	if six {
		addresses = []element{{27, 0, 16}, {28, 0, 16}}
	}
	all := append(addresses, commonElements...)
	if e.enterprise != 0 {
		for i := range enterpriseTexts {
			all = append(all, element{uint16(i + 1), e.enterprise, variable})
		}
	}
	return all
}

func templateOf(six bool) uint16 {
	if six {
		return firstTemplate + 1
	}
	return firstTemplate
}

// templates is a message with both templates.
func (e *encoder) templates(now time.Time) []byte {
	var set []byte
	for _, six := range []bool{false, true} {
		all := e.elements(six)
		set = binary.BigEndian.AppendUint16(set, templateOf(six))
		set = binary.BigEndian.AppendUint16(set, uint16(len(all)))
		for _, x := range all {
			number := x.number
			if x.enterprise != 0 {
				number |= enterpriseBit
			}
			set = binary.BigEndian.AppendUint16(set, number)
			set = binary.BigEndian.AppendUint16(set, x.size)
			if x.enterprise != 0 {
				set = binary.BigEndian.AppendUint32(set, x.enterprise)
			}
		}
	}
	return e.message(now, appendSet(nil, templateSet, set))
}

func appendSet(to []byte, id uint16, body []byte) []byte {
	to = binary.BigEndian.AppendUint16(to, id)
	to = binary.BigEndian.AppendUint16(to, uint16(setHeader+len(body)))
	return append(to, body...)
}

func (e *encoder) message(now time.Time, sets []byte) []byte {
	m := make([]byte, 0, ipfixHeader+len(sets))
	m = binary.BigEndian.AppendUint16(m, ipfixVersion)
	m = binary.BigEndian.AppendUint16(m, uint16(ipfixHeader+len(sets)))
	m = binary.BigEndian.AppendUint32(m, uint32(now.Unix()))
	m = binary.BigEndian.AppendUint32(m, e.sequence)
	m = binary.BigEndian.AppendUint32(m, e.domain)
	return append(m, sets...)
}

// messages are the records in as few messages as they fit. Records without
// addresses (not IP) are left out and counted.
func (e *encoder) messages(now time.Time, all []api.Record) (messages [][]byte, leftOut int) {
	var sets [2][]byte
	var waiting uint32
	flush := func() {
		var body []byte
		for i, set := range sets {
			if len(set) > 0 {
				body = appendSet(body, templateOf(i == 1), set)
			}
			sets[i] = nil
		}
		if len(body) > 0 {
			messages = append(messages, e.message(now, body))
			e.sequence += waiting
			waiting = 0
		}
	}
	for i := range all {
		r := &all[i]
		if !r.Source.Address.IsValid() || !r.Destination.Address.IsValid() || r.Protocol == "arp" {
			leftOut++
			continue
		}
		data := e.record(r)
		if ipfixHeader+2*setHeader+len(sets[0])+len(sets[1])+len(data) > e.max {
			flush()
		}
		n := 0
		if r.Source.Address.Is6() {
			n = 1
		}
		sets[n] = append(sets[n], data...)
		waiting++
	}
	flush()
	return messages, leftOut
}

// The numbers of firewallEvent and flowEndReason.
var (
	firewallEvents = map[string]uint8{api.RecordFirst: 1, api.RecordStart: 1, api.RecordEnd: 2, api.RecordDrop: 3, api.RecordAudit: 4, api.RecordUpdate: 5, api.RecordLog: 1}
	endReasons     = map[string]uint8{endedIdle: 1, endedClosed: 3, endedGone: 5}
)

const activeTimeout = 2 // flowEndReason of a session that goes on

func (e *encoder) record(r *api.Record) []byte {
	var b bytes.Buffer
	write := func(v any) { _ = binary.Write(&b, binary.BigEndian, v) } // a buffer takes everything
	b.Write(r.Source.Address.AsSlice())
	b.Write(r.Destination.Address.AsSlice())
	start, end := r.Time, r.Time
	if r.Start != nil && r.End != nil {
		start, end = *r.Start, *r.End
	}
	write(start.UnixMilli())
	write(end.UnixMilli())
	write(r.Source.Port)
	write(r.Destination.Port)
	write(protocolNumber(r.Protocol))
	write(map[bool]uint8{true: 0, false: 1}[r.Direction == ingress])
	write(tcpBits(r.Flags))
	sent, answered := deltas(r)
	write([]uint64{sent.Packets, sent.Bytes, answered.Packets, answered.Bytes})
	write(r.VRF)
	event := firewallEvents[r.Record]
	if r.Record == api.RecordLog && r.Verdict != "passed" {
		event = firewallEvents[api.RecordDrop]
	}
	write(event)
	reason := endReasons[r.Why]
	if r.Record == api.RecordUpdate {
		reason = activeTimeout
	}
	write(reason)
	texts := []string{r.Host, r.Source.Network, r.Interface}
	if r.Direction == ingress && r.Destination.Network != "" {
		texts[1] = r.Destination.Network
	}
	if e.enterprise != 0 {
		for _, text := range enterpriseTexts {
			texts = append(texts, text(r))
		}
	}
	for _, text := range fitting(texts, e.max-ipfixHeader-2*setHeader-b.Len()) {
		b.WriteByte(uint8(len(text)))
		b.WriteString(text)
	}
	return b.Bytes()
}

// fitting cuts texts, the longest first, so that each with its length is within some
// room together: a record is never longer than a message. No letter is cut in two.
func fitting(texts []string, room int) []string {
	most := maxText
	for ; most > 0; most-- {
		size := 0
		for _, text := range texts {
			size += 1 + min(len(text), most)
		}
		if size <= room {
			break
		}
	}
	cut := make([]string, len(texts))
	for i, text := range texts {
		n := min(len(text), most)
		for n < len(text) && n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		cut[i] = text[:n]
	}
	return cut
}

// deltas are what is counted since the last record of a session; a frame
// stands for those that sampling passed over.
func deltas(r *api.Record) (sent, answered api.Traffic) {
	if slices.Contains([]string{api.RecordDrop, api.RecordFirst, api.RecordLog, api.RecordAudit}, r.Record) {
		n := uint64(max(1, r.OneOf))
		return api.Traffic{Packets: n, Bytes: n * uint64(r.Length)}, answered
	}
	if r.SentSince != nil {
		sent = *r.SentSince
	}
	if r.AnsweredSince != nil {
		answered = *r.AnsweredSince
	}
	return sent, answered
}

func protocolNumber(word string) uint8 {
	for n := range 256 {
		if protocolWord(uint8(n)) == word {
			return uint8(n)
		}
	}
	return 0
}

func tcpBits(words string) (bits uint16) {
	for i, word := range tcpFlags {
		if strings.Contains(","+words+",", ","+word+",") {
			bits |= 1 << i
		}
	}
	return bits
}

// collector is where records are sent.
type collector struct {
	network, address string
}

// parseCollector reads udp://host:port or tcp://host:port.
func parseCollector(text string) (c collector, ok bool) {
	network, address, found := strings.Cut(text, "://")
	at, err := netip.ParseAddrPort(address)
	if !found || network != "udp" && network != "tcp" || err != nil && !hostPort(address) || err == nil && at.Port() == 0 {
		return c, false
	}
	return collector{network, address}, true
}

func hostPort(text string) bool {
	i := strings.LastIndexByte(text, ':')
	if i < 1 {
		return false
	}
	n, err := strconv.ParseUint(text[i+1:], 10, 16)
	return err == nil && n != 0
}
