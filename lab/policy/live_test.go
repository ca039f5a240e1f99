// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
)

func find(t *testing.T, short string) Workload {
	t.Helper()
	i := slices.IndexFunc(Workloads, func(w Workload) bool { return w.Short() == short })
	if i < 0 {
		t.Fatalf("no workload %s", short)
	}
	return Workloads[i]
}

// allow is a rule of a group of red:shop, of both families; change alters them.
func allow(group, name string, side api.Side, change func(*api.SecurityGroupRuleSpec)) (operations []api.Operation) {
	for _, f := range []api.Family{api.IPv4, api.IPv6} {
		r := &api.SecurityGroupRule{Header: header(api.KindSecurityGroupRule, "red:shop:"+group, name+"-"+string(f))}
		r.Spec.Direction, r.Spec.Family = side, f
		if change != nil {
			change(&r.Spec)
		}
		operations = append(operations, create(r))
	}
	return operations
}

// disallow deletes the rules that allow made.
func disallow(group, name string) (operations []api.Operation) {
	for _, f := range []api.Family{api.IPv4, api.IPv6} {
		r := &api.SecurityGroupRule{Header: header(api.KindSecurityGroupRule, "", "")}
		r.Meta.FQName = "red:shop:" + group + ":" + name + "-" + string(f)
		operations = append(operations, api.Operation{Op: api.OpDelete, Object: r})
	}
	return operations
}

func tcp(ports ...int) func(*api.SecurityGroupRuleSpec) {
	return func(s *api.SecurityGroupRuleSpec) {
		s.Match.Protocol = api.TCP
		if len(ports) > 0 {
			s.Match.Ports = &api.PortRange{From: ports[0], To: ports[len(ports)-1]}
		}
	}
}

// named is TCP with who is in a group.
func named(group string, ports ...int) func(*api.SecurityGroupRuleSpec) {
	return func(s *api.SecurityGroupRuleSpec) {
		tcp(ports...)(s)
		s.RemoteGroup = api.Ref{Name: "red:shop:" + group}
	}
}

func udp(s *api.SecurityGroupRuleSpec) { s.Match.Protocol = api.UDP }

// withGroups gives ports of red:shop groups.
func (s *system) withGroups(t *testing.T, m *Model, groups []string, names ...string) (operations []api.Operation) {
	t.Helper()
	for _, name := range names {
		operations = append(operations, update(m.Port("red:shop:"+name), func(p *api.Port) {
			p.Spec.SecurityGroups, p.Spec.PortSecurity = nil, ""
			for _, g := range groups {
				p.Spec.SecurityGroups = append(p.Spec.SecurityGroups, api.Ref{Name: "red:shop:" + g})
			}
		}))
	}
	return operations
}

// liveGroups makes the groups of the tests with running traffic: all of web in
// run, w2 and w3 in old besides.
func (s *system) liveGroups(t *testing.T) *Model {
	t.Helper()
	m := s.model(t)
	var operations []api.Operation
	for _, name := range []string{"run", "old", "new"} {
		operations = append(operations, create(&api.SecurityGroup{Header: header(api.KindSecurityGroup, "red:shop", name)}))
	}
	operations = append(operations, allow("run", "out", api.Egress, nil)...)
	operations = append(operations, allow("run", "datagrams", api.Ingress, udp)...)
	operations = append(operations, allow("run", "streams", api.Ingress, tcp())...)
	operations = append(operations, s.withGroups(t, m, []string{"run"}, "w1", "w4")...)
	operations = append(operations, s.withGroups(t, m, []string{"run", "old"}, "w2", "w3")...)
	s.write(t, operations...)
	return m
}

