// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// Workloads by short names.
var (
	redWeb1  = tenants.Find(tenants.Red, "web-1")
	redWeb2  = tenants.Find(tenants.Red, "web-2")
	redWeb3  = tenants.Find(tenants.Red, "web-3")
	redDB1   = tenants.Find(tenants.Red, "db-1")
	blueWeb1 = tenants.Find(tenants.Blue, "web-1")
	blueWeb9 = tenants.Find(tenants.Blue, "web-9")
	blueDB1  = tenants.Find(tenants.Blue, "db-1")
)

// TestSpine walks one system through its life. The parts run in this order on
// one system because starting it is what takes time.
func TestSpine(t *testing.T) {
	before := takeInventory(t)
	var during traces
	t.Run("system", func(t *testing.T) {
		s := start(t, "", topology.IPv4)
		s.apply(t, tenants.YAML(tenants.Red))
		s.apply(t, tenants.YAML(tenants.Blue))
		s.plug(t, tenants.All...)
		for _, part := range []struct {
			name string
			run  func(*testing.T, *system)
		}{
			{"workloads of a network reach each other", testReach},
			{"full packets fit", testFullPackets},
			{"tenants never meet", testTenants},
			{"a host holds only routes of its members", testRoutesOfMembers},
			{"a policy joins networks under a running ping", testPolicy},
			{"why names every stage", testWhy},
			{"owners of one project resolve each other's names", testNames},
			{"a trace says what becomes of a packet", testTrace},
			{"a port that is set down passes nothing", testDisabled},
			{"a qos-policy limits and marks", testLimits},
			{"drops are followed packet by packet", testFollow},
			{"spoofed packets are dropped and counted", testSpoofed},
			{"frames of hosts outside a network are dropped and counted", testSources},
			{"an agent's crash loses nothing", testAgentCrash},
			{"a controller's absence loses nothing", testControllerRestart},
			{"a port moves to another host", testMove},
			{"orchestrators cannot touch each other's objects", testOwners},
			{"uninstall leaves nothing on a host", testUninstall},
		} {
			if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
				break // what follows builds upon it
			}
		}
		during = traceSystem(t, s)
	})
	compareInventory(t, before, during)
}

func testReach(t *testing.T, s *system) {
	for _, from := range tenants.All {
		for _, to := range tenants.All {
			if from == to || from.NetworkName() != to.NetworkName() {
				continue
			}
			for _, a := range to.Addresses() {
				s.wantAnswers(t, from, a, ttlInside)
			}
		}
	}
}

func testFullPackets(t *testing.T, s *system) {
	const mtu, ip4, ip6, icmp = 1500, 20, 40, 8
	for _, to := range []tenants.Workload{redWeb2, redWeb3} {
		for a, size := range map[int]int{0: mtu - ip4 - icmp, 1: mtu - ip6 - icmp} {
			answer := s.ping(t, probe.Ping{To: to.Addresses()[a], Size: size, DontFrag: true}, redWeb1)
			if answer.Received != answer.Sent {
				t.Errorf("packets of %d bytes to %s: %d of %d answered\n%s", mtu, to.Title(), answer.Received, answer.Sent, answer.Output)
			}
		}
	}
}

// testTenants asks every address from every workload who is there. Equal
// addresses are answered by the own tenant, and by nobody else.
func testTenants(t *testing.T, s *system) {
	for _, w := range tenants.All {
		r, err := probe.Answering(s.namespace(w), w.Title())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
	}
	for _, from := range tenants.All {
		for _, to := range tenants.Of(from.Tenant) {
			if from == to || from.Network != to.Network {
				continue
			}
			for _, a := range to.Addresses() {
				for _, over := range []string{"udp", "tcp"} {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					who, err := probe.Ask(ctx, s.namespace(from), over, a)
					cancel()
					if err != nil || who != to.Title() {
						t.Errorf("%s asks %v over %s: %q answers (%v), want %q", from.Title(), a, over, who, err, to.Title())
					}
				}
			}
		}
	}
	for _, a := range blueWeb9.Addresses() {
		s.wantAnswers(t, blueWeb1, a, ttlInside)
		for _, from := range []tenants.Workload{redWeb1, redWeb3} {
			s.wantSilence(t, from, a)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			if who, err := probe.Ask(ctx, s.namespace(from), "udp", a); !errors.Is(err, probe.ErrSilence) {
				t.Errorf("%s asks %v, which only blue has: %q, %v", from.Title(), a, who, err)
			}
			cancel()
		}
	}
}

// vrfOf is the VRF of a network, as text in the hosts' tables.
func vrfOf(t *testing.T, s *system, network string) string {
	t.Helper()
	n, err := client.Get[*api.Network](t.Context(), s.client, api.ParseRef(network))
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatUint(uint64(n.Spec.VNI), 10)
}

// routesOf counts the routes of a network in a host's kernel.
func routesOf(t *testing.T, s *system, host, network string) int {
	t.Helper()
	vrf := vrfOf(t, s, network)
	table := s.table(t, host, api.HostTableRoutes)
	at := column(t, table, "vrf")
	count := 0
	for _, row := range table.Rows {
		// "<number>" or "<number> (<name>)"
		if first, _, _ := strings.Cut(row[at], " "); first == vrf || row[at] == network {
			count++
		}
	}
	return count
}

