// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

const rulesetCount, selectorCount = 4, 3

func randomSelected(r *rand.Rand) *hoststream.Rule_Selected {
	return &hoststream.Rule_Selected{Selected: &hoststream.Selected{Selectors: []string{fmt.Sprint("s", r.IntN(selectorCount))}}}
}

func randomRule(r *rand.Rand) *hoststream.Rule {
	rule := &hoststream.Rule{Object: fmt.Sprint("object ", r.IntN(6)), Kind: "firewall-rule", Action: []string{"pass", "deny", "reject", "next"}[r.IntN(4)], Audit: r.IntN(4) == 0}
	switch r.IntN(3) {
	case 0:
		rule.Remote = &hoststream.Rule_Anybody{Anybody: &hoststream.Anybody{}}
	case 1:
		rule.Remote = randomSelected(r)
	case 2:
		rule.Remote = &hoststream.Rule_Ranges{Ranges: &hoststream.Ranges{Ranges: []*hoststream.Prefix{{Address: []byte{10, byte(r.IntN(3)), 0, 0}, Length: 16}}}}
	}
	if r.IntN(2) == 0 {
		rule.Services = []*hoststream.RuleService{{Protocol: proto.Uint32(6), Ports: &hoststream.NumberRange{First: 80, Last: 80 + uint32(r.IntN(400))}}}
	}
	return rule
}

// randomPolicy gives ports rulesets, all of which are there.
func randomPolicy(r *rand.Rand, rows map[string]*hoststream.Row) {
	for n := range selectorCount {
		id := fmt.Sprint("s", n)
		rows[desired.SelectorRow(id)] = &hoststream.Row{Body: &hoststream.Row_Selector{Selector: &hoststream.Selector{Selector: id, Identities: []uint64{uint64(10 + r.IntN(3)), 20}}}}
	}
	for n := range rulesetCount {
		set := &hoststream.Ruleset{Ruleset: fmt.Sprint("r", n), Outside: "deny", Identified: "deny"}
		for range r.IntN(4) {
			set.Rules = append(set.Rules, randomRule(r))
		}
		rows[desired.RulesetRow(set.Ruleset)] = &hoststream.Row{Body: &hoststream.Row_Ruleset{Ruleset: set}}
	}
	for _, row := range rows {
		if p := row.GetPort(); p != nil && r.IntN(3) > 0 {
			p.Identity = uint64(10 + r.IntN(3))
			for _, layer := range []string{"security-group", "firewall"} {
				for _, ingress := range []bool{false, true} {
					if r.IntN(2) == 0 {
						p.Rulesets = append(p.Rulesets, &hoststream.PortRuleset{Layer: layer, Ingress: ingress, Ruleset: fmt.Sprint("r", r.IntN(rulesetCount))})
					}
				}
			}
		}
		if v := row.GetVrf(); v != nil && r.IntN(2) == 0 {
			v.Managed = []*hoststream.Prefix{{Address: []byte{10, byte(r.IntN(2)), 0, 0}, Length: 16}}
		}
		if route := row.GetRoute(); route != nil {
			route.Workload = uint64(r.IntN(2) * 11)
		}
	}
}

// showPolicy prints the kernel's tables of policy.
func showPolicy(m *datapath.MemoryKernel) (lines []string) {
	for k, v := range m.PortPolicies.Rows {
		lines = append(lines, fmt.Sprintf("policy %d: %+v", k, v))
	}
	for k, v := range m.Rulesets.Rows {
		lines = append(lines, fmt.Sprintf("ruleset %d: %+v", k, v))
	}
	for k, v := range m.RemoteClasses.Rows {
		lines = append(lines, fmt.Sprintf("remote %+v: %+v", k, v))
	}
	for k, v := range m.RemoteRanges.Rows {
		lines = append(lines, fmt.Sprintf("range %+v: %+v", k, v))
	}
	for k, v := range m.ServiceClasses.Rows {
		lines = append(lines, fmt.Sprintf("service %+v: %+v", k, v))
	}
	for k, v := range m.ServicePages.Rows {
		lines = append(lines, fmt.Sprintf("page %+v: %v", k, v))
	}
	for k, v := range m.Verdicts.Rows {
		lines = append(lines, fmt.Sprintf("verdict %+v: %+v", k, v))
	}
	for k := range m.Managed.Rows {
		lines = append(lines, fmt.Sprintf("managed %+v", k))
	}
	return lines
}

// asked tells whether a port may ask a ruleset, itself or for its audit rules.
func asked(m *datapath.MemoryKernel, id uint32) bool {
	for _, p := range m.PortPolicies.Rows {
		for _, layers := range p.Rulesets {
			for _, asked := range layers {
				if asked != 0 && (asked == id || m.Rulesets.Rows[asked].Audit == id) {
					return true
				}
			}
		}
	}
	return false
}

