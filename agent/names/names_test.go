// SPDX-License-Identifier: Apache-2.0

package names_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/weft-network/weft/agent/names"
)

// own is the range of a subnet of the workload that is not a private one.
var own = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:1::/64")}

func zone() *names.Zone {
	z := names.NewZone()
	z.Set("1", "a.web.p.d.weft.internal", []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")})
	z.Set("2", "A.Web.p.d.weft.internal", []netip.Addr{netip.MustParseAddr("10.0.0.4")})
	z.Set("3", "b.p.d.weft.internal", []netip.Addr{netip.MustParseAddr("10.0.0.5")}) // the same address in another network
	z.Set("4", "c.example.org.", []netip.Addr{netip.MustParseAddr("10.0.0.7")})
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
		{"9.0.0.10.in-addr.arpa.", "PTR", "NXDOMAIN nothing"}, // nobody's, and nobody else's business
		{"0.10.in-addr.arpa.", "PTR", "NOERROR nothing"},
		{"10.in-addr.arpa.", "SOA", "NOERROR 30"},
		{"10.in-addr.arpa.", "NS", "NOERROR ns.weft.internal."},
		{"9.1.31.172.in-addr.arpa.", "PTR", "NXDOMAIN nothing"},
		{"9.1.32.172.in-addr.arpa.", "PTR", "forward"},
		{"172.in-addr.arpa.", "NS", "forward"},
		{"9.100.51.198.in-addr.arpa.", "PTR", "NXDOMAIN nothing"}, // in a subnet of its own
		{"9.101.51.198.in-addr.arpa.", "PTR", "forward"},
		{"6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "PTR", "NXDOMAIN nothing"},
		{"6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", "PTR", "NXDOMAIN nothing"},
		{"6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", "PTR", "forward"},
		{"1.2.3.4.5.in-addr.arpa.", "PTR", "forward"},
		{"x.10.in-addr.arpa.", "PTR", "forward"},
		{"localhost.", "A", "NOERROR 127.0.0.1"}, {"localhost.", "AAAA", "NOERROR ::1"}, {"a.invalid.", "A", "NXDOMAIN nothing"},
		{"a.web.p.d.weft.internal.", "ANY", "NOERROR 10.0.0.4 10.0.0.5 fd00::5"},
		{"a.web.p.d.weft.internal.", "SRV", "NOERROR nothing"},
		{"weft.internal.", "SOA", "NOERROR 30"},
		{"a.web.p.d.weft.internal.", "AXFR", "REFUSED nothing without SOA"}, {"example.org.", "AXFR", "REFUSED nothing without SOA"},
		{"c.example.org.", "MX", "NOERROR nothing"},
	} {
		q := new(dns.Msg)
		q.SetQuestion(w.name, dns.StringToType[w.kind])
		if got := say(z.Answer(q, own)); got != w.want {
			t.Errorf("%s %s: %s, want %s", w.name, w.kind, got, w.want)
		}
	}
	odd := new(dns.Msg)
	odd.SetUpdate("weft.internal.")
	if got := say(z.Answer(odd, own)); !strings.HasPrefix(got, "NOTIMP") {
		t.Errorf("an update: %s", got)
	}
	odd = new(dns.Msg)
	odd.Response = true
	if r, forward := z.Answer(odd, own); r != nil || forward {
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

// A reply asks in the letters of the question (0x20), and what says that there
// is nothing comes from a zone that the name is in.
func TestReplyIsOfTheQuestion(t *testing.T) {
	z := zone()
	for name, zone := range map[string]string{
		"NoBody.p.d.WEFT.internal.": "weft.internal.", "c.example.ORG.": "example.org.", "9.0.0.10.IN-ADDR.arpa.": "10.in-addr.arpa.", "A.web.p.d.weft.internal.": "weft.internal.",
	} {
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeMX)
		r, _ := z.Answer(q, own)
		if r.Question[0].Name != name || len(r.Ns) != 1 || r.Ns[0].Header().Name != zone || !r.Authoritative {
			t.Errorf("%s is answered with %v", name, r)
		}
		q.SetQuestion(name, dns.TypeA)
		if r, _ = z.Answer(q, own); len(r.Answer) > 0 && r.Answer[0].Header().Name != name {
			t.Errorf("%s is answered about %s", name, r.Answer[0].Header().Name)
		}
	}
}

// A zone that followed changes is the zone made of what there is at the end.
func TestChangedZoneEqualsNewOne(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	type is struct {
		name string
		at   []netip.Addr
	}
	now := map[string]is{}
	z := names.NewZone()
	for step := range 3000 {
		workload := fmt.Sprint(r.IntN(12))
		if r.IntN(3) == 0 {
			z.Remove(workload)
			delete(now, workload)
		} else {
			x := is{name: []string{"a", "b.a", "c.b.a", "A", "b..a", "d.example.org"}[r.IntN(6)] + "." + []string{"weft.internal", "org", "p.weft.internal."}[r.IntN(3)]}
			for range r.IntN(4) {
				x.at = append(x.at, []netip.Addr{
					netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(r.IntN(3))}), netip.MustParseAddr(fmt.Sprintf("fd00::%d", r.IntN(3))),
				}[r.IntN(2)])
			}
			z.Set(workload, x.name, x.at)
			now[workload] = x
		}
		fresh := names.NewZone()
		for workload, x := range now {
			fresh.Set(workload, x.name, x.at)
		}
		if !z.Equal(fresh) || !fresh.Equal(z) || z.Len() != fresh.Len() {
			t.Fatalf("after %d changes the zone is not that of %v", step+1, now)
		}
	}
	for workload := range now {
		z.Remove(workload)
	}
	if !z.Equal(names.NewZone()) {
		t.Error("something is left of a zone without names")
	}
}

// A reply has the length that the asker takes and says when it lost something.
func TestFit(t *testing.T) {
	z := names.NewZone()
	for n := range 200 {
		z.Set(fmt.Sprint(n), "many.p.d.weft.internal", []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})})
	}
	for size, most := range map[uint16]int{0: 512, 100: 512, 900: 900, 4096: 1232} {
		q := new(dns.Msg)
		q.SetQuestion("many.p.d.weft.internal.", dns.TypeA)
		if size > 0 {
			q.SetEdns0(size, true)
		}
		r, _ := z.Answer(q, own)
		names.Fit(r, q, false)
		raw, err := r.Pack()
		if err != nil || len(raw) > most || len(raw) < most-100 || !r.Truncated || (r.IsEdns0() != nil) != (size > 0) {
			t.Errorf("EDNS %d: %d bytes, truncated %t, %v", size, len(raw), r.Truncated, err)
		}
		r, _ = z.Answer(q, own)
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
		r, forward := z.Answer(q, own)
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