// testRoutesOfMembers is acceptance S0-03.
func testRoutesOfMembers(t *testing.T, s *system) {
	members := map[string]map[string]bool{}
	for _, w := range tenants.All {
		if members[w.NetworkName()] == nil {
			members[w.NetworkName()] = map[string]bool{}
		}
		members[w.NetworkName()][w.HostName()] = true
	}
	for network, hosts := range members {
		for n := 1; n <= tenants.Hosts; n++ {
			host := topology.HostName(n)
			routes := routesOf(t, s, host, network)
			if hosts[host] != (routes > 0) {
				t.Errorf("%s holds %d routes of %s; members there: %v", host, routes, network, hosts[host])
			}
		}
	}
	// The CLI says the same: no line of red's web on h3.
	vrf := vrfOf(t, s, redWeb1.NetworkName())
	for line := range strings.Lines(s.weft(t, "get", "routes", "--host", "h3")) {
		if strings.Fields(line)[0] == vrf {
			t.Errorf("h3 has no member of red's web, yet the CLI shows a route of it: %s", line)
		}
	}
}

func testPolicy(t *testing.T, s *system) {
	var pings []*probe.Running
	for _, a := range redDB1.Addresses() {
		s.wantSilence(t, redWeb1, a)
		pings = append(pings, s.begin(t, redWeb1, a))
	}
	before := time.Now()
	s.apply(t, tenants.PolicyYAML(tenants.Red))
	for i, p := range pings {
		ctx, cancel := context.WithTimeout(t.Context(), settle)
		first, err := p.WaitReply(ctx, func(probe.Reply) bool { return true })
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v answers %v after the policy was sent", redDB1.Addresses()[i], first.At.Sub(before).Round(time.Millisecond))
		if first.At.Before(before) {
			t.Errorf("%v answered before the policy", redDB1.Addresses()[i])
		}
	}
	for i, a := range redDB1.Addresses() {
		s.wantAnswers(t, redWeb1, a, ttlBetween)
		s.wantAnswers(t, redWeb3, a, ttlBetween)
		s.wantAnswers(t, redDB1, redWeb1.Addresses()[i], ttlBetween)
		s.wantAnswers(t, redWeb1, redWeb3.Addresses()[i], ttlInside)
		s.wantSilence(t, blueWeb1, blueDB1.Addresses()[i])
	}
	testPath(t, s)
	s.weft(t, "delete", string(api.KindNetworkPolicyAttachment), tenants.Attachment(tenants.Red, tenants.DB))
	for i, p := range pings {
		a := redDB1.Addresses()[i]
		eventually(t, "no more answers from "+a.String(), func() (bool, string) {
			n := len(p.Replies())
			time.Sleep(10 * pollEvery)
			return len(p.Replies()) == n, strconv.Itoa(n) + " replies"
		})
		if _, err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		s.wantSilence(t, redWeb1, a)
		s.wantSilence(t, redDB1, redWeb1.Addresses()[i])
	}
}

func testWhy(t *testing.T, s *system) {
	rows, err := s.client.Why(t.Context(), api.KindPort, api.ParseRef(redWeb1.Port()))
	if err != nil {
		t.Fatal(err)
	}
	stages := map[api.Stage]bool{}
	for _, r := range rows {
		stages[r.Stage] = true
		if r.Status != "ok" {
			t.Errorf("%s, %s, %s: %s", r.Stage, r.Where, r.What, r.Status)
		}
	}
	for _, stage := range []api.Stage{api.StageIntent, api.StageDerived, api.StageDesired, api.StageKernel} {
		if !stages[stage] {
			t.Errorf("no row of stage %s in %+v", stage, rows)
		}
	}
	s.weft(t, "why", "port", redWeb1.Port())
	out := s.weft(t, "port", redWeb1.Port())
	for _, part := range []string{"up on " + redWeb1.HostName(), "port-addresses of h1", "counters of h1", redWeb1.Addresses()[1].String()} {
		if !strings.Contains(out, part) {
			t.Errorf("weft port does not show %q:\n%s", part, out)
		}
	}
}

// testSpoofed sends from addresses that are in the subnet and not the port's.
func testSpoofed(t *testing.T, s *system) {
	const reason = "spoofed-address"
	ns := s.namespace(redWeb1)
	for i, to := range redWeb3.Addresses() {
		source := []string{"10.0.1.77/24", "fd00:1::77/64"}[i]
		prefix := mustPrefix(t, source)
		if err := namespace.AddAddress(ns, "eth0", prefix); err != nil {
			t.Fatal(err)
		}
		before := dropped(t, s, redWeb1.HostName(), reason)
		answer := s.ping(t, probe.Ping{To: to, Source: prefix.Addr(), Limit: time.Second}, redWeb1)
		if answer.Received != 0 {
			t.Errorf("%v answers packets from %v, which the port does not have\n%s", to, prefix.Addr(), answer.Output)
		}
		if after := dropped(t, s, redWeb1.HostName(), reason); after <= before {
			t.Errorf("drops with reason %s on %s: %d before and %d after packets from %v", reason, redWeb1.HostName(), before, after, prefix.Addr())
		}
		if err := namespace.RemoveAddress(ns, "eth0", prefix); err != nil {
			t.Fatal(err)
		}
	}
	for _, arguments := range [][]string{{"drops"}, {"drops", "--port", redWeb1.Port()}} {
		if out := s.weft(t, arguments...); !strings.Contains(out, reason) {
			t.Errorf("weft %v does not show %s:\n%s", arguments, reason, out)
		}
	}
	if out := s.weft(t, "drops", "--port", redWeb3.Port()); strings.Contains(out, reason) {
		t.Errorf("weft drops shows another port's:\n%s", out)
	}
}

// dropped sums the packets that a host dropped for a reason.
func dropped(t *testing.T, s *system, host, reason string) int {
	t.Helper()
	table := s.table(t, host, api.HostTableDrops)
	why, packets := column(t, table, "reason"), column(t, table, "packets")
	sum := 0
	for _, row := range table.Rows {
		if row[why] == reason {
			n, err := strconv.Atoi(row[packets])
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
