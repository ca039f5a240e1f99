// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

// request is one, and what is to become of it.
type request struct {
	url, host string
	header    [2]string
	code      int
	member    string // "" : none is asked
	location  string
}

// Rules, headers, certificates by name and cookies, as real clients see them.
func TestRequests(t *testing.T) {
	w := newHall(t)
	for at, name := range map[string]string{"127.0.2.1:8080": "a", "127.0.2.3:8080": "c"} {
		w.serve(at, name)
	}
	p := shop()
	p.Pools[0].Members = p.Pools[0].Members[:1]
	p.Certificates = map[string][]byte{"shop": certificate(t, "shop.example"), "other": certificate(t, "other.example")}
	match := func(what, key, compare, value string) []api.RequestMatch {
		return []api.RequestMatch{{What: what, Key: key, Compare: compare, Value: value}}
	}
	l := &p.Listeners[0]
	l.InsertHeaders = map[string]string{"X-Forwarded-For": "{client-address}", "X-Proto": `{protocol} 50%  "{host}" %[pid]`}
	l.Rules = []Rule{
		{ID: id(30), Action: "pool", Pool: id(11), Requests: match("path", "", "path-prefix", "/static/")},
		{ID: id(31), Action: "reject", Requests: match("path", "", "regex", `^/(static|admin)\b`)},
		{ID: id(32), Action: "redirect", URL: "https://shop.example/100%25", RedirectCode: 301, Requests: match("host", "", "equals", "Old.example")},
		{ID: id(33), Action: "redirect", Prefix: "https://new.example", Requests: match("header", "x-old", "equals", `a, "b" 'c'`)},
		{ID: id(34), Action: "pool", Pool: id(11), Requests: match("file-type", "", "regex", "^jpe?g$")},
		{ID: id(35), Action: "pool", Pool: id(11), Requests: append(match("cookie", "side", "equals", "c"), api.RequestMatch{What: "path", Compare: "ends-with", Value: "no", Invert: true})},
	}
	secure := Listener{ID: id(3), Protocol: "TERMINATED_HTTPS", Port: 443, Pool: id(10), InsertHeaders: l.InsertHeaders, TLS: &api.ListenerTLS{Certificates: []string{"shop", "other"}}}
	p.Listeners = append(p.Listeners, secure)
	w.update(p)
	if f := w.runner.Faults(p.ID); len(f) > 0 {
		t.Fatalf("faults: %v", f)
	}
	base := "http://127.0.1.1"
	for _, q := range []request{
		{url: "/", code: 200, member: "a"},
		{url: "/static", code: 200, member: "c"},
		{url: "/static/x", code: 200, member: "c"},
		{url: "/statics", code: 200, member: "a"},
		{url: "/static-x", code: 403},
		{url: "/admin", code: 403},
		{url: "/x", host: "old.EXAMPLE:80", code: 301, location: "https://shop.example/100%25"},
		{url: "/x?y", header: [2]string{"X-Old", `a, "b" 'c'`}, code: 302, location: "https://new.example/x?y"},
		{url: "/x?y", header: [2]string{"X-Old", `a`}, code: 200, member: "a"},
		{url: "/x.y/z.jpeg", code: 200, member: "c"},
		{url: "/x.jpg/jpg", code: 200, member: "a"},
		{url: "/yes", header: [2]string{"Cookie", "x=1; side=c"}, code: 200, member: "c"},
		{url: "/no", header: [2]string{"Cookie", "side=c"}, code: 200, member: "a"},
	} {
		a, err := get(t.Context(), w.client(false), base+q.url, func(r *http.Request) {
			r.Host = q.host
			if q.header[0] != "" {
				r.Header.Set(q.header[0], q.header[1])
			}
		})
		if err != nil || a.code != q.code || a.head.Get("X-Member") != q.member || a.head.Get("Location") != q.location {
			t.Errorf("%+v: %+v %v", q, a, err)
		}
	}
	a, err := get(t.Context(), w.client(false), base, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "6.6.6.6"); r.Host = "h.example" })
	if want := `127.0.0.1;http 50%  "h.example" %[pid]`; err != nil || a.head.Get("X-Saw") != want {
		t.Errorf("headers: %q %v, want %q", a.head.Get("X-Saw"), err, want)
	}
	for server, want := range map[string]string{"shop.example": "shop.example", "other.example": "other.example", "": "shop.example"} {
		c := w.client(false)
		c.Transport.(*http.Transport).TLSClientConfig.ServerName = server
		a, err := get(t.Context(), c, "https://127.0.1.1/", nil)
		if err != nil || a.certificate != want || a.code != 200 {
			t.Errorf("who asks for %q is shown %q: %d %v", server, a.certificate, a.code, err)
		}
	}
}

