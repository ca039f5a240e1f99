// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

// words takes a line of a configuration apart as HAProxy's parser does (section 2.2 of its
// manual), written from there and not from what writes lines.
func words(t testing.TB, line string) (all []string) {
	t.Helper()
	var word strings.Builder
	in, single := false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case single && c == '\'':
			single = false
		case single:
			word.WriteByte(c)
		case c == '\'':
			in, single = true, true
		case c == '"':
			t.Fatalf("a double quote that means one: %q", line)
		case c == '#':
			return all
		case c == '\\' && i+1 < len(line):
			i++
			in = true
			switch line[i] {
			case 'n', 'r', 't', 'x':
				t.Fatalf("a character that no line holds: %q", line)
			}
			word.WriteByte(line[i])
		case c == ' ' || c == '\t':
			if in {
				all = append(all, word.String())
			}
			word.Reset()
			in = false
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if single {
		t.Fatalf("a quote that does not end: %q", line)
	}
	if in {
		all = append(all, word.String())
	}
	return all
}

// keywords are all words that lines may begin with.
var keywords = []string{"global", "defaults", "frontend", "backend", "stats", "server-state-file", "maxconn", "nbthread", "hard-stop-after", "ssl-default-bind-options",
	"tune.ssl.default-dh-param", "mode", "load-server-state-from-file", "option", "retries", "timeout", "bind", "acl", "tcp-request", "http-request", "use_backend", "default_backend",
	"balance", "hash-type", "cookie", "http-check", "server"}

// taken is a proxy that has words of a user wherever a user has any.
func taken(text string, compare string, key []byte) *Proxy {
	of := func(what, key string) api.RequestMatch {
		return api.RequestMatch{What: what, Key: key, Compare: compare, Value: text}
	}
	members := []Member{{ID: id(20), Address: netip.MustParseAddr("10.0.1.2"), Port: 80, Weight: 1}}
	return &Proxy{ID: id(1), Addresses: pair, Certificates: map[string][]byte{text: key, "shop": key},
		Pools: []Pool{{ID: id(10), Protocol: "HTTP", Members: members, Affinity: &api.Affinity{By: "app-cookie", Cookie: text}, TLS: &api.PoolTLS{Name: text},
			Monitor: &api.Probe{Type: "http", HTTP: &api.HTTPTest{Path: "/" + text, Host: text}}},
			{ID: id(11), Protocol: "HTTP", Members: members}},
		Listeners: []Listener{
			{ID: id(2), Protocol: "HTTP", Port: 80, Pool: id(10), InsertHeaders: map[string]string{"X-Text": text, text: "x", "X-More": text + "{host}" + text},
				Rules: []Rule{
					{ID: id(30), Action: "redirect", URL: text, Requests: []api.RequestMatch{of("host", ""), of("path", "")}},
					{ID: id(31), Action: "redirect", Prefix: text, Requests: []api.RequestMatch{of("file-type", "")}},
					{ID: id(32), Action: "pool", Pool: id(11), Requests: []api.RequestMatch{of("header", "x"), of("cookie", "x")}},
					{ID: id(33), Action: "pool", Pool: id(11), Requests: []api.RequestMatch{of("header", text), of("cookie", text), of("client-name", text)}},
					{ID: id(34), Action: text, Pool: text, Requests: []api.RequestMatch{of(text, text)}}}},
			{ID: id(3), Protocol: "TERMINATED_HTTPS", Port: 443, Pool: id(11), TLS: &api.ListenerTLS{Certificates: []string{text}, ALPN: []string{text}}},
			{ID: text, Protocol: text, Port: 81, Pool: text}}}
}

// hostile are words that mean something to HAProxy, or to who reads its lines.
var hostile = []string{"if", "'", `"`, `\`, `\'`, "#", "-f /etc/passwd", "%[env(HOME)]", "%", "%%", "{ src 0.0.0.0/0 }", "||", "!", "--", "a\nglobal\n", "\x00", "\r", "$HOME", "${HOME}", "a  b", " ", "é", "\xff",
	`' if TRUE or '`, "a]", "a)", "a,b", "(?i)k[^s]", "^(a|b)*$", `[[.a.]]`, `\pL`, `x{2,5}`, `\Qa+b\E`, `[^\x00-\x7f]`, "unless", "-i", "-m reg", `\x27`, "%{+Q}o", "[::1]", "lua.x"}

// holds tells what a user's words have become: HAProxy takes the configuration, lines are those that a
// harmless word makes, but for objects that are left out.
func holds(t testing.TB, at Place, text, compare string, key []byte) {
	t.Helper()
	r := Render(taken(text, compare, key), at, nil)
	longest := 0
	for _, line := range strings.Split(r.Text(), "\n") {
		all := words(t, line)
		if len(all) == 0 {
			continue
		}
		longest = max(longest, len(all))
		if !slices.Contains(keywords, all[0]) {
			t.Errorf("%q makes a line that begins with %q: %q", text, all[0], line)
		}
		if i := slices.IndexFunc(all, func(w string) bool {
			return strings.Contains(w, "%[env") && !strings.Contains(w, "%%[env") && all[0] != "acl"
		}); i >= 0 {
			t.Errorf("%q is evaluated: %q", text, line)
		}
		if shape := strings.Join(all[:min(len(all), 2)], " "); shape == "acl r0c0" && all[len(all)-1] != text && compare == "equals" {
			t.Errorf("%q is compared as %q", text, all[len(all)-1])
		}
	}
	if longest > 60 {
		t.Errorf("%q makes a line of %d words", text, longest)
	}
	if out, ok := check(t, at.Dir, r); !ok {
		t.Errorf("HAProxy refuses what %q (%s) makes:\n%s", text, compare, out)
	}
}

var comparisons = []string{"equals", "starts-with", "ends-with", "contains", "regex", "path-prefix"}

// Words of users stay data, whatever they are.
func TestWordsOfUsersStayData(t *testing.T) {
	at, key := place(t), certificate(t, "shop.example")
	for _, text := range hostile {
		for _, compare := range []string{"equals", "regex", "path-prefix"} { // the fuzz test has the rest
			holds(t, at, text, compare, key)
		}
	}
}

func FuzzWordsOfUsers(f *testing.F) {
	for i, text := range hostile {
		f.Add(text, uint8(i))
	}
	key := certificate(f, "shop.example")
	f.Fuzz(func(t *testing.T, text string, compare uint8) {
		if len(text) > 1024 {
			return
		}
		holds(t, place(t), text, comparisons[int(compare)%len(comparisons)], key)
	})
}
