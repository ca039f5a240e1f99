// SPDX-License-Identifier: Apache-2.0

package names_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/weft-network/weft/agent/names"
)

func zone() *names.Zone {
	z := names.NewZone()
	z.Add("a.web.p.d.weft.internal", []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")})
	z.Add("A.Web.p.d.weft.internal", []netip.Addr{netip.MustParseAddr("10.0.0.4")})
	z.Add("b.p.d.weft.internal", []netip.Addr{netip.MustParseAddr("10.0.0.5")}) // the same address in another network
	z.Add("c.example.org.", []netip.Addr{netip.MustParseAddr("10.0.0.7")})
	z.Sort()
	return z
}

func TestAnswers(t *testing.T) {
	z := zone()
	for _, w := range []struct{ name, kind, want string }{
		{"a.web.p.d.weft.internal.", "A", "NOERROR 10.0.0.4 10.0.0.5"},
		{"A.WEB.P.D.Weft.Internal.", "AAAA", "NOERROR fd00::5"},
		{"b.p.d.weft.internal.", "AAAA", "NOERROR nothing"},
		{"web.p.d.weft.internal.", "A", "NOERROR nothing"}, // others are below it
		{"other.p.d.weft.internal.", "A", "NXDOMAIN nothing"},
		{"other.q.d.weft.internal.", "A", "NXDOMAIN nothing"},
		{"weft.internal.", "A", "NOERROR nothing"},
		{"notweft.internal.", "A", "forward"},
		{"c.example.org.", "A", "NOERROR 10.0.0.7"},
		{"d.example.org.", "A", "forward"},
		{"example.org.", "A", "forward"},
		{"5.0.0.10.in-addr.arpa.", "PTR", "NOERROR a.web.p.d.weft.internal. b.p.d.weft.internal."},
		{"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "PTR", "NOERROR a.web.p.d.weft.internal."},
		{"9.0.0.10.in-addr.arpa.", "PTR", "forward"},
	} {
		q := new(dns.Msg)
		q.SetQuestion(w.name, dns.StringToType[w.kind])
		if got := say(z.Answer(q)); got != w.want {
			t.Errorf("%s %s: %s, want %s", w.name, w.kind, got, w.want)
		}
	}
	odd := new(dns.Msg)
	odd.SetUpdate("weft.internal.")
	if got := say(z.Answer(odd)); !strings.HasPrefix(got, "NOTIMP") {
		t.Errorf("an update: %s", got)
	}
	odd = new(dns.Msg)
	odd.Response = true
	if r, forward := z.Answer(odd); r != nil || forward {
		t.Errorf("a reply is answered with %v", r)
	}
}

func say(r *dns.Msg, forward bool) string {
	if forward {
		return "forward"
	}
	words := []string{dns.RcodeToString[r.Rcode]}
	for _, a := range r.Answer {
		fields := strings.Fields(a.String())
		words = append(words, fields[len(fields)-1])
	}
	if len(r.Answer) == 0 {
		words = append(words, "nothing")
		if r.Rcode != dns.RcodeNotImplemented && len(r.Ns) != 1 {
			words = append(words, "without SOA")
		}
	}
	return strings.Join(words, " ")
}

// A reply has the length that the asker takes and says when it lost something.
func TestFit(t *testing.T) {
	z := names.NewZone()
	for n := range 200 {
		z.Add("many.p.d.weft.internal", []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})})
	}
	for size, most := range map[uint16]int{0: 512, 100: 512, 900: 900, 4096: 1232} {
		q := new(dns.Msg)
		q.SetQuestion("many.p.d.weft.internal.", dns.TypeA)
		if size > 0 {
			q.SetEdns0(size, true)
		}
		r, _ := z.Answer(q)
		names.Fit(r, q, false)
		raw, err := r.Pack()
		if err != nil || len(raw) > most || len(raw) < most-100 || !r.Truncated || (r.IsEdns0() != nil) != (size > 0) {
			t.Errorf("EDNS %d: %d bytes, truncated %t, %v", size, len(raw), r.Truncated, err)
		}
		r, _ = z.Answer(q)
		names.Fit(r, q, true)
		if r.Truncated || len(r.Answer) != 200 {
			t.Errorf("EDNS %d by TCP: %d answers, truncated %t", size, len(r.Answer), r.Truncated)
		}
	}
}

// Whatever is asked, the reply can be packed, has the query's id and says only
// what is in the zone.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"a.web.p.d.weft.internal.", "5.0.0.10.in-addr.arpa.", "x.example."} {
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeANY)
		q.SetEdns0(1232, true)
		raw, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	z := zone()
	f.Fuzz(func(t *testing.T, raw []byte) {
		q := new(dns.Msg)
		if q.Unpack(raw) != nil {
			return
		}
		r, forward := z.Answer(q)
		if r == nil || forward {
			return
		}
		names.Fit(r, q, false)
		out, err := r.Pack()
		if err != nil || r.Id != q.Id || len(out) > 1232 && len(q.Question) == 1 {
			t.Fatalf("%x is answered with %d bytes: %v", raw, len(out), err)
		}
		if len(r.Answer) > 5 {
			t.Fatalf("%x: %s", raw, fmt.Sprint(r.Answer))
		}
	})
}
