// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// upstream is a DNS server in a host's namespace that knows one name with many
// addresses, too many for UDP.
func upstream(t *testing.T, ns string) (address string) {
	t.Helper()
	address, _ = upstreamThatCounts(t, ns)
	return address
}

// upstreamThatCounts also tells which names it was asked for.
func upstreamThatCounts(t *testing.T, ns string) (address string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var names []string
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
		mu.Lock()
		names = append(names, strings.ToLower(q.Question[0].Name))
		mu.Unlock()
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
	return stream.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(names)
	}
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

// resolve runs a command in a workload's namespace with a resolv.conf of its
// own, and returns what it says on one line.
func resolve(t *testing.T, ns, conf string, arguments ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	script := "mount --bind " + file + " /etc/resolv.conf && exec " + strings.Join(arguments, " ")
	c := exec.CommandContext(ctx, "unshare", "--mount", "sh", "-c", script)
	c.Stdout, c.Stderr = &out, &out
	command(t, ns, c)
	if err := c.Wait(); err != nil {
		return fmt.Sprintf("%v: %s", err, strings.Join(strings.Fields(out.String()), " "))
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// The resolvers of glibc and busybox find the names of the project by its
// search domain, both families and back; the one upstream server that answers
// is found among those that do not, and is never asked for the names of
// private or own addresses. A workload that asks too much is the only one that
// gets less.
func TestRealResolvers(t *testing.T) {
	var asked func() []string
	var dead net.PacketConn // takes queries and says nothing
	s := serve(t, api.ModeStateful, servedIPv6, func(m *machine) {
		inside(t, m.ns, func() (err error) { dead, err = net.ListenPacket("udp", "127.0.0.1:0"); return err })
		var alive string
		alive, asked = upstreamThatCounts(t, m.ns)
		m.arguments = []string{"--dns-upstream", "127.0.0.1:1", "--dns-upstream", dead.LocalAddr().String(), "--dns-upstream", alive}
	})
	defer dead.Close()
	s.configure(servedIPv6)
	give := func(names ...[]string) {
		rows := servedRows(api.ModeStateful, servedIPv6)
		for _, n := range names {
			key, row := name(n[0], n[1], n[2], n[3:]...)
			rows[key] = row
		}
		s.controller.set(rows)
		s.controller.settled()
	}
	other := []string{"project", "p1", "other.p.d.weft.internal", "10.0.0.77", "fd00:a::77"}
	give(other)
	const conf = "nameserver 10.0.0.1\nsearch p.d.weft.internal\n"
	for _, conf := range []string{conf, "nameserver fd00:a::1\nsearch p.d.weft.internal\noptions edns0 trust-ad\n", conf + "options use-vc\n"} {
		for arguments, want := range map[string]string{
			"getent ahostsv4 other":                  "10.0.0.77 STREAM",
			"getent ahostsv6 other":                  "fd00:a::77 STREAM",
			"getent ahosts OTHER.p.d.Weft.Internal.": "fd00:a::77 STREAM",
			"getent hosts 10.0.0.77":                 "10.0.0.77 other.p.d.weft.internal",
			"getent hosts fd00:a::77":                "fd00:a::77 other.p.d.weft.internal",
		} {
			if got := resolve(t, s.workload, conf, arguments); !strings.Contains(got, want) {
				t.Errorf("with %q, %s says %q, want %q", conf, arguments, got, want)
			}
		}
	}
	if got := resolve(t, s.workload, conf, "busybox nslookup other.p.d.weft.internal"); !strings.Contains(got, "Address: 10.0.0.77") || !strings.Contains(got, "Address: fd00:a::77") {
		t.Errorf("busybox says %q", got)
	}
	begin := time.Now()
	for range 10 { // by UDP, and then by TCP
		if got := dig(t, s.workload, "@10.0.0.1", "+tries=3", "+time=5", "far.example", "A"); len(strings.Fields(got)) != 200 {
			t.Errorf("by the third upstream server: %q", got)
		}
	}
	if took := time.Since(begin); took > 15*time.Second { // 2 s once, not each time
		t.Errorf("servers that do not answer cost their time again and again: %v for 10 queries", took)
	}
	for _, address := range []string{"10.0.0.99", "192.168.1.1", "fd00:a::99", "fd12::1"} {
		if got := dig(t, s.workload, "@10.0.0.1", "-x", address); got != "" {
			t.Errorf("%s is called %s", address, got)
		}
	}
	for _, name := range asked() {
		if name != "far.example." && !strings.HasPrefix(name, "far.example.p.d.") {
			t.Errorf("the world was asked for %s", name)
		}
	}
	// A name that changes, and one that goes, are answered so at once.
	give([]string{"project", "p1", "renamed.p.d.weft.internal", "10.0.0.78"})
	eventually(t, func() error {
		was, now := dig(t, s.workload, "@10.0.0.1", "other.p.d.weft.internal"), dig(t, s.workload, "@10.0.0.1", "-x", "10.0.0.78")
		if was != "" || now != "renamed.p.d.weft.internal." {
			return fmt.Errorf("the old name has %q, the new address %q", was, now)
		}
		return nil
	})
}