// guardPolicy fails the test when a packet could be judged by half a ruleset, or
// by none though its port asks some.
func guardPolicy(t *testing.T, m *datapath.MemoryKernel) {
	ports := m.Ports.Check
	m.Ports.Check = func(ifindex int, p vrouter.Port, deleted bool) {
		ports(ifindex, p, deleted)
		if _, has := m.PortPolicies.Rows[ifindex]; !deleted && p.Policed && !has {
			t.Fatalf("port on interface %d asks for a policy that is not there", ifindex)
		}
	}
	m.PortPolicies.Check = func(ifindex int, v vrouter.PortPolicy, deleted bool) {
		if deleted && m.Ports.Rows[ifindex].Policed {
			t.Fatalf("policy of interface %d is removed and is asked for", ifindex)
		}
		for _, layers := range v.Rulesets {
			for _, id := range layers {
				if _, there := m.Rulesets.Rows[id]; id != 0 && !there {
					t.Fatalf("interface %d asks ruleset %d, which is not there", ifindex, id)
				}
			}
		}
	}
	m.Rulesets.Check = func(id uint32, v vrouter.RulesetValue, deleted bool) {
		if was, there := m.Rulesets.Rows[id]; there && (deleted || was != v) && asked(m, id) {
			t.Fatalf("ruleset %d changes or goes and is asked", id)
		}
		if _, there := m.Rulesets.Rows[v.Audit]; v.Audit != 0 && !there {
			t.Fatalf("audit rules %d of ruleset %d are not there", v.Audit, id)
		}
	}
	guardFormer(t, m)
	whole := func(table string, id uint32, same bool) {
		if _, head := m.Rulesets.Rows[id]; head && !same {
			t.Fatalf("an entry of ruleset %d in %s comes, changes or goes, and the ruleset has its head", id, table)
		}
	}
	m.RemoteClasses.Check = func(k vrouter.RemoteClassKey, v vrouter.RemoteClass, deleted bool) {
		was, there := m.RemoteClasses.Rows[k]
		whole("remote_classes", k.Ruleset, there && was == v && !deleted)
	}
	m.RemoteRanges.Check = func(k vrouter.RemoteRangeKey, v vrouter.RemoteClass, deleted bool) {
		was, there := m.RemoteRanges.Rows[k]
		whole("remote_ranges", k.Ruleset, there && was == v && !deleted)
	}
	m.ServiceClasses.Check = func(k vrouter.ServiceClassKey, v vrouter.ServiceClass, deleted bool) {
		was, there := m.ServiceClasses.Rows[k]
		whole("service_classes", k.Ruleset, there && was == v && !deleted)
	}
	m.ServicePages.Check = func(k vrouter.ServicePageKey, v vrouter.ServicePage, deleted bool) {
		was, there := m.ServicePages.Rows[k]
		whole("service_pages", k.Ruleset, there && was == v && !deleted)
	}
	m.Verdicts.Check = func(k vrouter.VerdictKey, v rules.Verdict, deleted bool) {
		was, there := m.Verdicts.Rows[k]
		whole("verdicts", k.Ruleset, there && was == v && !deleted)
	}
}

// guardFormer fails the test when a ruleset goes that a packet may be asking.
func guardFormer(t *testing.T, m *datapath.MemoryKernel) {
	// Rulesets that a port asked since packets were waited for.
	recently := map[uint32]bool{}
	for id := range m.Rulesets.Rows {
		recently[id] = true
	}
	m.Wait = func() error { clear(recently); return nil }
	note := m.PortPolicies.Check
	m.PortPolicies.Check = func(ifindex int, v vrouter.PortPolicy, deleted bool) {
		note(ifindex, v, deleted)
		for id := range m.Rulesets.Rows {
			if asked(m, id) {
				recently[id] = true
			}
		}
	}
	change := m.Rulesets.Check
	m.Rulesets.Check = func(id uint32, v vrouter.RulesetValue, deleted bool) {
		change(id, v, deleted)
		if _, there := m.Rulesets.Rows[id]; there && deleted && recently[id] {
			t.Fatalf("ruleset %d goes, and a packet may be asking it", id)
		}
	}
}

