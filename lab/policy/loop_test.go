// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/reach"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// loopCase is the first packet of a conversation in a random world.
type loopCase struct {
	Packet
	from, to *routing.Port
	mac      vrouter.MAC
	later    bool // it is a fragment whose first one nobody saw
}

func (c *loopCase) String() string {
	return fmt.Sprintf("%s to %s, %v to %v, protocol %d, ports %d to %d, type %d, from %q to %q, later %t", c.from.Ref, c.to.Ref, c.Source, c.Destination, c.Protocol, c.SourcePort, c.Port, c.Type, c.FromIs, c.ToIs, c.later)
}

// verdict is what becomes of a packet: the reason of the drop and the layer of
// policy, or pass.
type verdict struct{ word, layer string }

var reasonOf = map[api.Action]string{api.ActionPass: "pass", api.ActionDeny: "policy-denied", api.ActionReject: "policy-rejected", ActionPending: "identity-pending"}

// loop is what the same objects are to all who decide.
type loop struct {
	t       *testing.T
	r       *rand.Rand
	hosts   map[string]*loopHost // by UUID
	byOuter map[netip.Addr]*loopHost

	model      *Model
	derived    *policy.Derived
	decoder    decoder
	reach      *reach.Model
	ways       map[[2]*routing.Port][]reach.Way
	objects    map[string]*api.Port
	interfaces map[string]int
	counts     map[string]int
	total      int
}

// enter makes everybody take a world.
func (l *loop) enter(w *world.World, number int) {
	var objects []api.Object
	for _, kind := range read {
		objects = append(objects, w.List(kind)...)
	}
	l.model = NewModel(objects)
	routed := routing.Derive(w.Snapshot())
	plan := placement.New(uint64(number+1), routed, nil)
	l.derived = plan.Policy
	l.decoder = decoder{l.derived, map[*policy.Ruleset]*rules.Ruleset{}}
	l.reach, l.ways = reach.New(l.derived), map[[2]*routing.Port][]reach.Way{}
	l.objects, l.interfaces = map[string]*api.Port{}, map[string]int{}
	for i := range loopPorts {
		id := world.UUID(api.KindPort, fmt.Sprint("p", i))
		l.interfaces[id] = firstInterface + i
		l.objects[id] = w.Get(api.KindPort, id).(*api.Port)
	}
	for _, h := range l.hosts {
		h.take(l.t, plan, l.interfaces)
	}
}