// revoked takes away what running TCP streams need. They stop, and the datagrams
// beside them, which stay allowed, lose nothing.
func (s *system) revoked(t *testing.T) {
	w1 := find(t, "red-w1")
	var flows []*probe.Flowing
	var streams []*probe.Transferring
	for _, to := range []Workload{find(t, "red-w2"), find(t, "red-w3")} {
		for _, a := range to.Addresses() {
			name := fmt.Sprintf("%s to %v", w1.Short(), a)
			f, err := probe.Flow{Name: name, From: s.namespace(w1), To: s.namespace(to), Address: a, Rate: 1000}.Start()
			if err != nil {
				t.Fatal(err)
			}
			flows = append(flows, f)
			x, err := probe.Transfer{Name: name, From: s.namespace(w1), To: s.namespace(to), Address: a, Rate: 1 << 20}.Start()
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, x)
		}
	}
	s.flowing(t, streams, 100_000)
	began := time.Now()
	s.write(t, disallow("run", "streams")...)
	t.Logf("a revoked rule is acknowledged after %v", time.Since(began))
	before := make([]int64, len(streams))
	wait(t, 200*time.Millisecond) // what the receiver's kernel had already
	for i, x := range streams {
		before[i] = x.Received()
	}
	wait(t, time.Second)
	for i, x := range streams {
		if now := x.Received(); now != before[i] {
			t.Errorf("stream %d goes on after its rule was revoked: %d bytes came in a second", i, now-before[i])
		}
		if _, err := x.Stop(); err == nil {
			t.Errorf("stream %d lived through it", i)
		}
	}
	s.write(t, allow("run", "streams", api.Ingress, tcp())...)
	for _, f := range flows {
		count, err := f.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if count.LostOnTheWay() > 0 || count.Sent < 500 {
			t.Errorf("datagrams that stay allowed: %+v, %d lost", count, count.LostOnTheWay())
		}
	}
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// flowing waits until all streams have brought so many bytes.
func (s *system) flowing(t *testing.T, streams []*probe.Transferring, bytes int64) {
	t.Helper()
	deadline := time.After(settle)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if !slices.ContainsFunc(streams, func(x *probe.Transferring) bool { return x.Received() < bytes }) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("streams that are allowed do not come")
		}
	}
}

// prober tries again and again and counts what is not as it must be.
type prober struct {
	stop     chan struct{}
	work     sync.WaitGroup
	rounds   atomic.Int64
	attempts atomic.Int64
	mu       sync.Mutex // guards what follows
	wrong    []string
}

// probing tries the same attempts all the time; each must have this finding.
func (s *system) probing(from Workload, want probe.Finding, patience time.Duration, attempts []probe.Attempt) *prober {
	return s.trying(from, want.String(), func(f probe.Finding) bool { return f == want }, patience, attempts)
}

// breather keeps attempts that fail at once, as those of a workload that has no
// interface, from taking the machine.
const breather = 10 * time.Millisecond

// trying tries the same attempts all the time; what is found must be right.
func (s *system) trying(from Workload, what string, right func(probe.Finding) bool, patience time.Duration, attempts []probe.Attempt) *prober {
	p := &prober{stop: make(chan struct{})}
	p.work.Go(func() {
		for {
			select {
			case <-p.stop:
				return
			case <-time.After(breather):
			}
			found, err := probe.Sweep(s.namespace(from), attempts, patience)
			p.mu.Lock()
			if err != nil {
				p.wrong = append(p.wrong, err.Error())
			}
			for i, f := range found {
				if !right(f.Finding) {
					p.wrong = append(p.wrong, fmt.Sprintf("%s round %d, %v from %s: %v, always to be %s", time.Now().Format("15:04:05.000"), p.rounds.Load(), attempts[i], from.Short(), f, what))
				}
			}
			p.mu.Unlock()
			p.rounds.Add(1)
			p.attempts.Add(int64(len(attempts)))
		}
	})
	return p
}

// end stops it. No attempt may have gone wrong.
func (p *prober) end(t *testing.T, during string) {
	t.Helper()
	close(p.stop)
	p.work.Wait()
	if len(p.wrong) > 0 {
		t.Errorf("%s: %d of %d attempts went wrong: %v", during, len(p.wrong), p.attempts.Load(), p.wrong[:min(4, len(p.wrong))])
	}
}

func both(to Workload, protocol int, ports ...uint16) (attempts []probe.Attempt) {
	for _, a := range to.Addresses() {
		for _, port := range ports {
			for range 5 {
				attempts = append(attempts, probe.Attempt{To: a, Protocol: protocol, Port: port})
			}
		}
	}
	return attempts
}

// changing changes policy under probes: what old and new allow is never
// dropped; what both forbid never passes.
func (s *system) changing(t *testing.T, during string, turns int, write func(*testing.T, ...api.Operation), old, new []api.Operation) {
	t.Helper()
	w1 := find(t, "red-w1")
	var probers []*prober
	for _, from := range []Workload{find(t, "red-w2"), find(t, "red-w3")} {
		probers = append(probers,
			// A lost first packet is sent again after a second; one so late is a lost one.
			s.probing(from, probe.Connected, 900*time.Millisecond, both(w1, probe.ProtocolTCP, 80)),
			s.probing(from, probe.Silent, 300*time.Millisecond, both(w1, probe.ProtocolTCP, 443, 5432)))
	}
	for turn := range turns {
		change := new
		if turn%2 == 1 {
			change = old
		}
		write(t, change...)
		wait(t, 50*time.Millisecond)
	}
	for _, p := range probers {
		p.end(t, during)
	}
	t.Logf("%s: %d changes under %d attempts that must pass and %d that must not", during, turns,
		probers[0].attempts.Load()+probers[2].attempts.Load(), probers[1].attempts.Load()+probers[3].attempts.Load())
}

