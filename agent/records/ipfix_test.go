// SPDX-License-Identifier: Apache-2.0

package records

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// capture writes messages as packets of UDP to port 4739, as pcap has them.
func capture(t *testing.T, messages [][]byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ipfix.pcap")
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0) // packets of IP
	for _, m := range messages {
		size := 28 + len(m)
		for _, n := range []uint32{0, 0, uint32(size), uint32(size)} {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(size))
		b = append(b, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1)
		for _, n := range []uint16{40000, 4739, uint16(8 + len(m)), 0} {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		b = append(b, m...)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// decoded is what tshark says of the messages.
func decoded(t *testing.T, messages [][]byte, fields ...string) []string {
	t.Helper()
	arguments := []string{"-T", "fields", "-E", "separator=;"}
	for _, f := range fields {
		arguments = append(arguments, "-e", f)
	}
	return tshark(t, messages, arguments...)
}

func tshark(t *testing.T, messages [][]byte, arguments ...string) []string {
	t.Helper()
	out, err := exec.Command("tshark", append([]string{"-r", capture(t, messages), "-d", "udp.port==4739,cflow"}, arguments...)...).Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, out)
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), "\n")
}

func example(six bool) api.Record {
	start := time.UnixMilli(1_700_000_000_000)
	end := start.Add(90 * time.Second)
	r := api.Record{
		Time: end, Record: api.RecordEnd, Why: endedIdle, Host: "h1", VRF: 100, Interface: "veth1", Direction: ingress, Protocol: "tcp",
		Source:      api.Party{Address: netip.MustParseAddr("10.0.0.1"), Port: 40000, Workload: "d:p:client", Network: "d:p:web", Project: "d:p", Identity: "00000000000000aa", Tags: []string{"tier=front", "site=a"}},
		Destination: api.Party{Address: netip.MustParseAddr("10.0.0.2"), Port: 443, Workload: "d:p:server", Network: "d:p:db", Project: "d:q", Identity: "00000000000000bb", Tags: []string{"tier=back"}},
		Start:       &start, End: &end, Rule: "security-group-rule r", RuleID: "r-uuid", Layer: "security-group",
		SentSince: &api.Traffic{Packets: 10, Bytes: 1000}, AnsweredSince: &api.Traffic{Packets: 20, Bytes: 30000},
	}
	if six {
		r.Source.Address, r.Destination.Address = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	}
	return r
}

// TestIPFIXIsDecodedByOthers: tshark reads from our messages what we meant, of
// both families, with names and without.
func TestIPFIXIsDecodedByOthers(t *testing.T) {
	now := time.UnixMilli(1_700_000_100_000)
	for _, enterprise := range []uint32{0, 32473} {
		e := encoder{domain: domainOf("h1"), enterprise: enterprise, max: udpMessage}
		drop := api.Record{
			Time: now, Record: api.RecordDrop, Host: "h1", VRF: 100, Protocol: "icmp", OneOf: 4, Length: 98, Reason: "policy-denied",
			Source: api.Party{Address: netip.MustParseAddr("10.0.0.1"), Port: 8}, Destination: api.Party{Address: netip.MustParseAddr("10.0.0.3")},
		}
		arp := api.Record{Time: now, Record: api.RecordDrop, Protocol: "arp", Source: drop.Source, Destination: drop.Destination}
		messages, leftOut := e.messages(now, []api.Record{example(false), arp, example(true), drop})
		if leftOut != 1 || len(messages) != 1 || e.sequence != 3 {
			t.Fatalf("%d messages, %d records left out, sequence %d", len(messages), leftOut, e.sequence)
		}
		got := decoded(t, append([][]byte{e.templates(now)}, messages...), "cflow.version", "cflow.srcaddr", "cflow.dstaddr", "cflow.srcaddrv6", "cflow.dstaddrv6",
			"cflow.srcport", "cflow.dstport", "cflow.protocol", "cflow.packets", "cflow.octets", "cflow.direction", "cflow.firewall_event", "cflow.flow_end_reason", "_ws.malformed")
		want := []string{
			"10;;;;;;;;;;;;;",
			"10;10.0.0.1,10.0.0.1;10.0.0.2,10.0.0.3;2001:db8::1;2001:db8::2;40000,8,40000;443,0,443;6,1,6;10,20,4,0,10,20;1000,30000,392,0,1000,30000;0,1,0;2,3,2;1,0,1;",
		}
		if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("enterprise %d\ngot  %q\nwant %q", enterprise, got, want)
		}
	}
}

