// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

var update = flag.Bool("update", false, "write the golden configurations anew")

// id is a UUID of a number.
func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// pair is addresses of both families.
var pair = []netip.Addr{netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("fd00:b::100")}

func member(n int, ip string) Member {
	return Member{ID: id(n), Address: netip.MustParseAddr(ip), Port: 8080, Weight: 1, State: api.MemberActive}
}

// worlds are proxies with their golden configurations.
func worlds(t *testing.T) map[string]*Proxy {
	web := Pool{ID: id(10), Protocol: "HTTP", Members: []Member{member(20, "10.0.1.2"), member(21, "fd00:c::3")},
		Monitor:  &api.Probe{Type: "http", Interval: 1000, Timeout: 500, Rise: 2, Fall: 3, HTTP: &api.HTTPTest{Path: "/up?x=1", Host: "shop.example", Version: "1.1", Codes: "200-204,301"}},
		Affinity: &api.Affinity{By: "http-cookie", Seconds: 60}}
	static := Pool{ID: id(11), Protocol: "PROXYV2", Algorithm: "least-connections", Monitor: &api.Probe{Type: "tcp"},
		Members: []Member{{ID: id(22), Address: netip.MustParseAddr("10.0.1.9"), Port: 81, Weight: 256, State: "draining"},
			{ID: id(23), Address: netip.MustParseAddr("10.0.1.10"), Port: 81, State: "not-ready", Backup: true, MonitorAddress: netip.MustParseAddr("10.0.1.11"), MonitorPort: 99}, {ID: id(24)}}}
	equal := func(what, key, value string) api.RequestMatch {
		return api.RequestMatch{What: what, Key: key, Compare: "equals", Value: value}
	}
	rules := []Rule{
		{ID: id(30), Action: "reject", Requests: []api.RequestMatch{{What: "path", Compare: "regex", Value: `(?i)^/(?P<x>admin|k[^a]*)\.php$`}, {What: "host", Compare: "ends-with", Value: ".example", Invert: true}}},
		{ID: id(31), Action: "pool", Pool: id(11), Requests: []api.RequestMatch{equal("host", "", "shop.example"), {What: "path", Compare: "path-prefix", Value: "/static/"}}},
		{ID: id(32), Action: "redirect", URL: "https://shop.example/%20a?b=%[env(HOME)]#'x'", RedirectCode: 308, Requests: []api.RequestMatch{equal("header", "X-Old", `-f "it's" \ #1  {a}`), equal("cookie", "old", "if")}},
		{ID: id(33), Action: "redirect", Prefix: "https://elsewhere.example", Requests: []api.RequestMatch{equal("file-type", "", "jpg"), {What: "path", Compare: "path-prefix", Value: "/"}}},
		{ID: id(34), Action: "pool", Pool: id(10), Requests: []api.RequestMatch{equal("client-certificate", "", "true"), equal("client-verify", "", "0"), equal("client-name", "CN", "me"), {What: "file-type", Compare: "regex", Value: "jpe?g"}}},
	}
	key, authority := certificate(t, "shop.example"), certificate(t, "authority")
	return map[string]*Proxy{
		"nothing": {ID: id(1)},
		"http": {ID: id(1), Addresses: pair, Pools: []Pool{web, static}, Listeners: []Listener{{ID: id(2), Protocol: "HTTP", Port: 80, Pool: id(10), Rules: rules, ConnectionLimit: 100,
			Timeouts:      api.ListenerTimeouts{ClientMS: 1000, MemberMS: 2000, ConnectMS: 300, InspectMS: 400},
			Sources:       []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/16")},
			InsertHeaders: map[string]string{"X-Forwarded-For": "{client-address}", "X-Forwarded-Proto": "{protocol}", "X-Text": `100%  of   "it"`, "X Bad": "x", "X-Unknown": "{nothing}"}},
			{ID: id(3), Protocol: "HTTP", Port: 81, Pool: id(10)}}},
		"secure": {ID: id(1), Addresses: pair, Certificates: map[string][]byte{"shop": key, "ca": authority, "broken": []byte("no PEM")},
			Pools: []Pool{{ID: id(10), Protocol: "HTTPS", Algorithm: "source-address", TLS: &api.PoolTLS{Authority: "ca", Certificate: "shop", Name: "web.internal"}, Monitor: &api.Probe{Type: "https"},
				Members: []Member{member(20, "10.0.1.2")}, Affinity: &api.Affinity{By: "app-cookie", Cookie: "SESSION"}},
				{ID: id(11), Protocol: "HTTPS", Monitor: &api.Probe{Type: "tls"}, Members: []Member{member(21, "10.0.1.3")}, Affinity: &api.Affinity{By: "source-address"}}},
			Listeners: []Listener{
				{ID: id(2), Protocol: "TERMINATED_HTTPS", Port: 443, Pool: id(10), Rules: rules[4:], TLS: &api.ListenerTLS{Certificates: []string{"shop", "gone", "broken"}, Versions: []string{"TLSv1.3", "TLSv1.2"},
					Ciphers: "ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256", ClientCA: "ca", ClientAuth: "optional"}},
				{ID: id(3), Protocol: "HTTPS", Port: 8443, Pool: id(11)},
				{ID: id(4), Protocol: "TERMINATED_HTTPS", Port: 444, Pool: id(10), TLS: &api.ListenerTLS{Certificates: []string{"broken"}}},
				{ID: id(5), Protocol: "TERMINATED_HTTPS", Port: 445, Pool: id(10), TLS: &api.ListenerTLS{Certificates: []string{"shop"}, ClientAuth: "mandatory", ClientCA: "gone"}},
				{ID: id(6), Protocol: "PROMETHEUS", Port: 9101},
				{ID: id(7), Protocol: "UDP", Port: 53, Pool: id(11)}}},
		"wrong": {ID: id(1), Addresses: pair[:1], Pools: []Pool{{ID: id(10), Protocol: "UDP"}, {ID: id(11), Protocol: "TCP", Monitor: &api.Probe{Type: "ping"}, Affinity: &api.Affinity{By: "http-cookie"}}},
			Listeners: []Listener{
				{ID: id(2), Protocol: "HTTP", Port: 80, Pool: id(10), Rules: []Rule{{ID: id(30), Action: "reject", Requests: []api.RequestMatch{{What: "path", Compare: "regex", Value: `(`}}}}},
				{ID: id(3), Protocol: "TCP", Port: 81, Pool: id(11), Rules: rules[:1]},
				{ID: id(4), Protocol: "TCP", Port: 82, Pool: id(99)},
				{ID: "frontend x\nglobal", Protocol: "TCP", Port: 83, Pool: id(11)}}},
	}
}