// changes are those of changing: of rules, and of who is in which group.
func (s *system) changes(t *testing.T, m *Model) {
	s.write(t, append(disallow("run", "streams"), allow("run", "exact", api.Ingress, tcp(80))...)...)
	s.changing(t, "one rule instead of another", 20, s.write,
		append(disallow("run", "wide"), allow("run", "exact", api.Ingress, tcp(80))...),
		append(disallow("run", "exact"), allow("run", "wide", api.Ingress, tcp(79, 81))...))
	s.write(t, append(append(disallow("run", "exact"), allow("run", "old", api.Ingress, named("old", 80))...), allow("run", "new", api.Ingress, named("new", 80))...)...)
	// Who a workload is and what rules name it by are two entries of tables.
	s.changing(t, "members change groups, of which both are allowed", 40, s.write,
		s.withGroups(t, m, []string{"run", "old"}, "w2", "w3"), s.withGroups(t, m, []string{"run", "new"}, "w2", "w3"))
	s.write(t, disallow("run", "new")...)
	toOld, toNew := s.exchange(t, m)
	s.changing(t, "rules and members change together", 40, s.write, toOld, toNew)
	s.changing(t, "rules and members change together, strictly", 10, s.strictly, toOld, toNew)
	s.write(t, append(disallow("run", "old"), allow("run", "streams", api.Ingress, tcp())...)...)
}

// exchange are two changes of rules and of members together, there and back: of
// w2 and w3, who may speak to port 80 of others before and after.
func (s *system) exchange(t *testing.T, m *Model) (toOld, toNew []api.Operation) {
	toOld = slices.Concat(disallow("run", "new"), allow("run", "old", api.Ingress, named("old", 80)), s.withGroups(t, m, []string{"run", "old"}, "w2", "w3"))
	toNew = slices.Concat(disallow("run", "old"), allow("run", "new", api.Ingress, named("new", 80)), s.withGroups(t, m, []string{"run", "new"}, "w2", "w3"))
	return toOld, toNew
}