// strangers are addresses that nobody has, of either family: of the subnets, and of none.
var strangers = map[Stranger][2]netip.Addr{
	Pending: {netip.MustParseAddr("10.0.0.200"), netip.MustParseAddr("2001:db8::200")},
	Outside: {netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:f::7")},
}

// instead is a stranger's address of the family of one.
func (s Stranger) instead(of netip.Addr) netip.Addr {
	if of.Is4() {
		return strangers[s][0]
	}
	return strangers[s][1]
}

// next is a random packet.
func (l *loop) next() (c loopCase, ok bool) {
	var stranger Stranger
	if c.from, c.to, stranger = l.ends(); c.from == c.to {
		return c, false
	}
	p, ok := randomPacket(l.r, c.from, c.to, func(p *routing.Port) *api.Port { return l.objects[p.Ref.UUID] })
	if !ok {
		return c, false
	}
	c.Packet = p
	if stranger != "" {
		c.ToIs, c.ToOwn, c.Destination = stranger, c.Destination, stranger.instead(c.Destination)
	}
	mac, err := c.from.MAC.Bytes()
	if err != nil {
		l.t.Fatal(err)
	}
	c.mac = mac
	l.vary(&c)
	return c, true
}

// ends are two ports at random; sometimes those between which a static route
// leads to strangers.
func (l *loop) ends() (from, to *routing.Port, stranger Stranger) {
	ports := l.derived.Routing.Ports()
	if l.r.IntN(12) == 0 {
		return l.derived.Routing.Port(world.UUID(api.KindPort, "p4")), l.derived.Routing.Port(world.UUID(api.KindPort, "p0")), pick(l.r, Pending, Outside)
	}
	return ports[l.r.IntN(len(ports))], ports[l.r.IntN(len(ports))], ""
}

// vary makes some packets rarer ones.
func (l *loop) vary(c *loopCase) {
	switch {
	case c.Protocol == 47 && l.interfaces[c.from.Ref.UUID] > l.interfaces[c.to.Ref.UUID]:
		c.Protocol = 50 // what has no ports is a conversation whoever began it: each protocol is begun by one side
	case c.Protocol == 58 && c.Type != 128:
		c.Type = 139 // neighbour discovery is no conversation
	case c.SourcePort == 40000:
		c.SourcePort += l.r.IntN(20000)
	}
	if c.icmp() {
		c.SourcePort = 1 + l.r.IntN(60000)
	}
	if c.from.Unchecked && l.r.IntN(3) == 0 {
		c.FromIs = pick(l.r, Pending, Pending, Outside)
		c.FromOwn, c.Source = c.Source, c.FromIs.instead(c.Source)
	}
	if (c.FromIs != "" || c.ToIs != "") && (c.Protocol == 47 || c.Protocol == 50) {
		c.Protocol, c.SourcePort, c.Port = 17, 2000, 53 // a stranger may be at both sides, and without ports what it says would be an answer
	}
	if !c.icmp() && l.r.IntN(50) == 0 {
		c.later = true
	}
}

// says is what the plain model says that walks the objects.
func (l *loop) says(c *loopCase) verdict {
	if c.ToIs == "" && l.model.At(c.Packet.From, c.Destination) != c.Packet.To {
		return verdict{word: "elsewhere"}
	}
	if c.later && (l.asks(c.from) || l.asks(c.to)) {
		return verdict{word: "unknown-fragment"}
	}
	if c.later {
		return verdict{word: "pass"}
	}
	d := l.model.Decide(c.Packet)
	return verdict{reasonOf[d.Action], d.Layer}
}

// asks tells whether a port asks policy at all.
func (l *loop) asks(p *routing.Port) bool {
	asked := l.derived.Port(p.Ref.UUID)
	for _, layers := range asked.Rulesets {
		for _, r := range layers {
			if r != nil {
				return true
			}
		}
	}
	return false
}

// compiled is what control's rulesets say, walked as they are sent to hosts.
func (l *loop) compiled(c *loopCase) verdict {
	packet := rules.Packet{Remote: c.Destination, Protocol: uint8(c.Protocol), SourcePort: uint16(c.SourcePort), Port: uint16(c.Port)}
	if c.icmp() {
		packet.SourcePort, packet.Port = 0, rules.ICMPPort(uint8(c.Type), uint8(c.Code))
	}
	identity, _ := route(l.derived, c.from, c.to, c.Destination)
	packet.Identity = rules.Identity(identity)
	if c.ToIs == Pending {
		packet.Identity = rules.Pending
	}
	d := l.decoder.end(l.t, l.derived.Port(c.from.Ref.UUID).Rulesets[policy.Egress]).Decide(packet)
	if d.Action == rules.Pass {
		identity, _ = route(l.derived, c.to, c.from, c.Source)
		packet.Identity, packet.Remote = rules.Identity(identity), c.Source
		if c.FromIs == Pending {
			packet.Identity = rules.Pending
		}
		d = l.decoder.end(l.t, l.derived.Port(c.to.Ref.UUID).Rulesets[policy.Ingress]).Decide(packet)
	}
	v := verdict{word: map[rules.Action]string{rules.Pass: "pass", rules.Deny: "policy-denied", rules.Reject: "policy-rejected", rules.DropPending: "identity-pending"}[d.Action]}
	if v.word != "pass" {
		v.layer = shortLayer(d.Layer)
	}
	return v
}

// shortLayer is a layer as the model knows it: the tiers are one.
func shortLayer(of rules.Layer) string {
	name, _, _ := strings.Cut(of.String(), "-admin")
	name, _, _ = strings.Cut(name, "-baseline")
	return name
}

// reaches is whether reach has the packet in the set of what may be said.
func (l *loop) reaches(c *loopCase) (passes, known bool) {
	if c.FromIs != "" || c.ToIs != "" || c.later {
		return false, false
	}
	pair := [2]*routing.Port{c.from, c.to}
	if _, asked := l.ways[pair]; !asked {
		ways, _, err := l.reach.Between(c.from, c.to)
		if err != nil {
			l.t.Fatal(err)
		}
		l.ways[pair] = ways
	}
	packet := rules.Packet{Remote: c.Destination, Protocol: uint8(c.Protocol), SourcePort: uint16(c.SourcePort), Port: uint16(c.Port)}
	if c.icmp() {
		packet.SourcePort, packet.Port = 0, rules.ICMPPort(uint8(c.Type), uint8(c.Code))
	}
	for _, w := range l.ways[pair] {
		if w.From.Address == c.Source && w.To.Address == c.Destination {
			return w.Allowed.Contains(packet), true
		}
	}
	return false, true
}

// run tries a frame with programs of the sender's host, and of the receiver's if
// it goes there.
func (l *loop) run(c *loopCase, programs func(*loopHost) *vrouter.Tracer) (verdict, int) {
	frame := c.frame()
	at := l.hosts[c.from.Host.UUID]
	trace, err := programs(at).FollowFromPort(l.interfaces[c.from.Ref.UUID], frame)
	if err == nil && trace.Verdict == "tunnelled" {
		there := l.byOuter[trace.Tunnel.Remote]
		trace, err = programs(there).FollowFromTunnel(tunnelDevice, &vrouter.TunnelKey{VNI: trace.Tunnel.VNI, Remote: at.address}, trace.Frame)
	}
	if err != nil {
		l.t.Fatalf("%v: %v", c, err)
	}
	if trace.Verdict == "delivered" {
		return verdict{word: "pass"}, trace.Redirect
	}
	v := verdict{word: trace.Reason}
	if n := len(trace.Policy); n > 0 && slices.Contains([]string{"policy-denied", "policy-rejected", "identity-pending"}, v.word) {
		v.layer = shortLayer(trace.Policy[n-1].Layer)
	}
	return v, 0
}

// agree compares everybody's verdict on one packet.
func (l *loop) agree(c *loopCase, story func() string) {
	want := l.says(c)
	if want.word == "elsewhere" {
		return
	}
	wrong := func(who string, got any) {
		l.t.Fatalf("%s%v: %s says %v, the model says %v (%v)\n%v", story(), c, who, got, want, l.model.Decide(c.Packet), l.derived)
	}
	if compiled := l.compiled(c); !c.later && compiled != want {
		wrong("compiled policy", compiled)
	}
	if passes, known := l.reaches(c); known && passes != (want.word == "pass") {
		ways, why, err := l.reach.Between(c.from, c.to)
		wrong("reach", fmt.Sprintf("%t: %+v %s %v", passes, ways, why, err))
	}
	for _, programs := range []struct {
		who string
		of  func(*loopHost) *vrouter.Tracer
	}{{"trace", func(h *loopHost) *vrouter.Tracer { return h.trace }}, {"the packet path", func(h *loopHost) *vrouter.Tracer { return h.rehearse }}} {
		got, to := l.run(c, programs.of)
		if got != want {
			wrong(programs.who, got)
		}
		if want.word == "pass" && to != l.interfaces[c.to.Ref.UUID] {
			wrong(programs.who, fmt.Sprint("to interface ", to))
		}
	}
	l.count(c, want)
}

// count takes down what was agreed on.
func (l *loop) count(c *loopCase, want verdict) {
	l.total++
	l.counts[want.word]++
	if want.word == "pass" && (l.asks(c.from) || l.asks(c.to)) {
		l.counts["pass, and policy was asked"]++
	}
	for word, is := range map[string]Stranger{"to": c.ToIs, "from": c.FromIs} {
		if is != "" {
			l.counts[fmt.Sprintf("(%s a stranger, IPv%d)", word, map[bool]int{true: 4, false: 6}[c.Source.Is4()])]++
		}
	}
	if want.layer != "" {
		l.counts[want.word+" by "+want.layer]++
	}
	if c.from.Host == c.to.Host {
		l.counts["(on one host)"]++
	}
}

// loopEnough are verdicts, and how many of each there must be.
var loopEnough = []string{"pass", "policy-denied", "policy-rejected", "identity-pending", "unknown-fragment",
	"policy-denied by network-policy", "policy-denied by security-group", "policy-denied by firewall", "policy-rejected by firewall",
	"identity-pending by network-policy", "identity-pending by security-group", "identity-pending by firewall",
	"(to a stranger, IPv4)", "(to a stranger, IPv6)", "(from a stranger, IPv4)", "(from a stranger, IPv6)"}

func (l *loop) missing(cases int) (all []string) {
	for _, what := range loopEnough {
		if l.counts[what] < cases {
			all = append(all, fmt.Sprintf("%d of %s", l.counts[what], what))
		}
	}
	return all
}

func (l *loop) String() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(l.counts)) {
		fmt.Fprintf(&b, "\n%8d  %s", l.counts[what], what)
	}
	return fmt.Sprintf("%d cases, %d %% pass%s", l.total, 100*l.counts["pass"]/max(1, l.total), b.String())
}

