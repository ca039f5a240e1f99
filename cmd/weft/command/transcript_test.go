// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/weft/command"
)

var update = flag.Bool("update", false, "rewrite the transcripts; commit only changes you can explain")

// commandTimeout bounds one command of a transcript.
const commandTimeout = 20 * time.Second

// TestTranscripts runs the command lines of testdata/*.txt and compares what
// they print. A transcript is what a person would see:
//
//	# a comment
//	$ weft get networks            a command; then its output,
//	2| error: …                    its standard error,
//	exit 1                         and its exit code unless that is 0
//	<<< web.yaml                   a file, up to >>>
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			f, config := startFake(t)
			f.furnish(t)
			f.store.counts = strings.HasSuffix(name, "subnets.txt")
			f.store.plugs = strings.HasSuffix(name, "trace.txt")
			got := replay(t, config, string(want))
			switch {
			case got == string(want):
			case *update:
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s differs (rewrite with -update):\n%s", name, firstDifference(string(want), got))
			}
		})
	}
}

// furnish makes the world in which all transcripts begin: what the real store
// begins with and two hosts, of which h2 does not answer.
func (f *fakeServer) furnish(t *testing.T) {
	t.Helper()
	f.addHost(t, "h1", "192.0.2.1")
	f.addHost(t, "h2", "2001:db8::2")
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.store.transact([]fakeOperation{
		{api.OpCreate, []byte(`{"kind":"domain","meta":{"name":"default-domain"}}`)},
		{api.OpCreate, []byte(`{"kind":"orchestrator","meta":{"name":"weft"},"spec":{"platform":"weft","domain":"default-domain"}}`)},
		{api.OpCreate, []byte(`{"kind":"project","meta":{"name":"default-project","parent":"default-domain"}}`)},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	f.drops["h1"] = api.Table{
		Columns: []string{"REASON", "STAGE", "VERDICT", "INTERFACE", "PORT", "PACKETS", "BYTES", "TEXT"},
		Rows: [][]string{
			{"no-route", "route", "dropped", "veth1", "default-domain:default-project:web-1", "12", "1008", "no route to the destination"},
			{"spoofed-address", "spoof", "dropped", "veth1", "default-domain:default-project:web-1", "3", "252", "source address is not the port's"},
			{"multicast-listener", "neighbour", "consumed", "veth1", "default-domain:default-project:web-1", "4", "440", "nothing is flooded"},
			{"malformed", "parse", "dropped", "veth1", "", "0", "0", "packet is cut off"},
		},
	}
	f.state = api.StoreState{Revision: 42, Epoch: 1, MaxTxnOps: 128, Members: []api.StoreMember{
		{Endpoint: "https://192.0.2.11:2379", Version: "3.6.16", Leader: true, SizeBytes: 64 << 20, InUseBytes: 48 << 20, QuotaBytes: 8 << 30},
		{Endpoint: "https://192.0.2.12:2379", Error: "context deadline exceeded"},
	}}
	f.why = []api.WhyRow{
		{Stage: api.StageIntent, Where: "store", What: "port web-1", Detail: "network web", Status: "ok"},
		{Stage: api.StageDesired, Where: "controller", What: "port row for h1", Status: "ok"},
		{Stage: api.StageKernel, Where: "h1", What: "port", Detail: "no workload plugged", Status: "pending"},
		{Stage: api.StageKernel, Where: "h1", What: "route", Detail: "10.0.1.2/32", Status: "map is full"},
	}
	f.routes = demoRoutes("default-domain:default-project:")
	f.reach, f.check = demoReach("default-domain:default-project:")
}

// replay runs the commands of a transcript and returns it with what they print now.
func replay(t *testing.T, config, transcript string) string {
	t.Helper()
	folder := t.TempDir()
	var b strings.Builder
	lines := strings.Split(strings.TrimRight(transcript, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "<<< "):
			var text strings.Builder
			fmt.Fprintln(&b, line)
			for i++; i < len(lines) && lines[i] != ">>>"; i++ {
				fmt.Fprintln(&text, lines[i])
			}
			b.WriteString(text.String() + ">>>\n")
			path := filepath.Join(folder, strings.TrimPrefix(line, "<<< "))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(line, "$ weft"):
			fmt.Fprintln(&b, line)
			out := execute(t, config, folder, strings.TrimPrefix(line, "$ weft"))
			b.WriteString(strings.ReplaceAll(strings.ReplaceAll(out, folder+"/", ""), config, "CONFIG"))
			b.WriteString("\n")
		case strings.HasPrefix(line, "#"):
			fmt.Fprintln(&b, line)
		}
	}
	return b.String()
}

// files are the arguments that name files of the transcript.
var files = regexp.MustCompile(`^[\w./-]+\.ya?ml$|^\w+/$`)

// address is the fake server's, which differs each time.
var address = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// execute runs one command line; "<FILE" at its end is its standard input.
func execute(t *testing.T, config, folder, line string) string {
	t.Helper()
	args := splitWords(line)
	var in bytes.Buffer
	if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "<") {
		data, err := os.ReadFile(filepath.Join(folder, args[n-1][1:]))
		if err != nil {
			t.Fatal(err)
		}
		in.Write(data)
		args = args[:n-1]
	}
	for i, a := range args {
		if files.MatchString(a) {
			args[i] = filepath.Join(folder, a)
			if strings.HasSuffix(a, "/") {
				args[i] += "/"
			}
		}
	}
	out, errOut, code := run(t, config, &in, args...)
	text := out
	for l := range strings.Lines(errOut) {
		text += "2| " + l
	}
	if code != command.ExitOK {
		text += fmt.Sprintf("exit %d\n", code)
	}
	return address.ReplaceAllString(text, "SERVER")
}

