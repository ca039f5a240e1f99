// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// upstream is a DNS server in a host's namespace that knows one name with many
// addresses, too many for UDP.
func upstream(t *testing.T, ns string) (address string) {
	t.Helper()
	var stream net.Listener
	var packet net.PacketConn
	inside(t, ns, func() (err error) {
		if stream, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		packet, err = net.ListenPacket("udp", stream.Addr().String())
		return err
	})
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg)
		r.SetReply(q)
		for n := range 200 {
			if q.Question[0].Name == "far.example." {
				r.Answer = append(r.Answer, &dns.A{Hdr: dns.RR_Header{Name: "far.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IP{192, 0, 2, byte(n)}})
			}
		}
		if w.RemoteAddr().Network() == "udp" {
			r.Truncate(1232)
		}
		_ = w.WriteMsg(r) // whoever asked has gone
	})
	for _, s := range []*dns.Server{{Listener: stream, Handler: answer}, {PacketConn: packet, Handler: answer}} {
		go func() { _ = s.ActivateAndServe() }() // ends with its socket
	}
	t.Cleanup(func() { stream.Close(); packet.Close() })
	return stream.Addr().String()
}

// dig asks from a workload and returns the short answers on one line.
func dig(t *testing.T, ns string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	c := exec.CommandContext(ctx, "dig", append([]string{"+time=2", "+tries=2", "+short"}, arguments...)...)
	c.Stdout, c.Stderr = &out, &out
	command(t, ns, c)
	if err := c.Wait(); err != nil {
		return fmt.Sprintf("%v: %s", err, out.String())
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

func name(project, port, text string, ips ...string) (string, *hoststream.Row) {
	n := &hoststream.Name{Project: project, Port: port, Name: text}
	for _, ip := range ips {
		n.Addresses = append(n.Addresses, netip.MustParseAddr(ip).AsSlice())
	}
	return desired.NameRow(desired.NameKey{Project: project, Port: port}), &hoststream.Row{Body: &hoststream.Row_Name{Name: n}}
}

// A workload resolves the names of its project, forward and reverse, and
// through its host everybody else's; not those of another project. Real
// resolver, both families, UDP and TCP, by the gateway's address.
func TestDNS(t *testing.T) {
	s := serve(t, api.ModeStateful, servedIPv6, func(m *machine) {
		m.arguments = []string{"--dns-upstream", upstream(t, m.ns)}
	})
	s.configure(servedIPv6)
	rows := servedRows(api.ModeStateful, servedIPv6)
	for _, n := range [][]string{
		{"project", "p1", "other.p.d.weft.internal", "10.0.0.77", "fd00:a::77"},
		{"stranger", "p2", "secret.q.d.weft.internal", "10.0.0.66"},
	} {
		key, row := name(n[0], n[1], n[2], n[3:]...)
		rows[key] = row
	}
	s.controller.set(rows)
	s.controller.settled()
	many := len(strings.Fields(dig(t, s.workload, "@10.0.0.1", "far.example", "A")))
	if many != 200 { // dig goes over to TCP by itself
		t.Errorf("a name of elsewhere has %d addresses, want 200", many)
	}
	for _, server := range []string{"@10.0.0.1", "@fd00:a::1"} {
		for _, way := range []string{"+notcp", "+tcp"} {
			for question, want := range map[string]string{
				"other.p.d.weft.internal A": "10.0.0.77", "other.p.d.weft.internal AAAA": "fd00:a::77",
				"77.0.0.10.in-addr.arpa PTR": "other.p.d.weft.internal.", "secret.q.d.weft.internal A": "",
				"66.0.0.10.in-addr.arpa PTR": "",
			} {
				if got := dig(t, s.workload, append([]string{server, way}, strings.Fields(question)...)...); got != want {
					t.Errorf("%s %s %s: %q, want %q", server, way, question, got, want)
				}
			}
		}
	}
}