// TestEverybodyDecidesAlike: the plain model that walks the objects, the rulesets
// that control compiles of them, reach, the tracing programs and the programs
// that carry traffic, over tables that the agent's part has filled from the rows of the
// controller, decide alike about each packet, in random worlds on two hosts.
func TestEverybodyDecidesAlike(t *testing.T) {
	const cases, each, worldCases = 300_000, 1000, 1000
	seed := rand.Uint64()
	if text := os.Getenv("WEFT_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("WEFT_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	l := &loop{t: t, r: r, hosts: map[string]*loopHost{}, byOuter: map[netip.Addr]*loopHost{}, counts: map[string]int{}}
	for _, h := range []*loopHost{newLoopHost(t, "h1", "192.0.2.1"), newLoopHost(t, "h2", "192.0.2.2")} {
		l.hosts[h.uuid], l.byOuter[h.address] = h, h
	}
	for number := 0; l.total < cases || number < 3000 && len(l.missing(each)) > 0; number++ {
		w, lines := l.world(number)
		l.enter(w, number)
		story := func() string {
			return fmt.Sprintf("WEFT_SEED=%d, world %d: after\n%s\n", seed, number, strings.Join(lines, "\n"))
		}
		for range worldCases {
			if c, ok := l.next(); ok {
				l.agree(&c, story)
			}
		}
	}
	t.Log(l)
	if lacks := l.missing(each); len(lacks) > 0 || l.counts["pass"]*100 < 40*l.total {
		t.Errorf("too few: %v; %d of %d pass", lacks, l.counts["pass"], l.total)
	}
}

// world is a random one, and the lines that made it: some have only firewalls or
// only network-policies, so that what one layer passes is not lost in another.
func (l *loop) world(number int) (*world.World, []string) {
	w, firewall, networks := world.New(retyped(referents, number)), number%3 == 0, number%3 == 1
	for i := range loopPorts {
		n := i % 4
		w.Do(fmt.Sprintf("network n%d %d\nsubnet n%d 10.0.0.0/24\nsubnet n%d 2001:db8::/64\nport n%d p%d q%d\naddress n%d 10.0.0.%d p%d\naddress n%d 2001:db8::%d p%d\nbind p%d h%d\nruns m%d p%d",
			n, n+1, n, n, n, i, l.r.IntN(2), n, i+2, i, n, i+2, i, i, 1+l.r.IntN(2), l.r.IntN(2), i))
		if firewall || networks || i%3 == 0 {
			w.Do(fmt.Sprintf("secure p%d off", i)) // it has no security-groups, and may send from where it wants
		}
		if firewall || networks {
			w.Do(fmt.Sprintf("tagged t%d port p%d\ntagged t%d port p%d\nnamed p%d http tcp %d", l.r.IntN(3), i, 3+l.r.IntN(2), i, i, 80+l.r.IntN(3)))
		}
	}
	w.Do("table st 198.51.100.0/24 10.0.0.2 10.0.0.192/26 10.0.0.2 2001:db8:f::/48 2001:db8::2 2001:db8::200/120 2001:db8::2\ntable-network n0 st")
	var lines []string
	if firewall && number%4 > 0 { // rules that could mean who is not known yet
		lines = append(lines, retyped(fmt.Sprintf("firewall-rule r0 %s <> from=%s %s", pick(l.r, "deny", "reject", "next"), pick(l.r, "tag=t1", "project=q0", "network=n0", "tier:not-exists"), pick(l.r, "", "tcp")), number),
			"firewall-policy f0 r0", "policy-set s0 f0 global tier="+pick(l.r, "admin", "default", "baseline"))
		w.Do(strings.Join(lines, "\n"))
	}
	for len(lines) < 30+l.r.IntN(60) {
		line := retyped(randomPolicies(l.r, firewall, networks), number)
		if strings.HasPrefix(line, "limit ") {
			continue // how many conversations a port has is no matter of objects and packet alone
		}
		lines = append(lines, line)
		w.Do(line)
	}
	return w, lines
}