// policedRows is a port that asks one ruleset in which these ports of TCP are open
// to a selector.
func policedRows(id string, ports ...uint32) map[string]*hoststream.Row {
	p := row(portID(1), 1)
	p.GetPort().Identity = 10
	p.GetPort().Rulesets = []*hoststream.PortRuleset{{Layer: "security-group", Ingress: true, Ruleset: id}}
	set := &hoststream.Ruleset{Ruleset: id, Outside: "deny", Identified: "deny"}
	for _, n := range ports {
		set.Rules = append(set.Rules, &hoststream.Rule{Object: fmt.Sprint("port ", n), Kind: "security-group-rule", Name: fmt.Sprint("acme:", n), Action: "pass",
			Remote:   &hoststream.Rule_Selected{Selected: &hoststream.Selected{Selectors: []string{"s"}}},
			Services: []*hoststream.RuleService{{Protocol: proto.Uint32(6), Ports: &hoststream.NumberRange{First: n, Last: n}}}})
	}
	return map[string]*hoststream.Row{
		"port/" + portID(1):      p,
		desired.RulesetRow(id):   {Body: &hoststream.Row_Ruleset{Ruleset: set}},
		desired.SelectorRow("s"): {Body: &hoststream.Row_Selector{Selector: &hoststream.Selector{Selector: "s", Identities: []uint64{20}}}},
	}
}

// policed is a host with that port plugged, on a kernel that is watched.
type policed struct {
	t        *testing.T
	m        *datapath.MemoryKernel
	c        *host.Core
	has      map[string]string
	now      time.Time
	revision int64
}

func newPoliced(t *testing.T) *policed {
	p := &policed{t: t, m: datapath.NewMemoryKernel(nil), has: map[string]string{}, now: time.Unix(0, 0)}
	guard(t, p.m, map[uint32]vrouter.NextHop{})
	p.c = boot(t, p.m, desired.New(), map[string]host.Plug{portID(1): {Interface: "wf1", Attachment: datapath.Attachment{Ifindex: 4}}})
	return p
}

func (p *policed) apply(rows map[string]*hoststream.Row) {
	p.t.Helper()
	p.revision++
	if err := p.c.Apply(delta(p.has, rows, p.revision, true)); err != nil {
		p.t.Fatal(err)
	}
	for range 20 { // what does not fit is tried again and again
		p.c.Round(p.t.Context(), p.now)
		p.now = p.now.Add(100 * time.Millisecond)
	}
}

func (p *policed) expect(state api.PortState, message, policy string) {
	p.t.Helper()
	got := p.c.Report().Ports[0]
	if got.State != string(state) || !strings.Contains(got.Message, message) || !strings.Contains(got.Policy, policy) || (policy == "") != (got.Policy == "") {
		p.t.Errorf("report %v; want %s, a message with %q and a policy with %q", got, state, message, policy)
	}
	_, there := p.m.Ports.Rows[4]
	if passes := state == api.PortUp; there != passes {
		p.t.Errorf("port in the kernel is %t, want %t", there, passes)
	}
}

// A port waits for all that it asks, in words, and passes nothing meanwhile.
func TestPortWaitsForItsPolicy(t *testing.T) {
	p := newPoliced(t)
	rows := policedRows("r", 80)
	ruleset, selector := rows[desired.RulesetRow("r")], rows[desired.SelectorRow("s")]
	delete(rows, desired.RulesetRow("r"))
	delete(rows, desired.SelectorRow("s"))
	p.apply(rows)
	p.expect(api.PortWaiting, "ruleset r of layer security-group is not here yet", "")
	if problems := p.c.Problems(); !strings.Contains(problems[desired.PortRow(portID(1))], "ruleset r") {
		t.Errorf("problems %v", problems)
	}
	rows[desired.RulesetRow("r")] = ruleset
	p.apply(rows)
	p.expect(api.PortWaiting, "selector s of security-group-rule acme:80 is not here yet", "")
	rows[desired.SelectorRow("s")] = selector
	p.apply(rows)
	p.expect(api.PortUp, "", "")
	if len(p.c.Problems()) != 0 || !p.m.Ports.Rows[4].Policed || len(p.m.PortPolicies.Rows) != 1 || len(p.m.Verdicts.Rows) != 1 {
		t.Errorf("tables\n%s\nproblems %v", show(p.m), p.c.Problems())
	}
}