// check puts a proxy's files where it says they are, and asks HAProxy what it thinks of them.
func check(t testing.TB, dir string, r Rendered) (message string, ok bool) {
	t.Helper()
	files := maps.Clone(r.Files)
	files[statesFile] = []byte("1\n")
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("haproxy", "-c", "-f", filepath.Join(dir, ConfigFile)).CombinedOutput()
	return string(out), err == nil
}

// place is a directory whose path is short enough for sockets.
func place(t testing.TB) Place {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "wh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return Place{Dir: dir}
}

// Each world is rendered as its golden file says, and HAProxy takes it without a warning.
func TestRenderedConfigurations(t *testing.T) {
	for name, world := range worlds(t) {
		t.Run(name, func(t *testing.T) {
			at := place(t)
			r := Render(world, at, nil)
			out, ok := check(t, at.Dir, r)
			if !ok || strings.Contains(out, "[WARNING]") {
				t.Errorf("haproxy -c of %s:\n%s\n%s", name, out, r.Text())
			}
			text := r.Text()
			for _, f := range r.Faults {
				text += fmt.Sprintf("# %s %s partly=%v: %s\n", f.ID, f.Reason, f.Partly, f.Message)
			}
			text = strings.ReplaceAll(text, at.Dir, "DIR")
			text = hashes(text, r)
			golden := filepath.Join("testdata", name+".cfg")
			if *update {
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || text != string(want) {
				t.Errorf("%s is not what was rendered (go test -update, and read the difference): %v\n%s", golden, err, text)
			}
			again := Render(world, at, nil)
			if !bytes.Equal(again.Files[ConfigFile], r.Files[ConfigFile]) {
				t.Error("the same proxy is rendered in two ways")
			}
		})
	}
}

// hashes gives files that are named by keys which differ from run to run a number.
func hashes(text string, r Rendered) string {
	for name := range r.Files {
		if kind := filepath.Ext(name); kind == ".pem" || kind == ".list" {
			text = strings.ReplaceAll(text, name, "certificates/HASH"+kind)
		}
	}
	return text
}

// What is refused is left out with its reason, and all else stays.
func TestRefusedIsLeftOut(t *testing.T) {
	world, at := worlds(t)["http"], place(t)
	whole := Render(world, at, nil)
	for _, refused := range []string{id(2), id(10), id(20), id(31)} {
		r := Render(world, at, map[string]string{refused: "a reason"})
		if out, ok := check(t, at.Dir, r); !ok {
			t.Errorf("without %s HAProxy refuses the rest:\n%s", refused, out)
		}
		if !slices.ContainsFunc(r.Faults, func(f Fault) bool {
			return f.ID == refused && f.Reason == Refused && strings.Contains(f.Message, "a reason")
		}) {
			t.Errorf("%s is left out without saying so: %v", refused, r.Faults)
		}
		if len(r.Text()) >= len(whole.Text()) || slices.Contains(r.owners, refused) {
			t.Errorf("%s is refused and has lines:\n%s", refused, r.Text())
		}
	}
}

// Every line is some object's, or of the process.
func TestLinesHaveOwners(t *testing.T) {
	r := Render(worlds(t)["http"], place(t), nil)
	for i, line := range strings.Split(strings.TrimSuffix(r.Text(), "\n"), "\n") {
		want := ""
		switch {
		case strings.Contains(line, "server member-"):
			want = id(20)[:34]
		case strings.Contains(line, "acl r1"), strings.Contains(line, "if r1"):
			want = id(31)
		case strings.Contains(line, "default_backend"):
			want = id(2)[:35]
		}
		if owner := r.Owner(i + 1); !strings.HasPrefix(owner, want) || r.Owner(0) != "" {
			t.Errorf("line %d %q is %q's, want %s", i+1, line, owner, want)
		}
	}
}