// TestIPFIXHasNames: with an enterprise each name is an element of its own, in
// which tshark finds its text; tags, networks and rules of both ends among them.
func TestIPFIXHasNames(t *testing.T) {
	now := time.UnixMilli(1_700_000_100_000)
	e := encoder{domain: domainOf("h1"), enterprise: 32473, max: udpMessage}
	messages, _ := e.messages(now, []api.Record{example(false)})
	messages = append([][]byte{e.templates(now)}, messages...)
	if got := decoded(t, messages, "cflow.observation_domain_name", "cflow.vrfname", "cflow.ingress_vrfid"); got[1] != "h1;d:p:db;100" {
		t.Errorf("host, network and VRF are %q", got[1])
	}
	names := map[string]string{}
	for _, line := range tshark(t, messages, "-V") {
		_, element, found := strings.Cut(line, "Documentation Use) Type ")
		number, value, is := strings.Cut(element, ": Value (hex bytes): ")
		if !found || !is {
			continue
		}
		text, err := hex.DecodeString(strings.ReplaceAll(value, " ", ""))
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		names[number] = string(text)
	}
	want := map[string]string{
		"1": "d:p:client", "2": "d:p:server", "3": "00000000000000aa", "4": "00000000000000bb", "5": "d:p", "6": "d:q", "8": "security-group",
		"9": "security-group-rule r", "10": "tier=front,site=a", "11": "tier=back", "12": "d:p:web", "13": "d:p:db", "14": "r-uuid",
	} // 7, the reason, is empty: nothing was dropped
	if !maps.Equal(names, want) {
		t.Errorf("names are %q,\nwant %q", names, want)
	}
}

// TestIPFIXFitsMessages: messages stay within their bound, and the sequence
// counts what was in those before.
func TestIPFIXFitsMessages(t *testing.T) {
	e := encoder{domain: 1, enterprise: 32473, max: udpMessage}
	var all []api.Record
	for i := range 100 {
		all = append(all, example(i%2 == 0))
	}
	messages, _ := e.messages(time.Unix(0, 0), all)
	for i, m := range messages {
		if len(m) > udpMessage || int(binary.BigEndian.Uint16(m[2:])) != len(m) {
			t.Errorf("message %d has %d bytes and says %d", i, len(m), binary.BigEndian.Uint16(m[2:]))
		}
	}
	if last := binary.BigEndian.Uint32(messages[len(messages)-1][8:]); e.sequence != 100 || last == 0 || last >= 100 {
		t.Errorf("sequence %d after 100 records, %d in the last message", e.sequence, last)
	}
}

// TestIPFIXRecordsAreNeverLongerThanMessages, whatever names there are: the longest
// texts are cut, between letters, and the others are whole.
func TestIPFIXRecordsAreNeverLongerThanMessages(t *testing.T) {
	long := strings.Repeat("ä", 400)
	r := example(true)
	r.Host, r.Interface, r.Reason, r.Rule, r.Layer = long, long, long, long, long
	for _, p := range []*api.Party{&r.Source, &r.Destination} {
		p.Workload, p.Network, p.Project, p.Tags = long, long, long, []string{long, long}
	}
	for _, size := range []int{udpMessage, tcpMessage} {
		e := encoder{domain: 1, enterprise: 32473, max: size}
		messages, leftOut := e.messages(time.Unix(0, 0), []api.Record{example(false), r, example(true), r})
		if leftOut != 0 || e.sequence != 4 {
			t.Errorf("%d records are in messages, %d left out", e.sequence, leftOut)
		}
		for _, m := range messages {
			if len(m) > size {
				t.Errorf("a message has %d bytes, at most %d are to be", len(m), size)
			}
		}
		for _, line := range decoded(t, append([][]byte{e.templates(time.Unix(0, 0))}, messages...), "_ws.malformed") {
			if line != "" {
				t.Errorf("a message of at most %d bytes is malformed: %s", size, line)
			}
		}
	}
	for room, want := range map[int][]string{20: {"short", "ää", "ääää"}, 19: {"short", "ää", "äää"}, 1000: {"short", "ää", long[:maxText]}, 3: {"", "", ""}, 6: {"s", "", ""}} {
		if got := fitting([]string{"short", "ää", long}, room); !slices.Equal(got, want) {
			t.Errorf("in %d bytes there is room for %q, want %q", room, got, want)
		}
	}
}

// TestCollectorComesBack: over TCP every record arrives, also those that were
// made while nobody listened; the templates come first on every connection.
func TestCollectorComesBack(t *testing.T) {
	listen := func(at string) net.Listener {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := listen("127.0.0.1:0")
	at := l.Addr().String()
	l.Close()
	x, err := NewExporter(Export{Host: "h1", Collector: "tcp://" + at, Kinds: vrouter.Recording{Drops: true}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := x.feeds[0]
	if _, err := f.sink.write(t.Context(), []api.Record{example(false)}); err == nil {
		t.Fatal("a collector that is not there takes records")
	}
	l = listen(at)
	defer l.Close()
	x.Take(example(false))
	x.Take(example(true))
	x.Take(api.Record{Record: api.RecordDrop, Protocol: "arp"}) // no addresses: IPFIX has no form for it
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { x.Run(ctx); close(done) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	var messages [][]byte
	for range 2 {
		head := make([]byte, ipfixHeader)
		if _, err := io.ReadFull(conn, head); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, int(binary.BigEndian.Uint16(head[2:]))-ipfixHeader)
		if _, err := io.ReadFull(conn, body); err != nil {
			t.Fatal(err)
		}
		messages = append(messages, append(head, body...))
	}
	cancel()
	<-done
	if taken, leftOut := f.taken.Load(), f.leftOut.Load(); taken != 2 || leftOut != 1 {
		t.Errorf("%d records taken and %d left out, want 2 and 1", taken, leftOut)
	}
	if got := decoded(t, messages, "cflow.srcaddr", "cflow.srcaddrv6"); len(got) != 2 || got[0] != ";" || got[1] != "10.0.0.1;2001:db8::1" {
		t.Errorf("collected %q", got)
	}
}