// late is a workload whose first instruction sends, before it has an interface.
// Its port's group allows nothing, and nothing of it is ever seen.
func (s *system) late(t *testing.T) {
	w := Workload{"late", redWeb, 2, 99}
	silent := create(&api.SecurityGroup{Header: header(api.KindSecurityGroup, "red:shop", "nothing")})
	s.write(t, append([]api.Operation{silent}, newcomer(w, inGroup("nothing"))...)...)
	if err := s.lab.AddWorkload(w.Short()); err != nil {
		t.Fatal(err)
	}
	to := find(t, "red-w3") // on the same host
	var all []*probe.Shouting
	for _, a := range append(to.Addresses(), find(t, "red-w1").Addresses()...) {
		owner := to
		if !slices.Contains(to.Addresses(), a) {
			owner = find(t, "red-w1")
		}
		x, err := probe.Shout(s.namespace(w), s.namespace(owner), a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(x.Stop)
		all = append(all, x)
	}
	if err := s.lab.Plug(t.Context(), w.Host, w.Port(), w.Short()); err != nil {
		t.Fatal(err)
	}
	wait(t, 2500*time.Millisecond) // a neighbour that did not answer at once is asked again after a second
	for _, x := range all {
		if x.Sent() < 20 || x.Heard() > 0 {
			t.Errorf("a workload that may send nothing sent %d times to %v, %d came", x.Sent(), x.To, x.Heard())
		}
	}
	s.write(t, allow("nothing", "out", api.Egress, nil)...)
	wait(t, 500*time.Millisecond)
	for _, x := range all {
		if x.Heard() == 0 {
			t.Errorf("to %v: nothing came, though it may now", x.To)
		}
		x.Stop()
	}
}

// flooded has one workload send first packets that nobody ends, and scan ports;
// connections and datagrams of others go on, and new ones begin.
func (s *system) flooded(t *testing.T) {
	attacker, victim := Workload{"late", redWeb, 2, 99}, find(t, "red-w3")
	s.alone(t, attacker, victim)
	var flows []*probe.Flowing
	var streams []*probe.Transferring
	for _, from := range []Workload{find(t, "red-w1"), find(t, "red-w2")} {
		f, err := probe.Flow{Name: from.Short(), From: s.namespace(from), To: s.namespace(victim), Address: victim.V4(), Rate: 500}.Start()
		if err != nil {
			t.Fatal(err)
		}
		x, err := probe.Transfer{Name: from.Short(), From: s.namespace(from), To: s.namespace(victim), Address: victim.V6(), Rate: 256 << 10}.Start()
		if err != nil {
			t.Fatal(err)
		}
		flows, streams = append(flows, f), append(streams, x)
	}
	s.flowing(t, streams, 10_000)
	overflowed := inputQueuesOverflowed(t)
	asked := s.asked(t, find(t, "red-d1"), find(t, "red-d2"))
	p := s.probing(find(t, "red-w1"), probe.Connected, slowPatience, both(victim, probe.ProtocolTCP, 443))
	for i, from := range attacker.Addresses() {
		for _, port := range []uint16{80, 0} {
			sent, err := probe.Flood{Namespace: s.namespace(attacker), From: from, To: victim.Addresses()[i], Port: port, Count: 100_000}.Run(2 * time.Second)
			if err != nil || sent == 0 {
				t.Fatalf("%d first packets from %v: %v", sent, from, err)
			}
			t.Logf("%d first packets from %v to port %d (0: all)", sent, from, port)
		}
	}
	asked(t)
	p.end(t, "new connections during a flood")
	for i, f := range flows {
		count, err := f.Stop()
		if err != nil {
			t.Fatal(err)
		}
		// On few processors a flood may fill the kernel's own queues before anything of
		// ours sees a packet, and that takes no heed of whose it is.
		if kernel := inputQueuesOverflowed(t) - overflowed; count.LostOnTheWay() > kernel {
			t.Errorf("datagrams during a flood: %+v; the kernel's input queues overflowed %d times", count, kernel)
		}
		if _, err := streams[i].Stop(); err != nil {
			t.Errorf("a stream during a flood: %v", err)
		}
	}
}

// inputQueuesOverflowed is how many packets this machine's processors have not taken,
// of all namespaces together: second column of softnet_stat.
func inputQueuesOverflowed(t *testing.T) (sum uint64) {
	t.Helper()
	data, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		dropped, err := strconv.ParseUint(strings.Fields(line)[1], 16, 64)
		if err != nil {
			t.Fatalf("softnet_stat: %v", err)
		}
		sum += dropped
	}
	return sum
}

// asked has a workload that nobody may talk to ask another, on the host of a flood. What
// it returns has the other answer at last, which passes only while the question is remembered.
func (s *system) asked(t *testing.T, from, to Workload) func(*testing.T) {
	t.Helper()
	operations := []api.Operation{create(&api.SecurityGroup{Header: header(api.KindSecurityGroup, from.Network.Project, "asks")})}
	operations = append(operations, allow("asks", "asks-out", api.Egress, nil)...)
	s.write(t, append(operations, s.withGroups(t, s.model(t), []string{"asks"}, from.Name)...)...)
	asks, answers := s.socket(t, from), s.socket(t, to)
	heard := func(c *net.UDPConn) error {
		_ = c.SetReadDeadline(time.Now().Add(slowPatience)) // fails only when closed
		_, err := c.Read(make([]byte, 16))
		return err
	}
	if _, err := asks.WriteTo([]byte("?"), answers.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := heard(answers); err != nil {
		t.Fatalf("%s does not hear %s: %v", to.Short(), from.Short(), err)
	}
	return func(t *testing.T) {
		t.Helper()
		if _, err := answers.WriteTo([]byte("!"), asks.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := heard(asks); err != nil {
			t.Errorf("the answer to what %s asked before a flood of another port: %v", from.Short(), err)
		}
	}
}

// socket is one of UDP at a workload's address.
func (s *system) socket(t *testing.T, w Workload) (c *net.UDPConn) {
	t.Helper()
	err := namespace.Do(s.namespace(w), func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: w.V4().AsSlice()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// alone takes the addresses from a workload's kernel, which then answers nobody,
// and leaves it a way to one other.
func (s *system) alone(t *testing.T, w, to Workload) {
	t.Helper()
	m := s.model(t)
	s.run(t, w, "ip", "address", "flush", "dev", "eth0")
	for _, a := range to.Addresses() {
		s.run(t, w, "ip", "route", "replace", a.String(), "dev", "eth0")
		s.run(t, w, "ip", "neighbour", "replace", a.String(), "lladdr", string(m.Port(to.Port()).Spec.MAC), "dev", "eth0", "nud", "permanent")
	}
}