// Who has a cookie comes back to its member, also after a reload; who has none is given members in turn.
func TestCookieKeepsMember(t *testing.T) {
	w := newHall(t)
	w.serve("127.0.2.1:8080", "a")
	w.serve("[fd00:c::1]:8080", "b")
	p := shop()
	p.Pools[0].Affinity = &api.Affinity{By: "http-cookie", Seconds: 60}
	w.update(p)
	given := map[string]string{}
	for range 6 {
		a, err := get(t.Context(), w.client(false), "http://127.0.1.1/", nil)
		cookies := strings.Join(a.head["Set-Cookie"], ";")
		at := strings.Index(cookies, "weft=")
		if err != nil || at < 0 {
			t.Fatalf("no cookie: %v %v", a, err)
		}
		given[a.head.Get("X-Member")], _, _ = strings.Cut(cookies[at:], ";")
	}
	if len(given) != 2 {
		t.Errorf("members in turn: %v", given)
	}
	p.Listeners[0].ConnectionLimit = 50
	w.update(p)
	for member, cookie := range given {
		for range 5 {
			a, err := get(t.Context(), w.client(false), "http://127.0.1.1/", func(r *http.Request) { r.Header.Set("Cookie", cookie) })
			if err != nil || a.head.Get("X-Member") != member {
				t.Errorf("%s's client came to %q: %v", member, a.head.Get("X-Member"), err)
			}
		}
	}
}

// The application's own cookie keeps its client, and the application sees what it said itself.
func TestCookieOfTheApplication(t *testing.T) {
	w := newHall(t)
	w.serve("127.0.2.1:8080", "a")
	w.serve("[fd00:c::1]:8080", "b")
	p := shop()
	p.Pools[0].Affinity = &api.Affinity{By: "app-cookie", Cookie: "SESSION"}
	w.update(p)
	given := map[string]string{}
	for range 6 {
		a, err := get(t.Context(), w.client(false), "http://127.0.1.1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		given[a.head.Get("X-Member")], _, _ = strings.Cut(a.head.Get("Set-Cookie"), ";")
	}
	for member, cookie := range given {
		if len(given) != 2 || !strings.HasSuffix(cookie, "~"+member) {
			t.Errorf("members in turn with their cookies: %v", given)
		}
		for range 5 {
			a, err := get(t.Context(), w.client(false), "http://127.0.1.1/", func(r *http.Request) { r.Header.Set("Cookie", cookie) })
			if err != nil || a.head.Get("X-Member") != member || a.head.Get("X-Session") != "SESSION="+member {
				t.Errorf("%s's client came to %q with %q: %v", member, a.head.Get("X-Member"), a.head.Get("X-Session"), err)
			}
		}
	}
}

// Clients of one address come to one member, and reloads do not change whose they are. Members not
// to be used, and then to be used, are used, though nobody tries them.
func TestAddressKeepsMember(t *testing.T) {
	w := newHall(t)
	w.serve("127.0.2.1:8080", "a")
	w.serve("[fd00:c::1]:8080", "b")
	p := shop()
	p.Pools[0].Affinity, p.Pools[0].Monitor = &api.Affinity{By: "source-address"}, nil
	p.Pools[0].Members[0].State = api.MemberNotReady
	w.update(p)
	p.Pools[0].Members[0].State = api.MemberActive
	w.update(p)
	members := map[string]string{}
	for i := range 3 {
		p.Listeners[0].ConnectionLimit = 50 + i
		w.update(p)
		for n := range 40 {
			client := "127.0.3." + strconv.Itoa(n+1)
			c := w.client(false)
			c.Transport.(*http.Transport).DialContext = w.dial(client)
			a, err := get(t.Context(), c, "http://127.0.1.1/", nil)
			member := a.head.Get("X-Member")
			if err != nil || (i > 0 && member != members[client]) {
				t.Errorf("after %d reloads %s of %s came to %q: %v", i, client, members[client], member, err)
			}
			members[client] = member
		}
	}
	count := map[string]int{}
	for _, m := range members {
		count[m]++
	}
	if count["a"] == 0 || count["b"] == 0 {
		t.Errorf("40 addresses are given to %v", count)
	}
}