// run executes the program in this process.
func run(t *testing.T, config string, in *bytes.Buffer, args ...string) (string, string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	var out, errOut bytes.Buffer
	w := command.World{In: in, Out: &out, Err: &errOut, ConfigFile: config, Version: "test", Now: func() time.Time { return fakeEpoch.Add(3 * time.Hour) }}
	code := command.Run(ctx, w, args)
	return out.String(), errOut.String(), code
}

// splitWords splits at spaces outside single quotes.
func splitWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	return words
}

// firstDifference shows where two texts part.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			from := max(0, i-3)
			return fmt.Sprintf("line %d\nwant:\n%s\ngot:\n%s", i+1,
				strings.Join(w[from:min(len(w), i+12)], "\n"), strings.Join(g[min(from, len(g)):min(len(g), i+12)], "\n"))
		}
	}
	return "got more:\n" + strings.Join(g[len(w):], "\n")
}

// demoReach is what web may say to db, and two assertions of which one does not hold.
func demoReach(project string) (api.Reach, api.Check) {
	port := func(name string) api.Ref { return api.Ref{Name: project + name} }
	web := []api.Ref{port("web-1"), port("web-2"), port("web-3"), port("web-4")}
	r := api.Reach{Revision: 42, Rows: []api.ReachRow{
		{From: web, To: []api.Ref{port("db-1")}, Allowed: []api.ReachFlow{{Protocol: "icmp", Ports: []string{"8"}}, {Family: 4, Protocol: "tcp", Ports: []string{"5432", "6000-6010"}}, {Protocol: "udp", Ports: []string{"53"}, SourcePorts: "53"}}},
		{From: web[:1], To: []api.Ref{port("db-2")}, Allowed: []api.ReachFlow{{Except: []api.Protocol{"tcp", "udp"}}}},
		{From: web[:1], To: []api.Ref{port("db-3")}, Allowed: []api.ReachFlow{}},
		{From: web[:1], To: []api.Ref{port("far")}, Allowed: []api.ReachFlow{}, Reason: "network web has no route to 10.9.0.5 of port far"},
	}}
	return r, api.Check{Revision: 42, Base: 42, Verdicts: []api.Checked{
		{Assertion: "allows network/web to port/db-1 tcp 5432", Holds: true, Pairs: 4},
		{Assertion: "no shells: never network/web to port/db-1 tcp 22", Pairs: 1, Counter: &api.CounterExample{
			From: web[0], To: port("db-1"), Packet: "tcp from 10.0.1.2:49152 to 10.0.2.2:22", Allowed: true,
			Verdicts: []string{"egress security-group: pass by security-group-rule web:all", "ingress: pass, nothing is asked"},
		}},
	}}
}

// demoRoutes are the routes of network web: its own, one that was leaked in, two
// equal ones of a table, and one that leads nowhere.
func demoRoutes(project string) []api.Route {
	name := func(text string) api.Ref { return api.Ref{Name: project + text} }
	route := func(prefix, nextHop, state string, kind api.Kind, origin, from, host string) api.Route {
		r := api.Route{
			Network: name("web"), Prefix: netip.MustParsePrefix(prefix), NextHop: nextHop, State: state, OriginKind: kind, Origin: name(origin),
			OriginNetwork: name(from), LastModified: fakeEpoch.Add(2 * time.Hour),
		}
		if host != "" {
			label := map[string]uint32{"web": 1, "db": 2}[from]
			r.LocalPreference, r.MAC, r.Host = 200, "02:00:00:00:00:01", api.Ref{Name: host}
			r.Tunnel = &api.RouteTunnel{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2." + host[1:])}, Encapsulation: []string{"vxlan"}, Label: label}
		}
		return r
	}
	leaked := route("10.0.2.2/32", "port "+project+"db-1 on h2", api.RouteSecondary, api.KindAddress, "db:db-1-v4", "db", "h2")
	leaked.LeakedByKind, leaked.LeakedBy = api.KindNetworkPolicy, name("web-db")
	first := route("10.9.0.0/16", "via 10.0.1.2 port "+project+"web-1 on h1", api.RoutePrimary, api.KindRouteTable, "branches", "web", "h1")
	second := route("10.9.0.0/16", "via 10.0.1.3 port "+project+"web-2 on h2", api.RoutePrimary, api.KindRouteTable, "branches", "web", "h2")
	first.LocalPreference, second.LocalPreference, second.Equal = 100, 100, true
	nowhere := route("10.10.0.0/16", "via 10.0.1.99", api.RouteInfeasible, api.KindRouteTable, "branches", "web", "")
	nowhere.Reason = "no port of the network that is bound to a host has 10.0.1.99"
	return []api.Route{
		route("2001:db8:1::2/128", "port "+project+"web-1 on h1", api.RoutePrimary, api.KindAddress, "web:web-1-v6", "web", "h1"),
		leaked, first, second, nowhere,
		route("10.0.1.1/32", "gateway", api.RoutePrimary, api.KindSubnet, "web:v4", "web", ""),
	}
}