// A port that has a policy keeps it while the one that it should have is not
// here, cannot be read or does not fit, and says so; another port on its
// interface does not get it.
func TestFormerPolicyStays(t *testing.T) {
	p := newPoliced(t)
	p.apply(policedRows("r", 80))
	before := p.m.PortPolicies.Rows[4]
	kept := func(why string) {
		t.Helper()
		p.expect(api.PortUp, "", why)
		if p.m.PortPolicies.Rows[4] != before || len(p.c.Problems()) == 0 {
			t.Errorf("policy %+v, want the former %+v; problems %v", p.m.PortPolicies.Rows[4], before, p.c.Problems())
		}
	}
	rows := policedRows("q", 80, 443)
	delete(rows, desired.RulesetRow("q"))
	p.apply(rows)
	kept("ruleset q of layer security-group is not here yet")

	rows = policedRows("q", 80, 443)
	rows[desired.RulesetRow("q")].GetRuleset().Needs = []string{"tomorrow"}
	p.apply(rows)
	kept("tomorrow")

	rows = policedRows("q", 80, 443)
	rows["port/"+portID(1)].GetPort().Rulesets[0].Layer = "attic"
	p.apply(rows)
	kept("attic")

	p.m.Verdicts.Size = 2 // room for the two of it, but not for the former one as well
	p.apply(policedRows("q", 80, 443))
	kept(vrouter.ErrFull.Error())
	if len(p.m.Verdicts.Rows) != 1 {
		t.Errorf("%d verdicts; what does not fit is to leave room to others", len(p.m.Verdicts.Rows))
	}
	p.m.Verdicts.Size = 0
	settle(t, p.c, &p.now)
	p.expect(api.PortUp, "", "")
	if got := p.m.PortPolicies.Rows[4]; got == before || len(p.m.Rulesets.Rows) != 1 {
		t.Errorf("policy %+v is still the former one\n%s", got, show(p.m))
	}

	other := row(portID(2), 2)
	other.GetPort().Rulesets = []*hoststream.PortRuleset{{Layer: "security-group", Ruleset: "none"}}
	p.c.DropPlug(portID(1))
	p.c.SetPlug(portID(2), host.Plug{Interface: "wf1", Attachment: datapath.Attachment{Ifindex: 4}})
	p.apply(map[string]*hoststream.Row{"port/" + portID(2): other})
	p.expect(api.PortWaiting, "ruleset none", "")
	if len(p.m.PortPolicies.Rows)+len(p.m.Rulesets.Rows)+len(p.m.Verdicts.Rows) != 0 {
		t.Errorf("left of the former port:\n%s", show(p.m))
	}
}

// A port that asks for more than the tables take does not come up at all.
func TestPolicyThatDoesNotFit(t *testing.T) {
	p := newPoliced(t)
	p.m.Verdicts.Size = 1
	p.apply(policedRows("r", 80, 443))
	p.expect(api.PortFailed, vrouter.ErrFull.Error(), "")
	if len(p.m.Verdicts.Rows) != 0 {
		t.Errorf("%d verdicts of what does not fit", len(p.m.Verdicts.Rows))
	}
}

// A restart changes nothing in the tables of policy, and rules keep their numbers.
func TestPolicyAfterRestart(t *testing.T) {
	p := newPoliced(t)
	p.apply(policedRows("r", 80, 443))
	before, numbers := show(p.m), fmt.Sprint(p.c.Rules())
	changes := 0
	p.c = boot(t, p.m, reopen(t, p.c, t.TempDir()+"/desired"), map[string]host.Plug{portID(1): {Interface: "wf1", Attachment: datapath.Attachment{Ifindex: 4}}})
	p.m.Verdicts.Check = func(vrouter.VerdictKey, rules.Verdict, bool) { changes++ }
	p.m.PortPolicies.Check = func(int, vrouter.PortPolicy, bool) { changes++ }
	p.m.Rulesets.Check = func(uint32, vrouter.RulesetValue, bool) { changes++ }
	settle(t, p.c, &p.now)
	if after := show(p.m); after != before || changes != 0 || fmt.Sprint(p.c.Rules()) != numbers || len(p.c.Rules()) != 2 {
		t.Errorf("%d changes; tables are\n%s\nand were\n%s\nrules %v, were %s", changes, after, before, p.c.Rules(), numbers)
	}
}

// A workload that gets reserved addresses asks from its first packet what came
// with these, and passes nothing without it.
func TestReservedAddressesComeWithTheirPolicy(t *testing.T) {
	p := newPoliced(t)
	rows := policedRows("r", 80)
	port := rows["port/"+portID(1)].GetPort()
	delete(rows, "port/"+portID(1))
	reserved := &hoststream.Reservation{Address: "a", Vrf: 1, Network: "n", Mac: make([]byte, 6), Ip: port.Addresses[0], Identity: port.Identity, Rulesets: port.Rulesets}
	rows[desired.ReservationRow("a")] = &hoststream.Row{Body: &hoststream.Row_Reservation{Reservation: reserved}}
	set := rows[desired.RulesetRow("r")]
	delete(rows, desired.RulesetRow("r"))
	p.apply(rows)
	p.c.Take(host.Taken{Port: portID(1), Name: "new", Network: "n", IDs: []string{"a"}})
	settle(t, p.c, &p.now)
	p.expect(api.PortWaiting, "ruleset r", "")
	rows[desired.RulesetRow("r")] = set
	p.apply(rows)
	p.expect(api.PortUp, "", "")
	route := p.m.Routes.Rows[vrouter.RouteKey{VRF: 1, Prefix: netip.MustParsePrefix("10.0.0.1/32")}]
	if got := p.m.PortPolicies.Rows[4]; !p.m.Ports.Rows[4].Policed || got.Rulesets[rules.Ingress][rules.SecurityGroup] == 0 || uint64(route.Identity) != port.Identity {
		t.Errorf("policy %+v, route %+v", got, route)
	}
}
