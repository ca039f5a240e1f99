// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/vrouter/rules"
)

// small is one network of three tenants, each with a port in a project of its own.
const small = `host h1 192.0.2.1
network n 1
subnet n 10.0.0.0/24
port n a qa
address n 10.0.0.11 a
bind a h1
port n b qb
address n 10.0.0.12 b
bind b h1
port n c qc
address n 10.0.0.13 c
bind c h1
`

// isolated is port b with a policy of its project by which nothing comes in but what
// rule r passes.
const isolated = `firewall-policy f r isolates=ingress project=qb
policy-set s f project=qb
`

// namedWorlds are small enough that whoever reads doc/policy.md can say what becomes of
// TCP from port a to port b.
var namedWorlds = map[string]struct {
	lines string
	port  int
	want  api.Action
	by    string // begins the name of the rule that says it in the model
}{
	"what the operator denies, no project's set of priority 0 passes, in tier admin": {operatorAndProject("deny", "pass", "admin"), 80, api.ActionDeny, "d:p:operators "},
	"nor in tier default":                                                 {operatorAndProject("deny", "pass", "default"), 80, api.ActionDeny, "d:p:operators "},
	"nor in tier baseline":                                                {operatorAndProject("deny", "pass", "baseline"), 80, api.ActionDeny, "d:p:operators "},
	"what the operator passes, no project's denies":                       {operatorAndProject("pass", "deny", "admin"), 80, api.ActionPass, ""},
	"what the operator says nothing of, the project":                      {operatorAndProject("pass", "deny", "admin"), 22, api.ActionDeny, "d:p:mine "},
	"what the operator leaves to the next tier, none of this one decides": {operatorAndProject("next", "deny", "admin"), 80, api.ActionPass, ""},
	"of sets of one scope the lowest priority is first": {`firewall-rule no deny project=qb
firewall-rule yes pass project=qb
firewall-policy no no project=qb
firewall-policy yes yes project=qb
policy-set a no project=qb priority=2
policy-set b yes project=qb priority=1`, 80, api.ActionPass, ""},

	"a word that somebody gave himself is nobody's": {isolated + `firewall-rule r pass from=team:in:web project=qb
tag own team=web project=qb
tag fake team=web project=qa
tagged fake port a`, 80, api.ActionDeny, ""},
	"who was given the project's own tag is meant": {isolated + `firewall-rule r pass from=team:in:web project=qb
tag own team=web project=qb
tagged own port a`, 80, api.ActionPass, ""},
	"a rule may name whose tags it means": {isolated + `firewall-rule r pass from=team:in:web%qa project=qb
tag theirs team=web project=qa
tagged theirs port a`, 80, api.ActionPass, ""},
	"and then means no others": {isolated + `firewall-rule r pass from=team:in:web%qc project=qb
tag own team=web project=qb
tag theirs team=web project=qa
tagged own port a
tagged theirs port a`, 80, api.ActionDeny, ""},
	"who has only words of his own has none": {`firewall-rule r deny from=team:not-exists project=qb
firewall-policy f r project=qb
policy-set s f project=qb
tag fake team=web project=qa
tagged fake port a`, 80, api.ActionDeny, "d:p:r "},
	"a policy is not for who has only words of his own": {`firewall-rule r deny project=qc
firewall-policy f r for=team:exists project=qc
policy-set s f global
tag fake team=web project=qb
tagged fake port b`, 80, api.ActionPass, ""},
	"a tag of one's own hides nothing that another project says": {`firewall-rule r deny from=site:in:dmz%qc
firewall-policy f r
policy-set s f global tier=admin
tag dmz site=dmz project=qc
tag mine site=x project=qa
tagged dmz host h1
tagged mine port a`, 80, api.ActionDeny, "d:p:r "},
	"so it is of a type of one's own": {`firewall-rule r deny from=floor:in:one%qc
firewall-policy f r
policy-set s f global tier=admin
tag one floor=one project=qc
tag two floor=two project=qc
tagged one host h1
tagged two port a`, 80, api.ActionPass, ""},
	"labels add up": {`firewall-rule r deny from=label:in:one%qc
firewall-policy f r
policy-set s f global tier=admin
tag one label=one project=qc
tag two label=two project=qc
tagged one host h1
tagged two port a`, 80, api.ActionDeny, "d:p:r "},
	"and so do the words of another system": {`firewall-rule r deny from=label/app:in:one%qc
firewall-policy f r
policy-set s f global tier=admin
tag one label/app=one project=qc
tag two label/app=two project=qc
tagged one host h1
tagged two port a`, 80, api.ActionDeny, "d:p:r "},
	"of one project's tags the nearest counts": {`firewall-rule r deny from=site:in:dmz%qc
firewall-policy f r
policy-set s f global tier=admin
tag dmz site=dmz project=qc
tag near site=x project=qc
tagged dmz host h1
tagged near port a`, 80, api.ActionPass, ""},
	"a machine has its own tags": {isolated + `firewall-rule r pass from=tag=web project=qb
tag web team=web project=qb
machine outer outer
machine inner inner outer
runs inner a
tagged web virtual-machine inner`, 80, api.ActionPass, ""},
	"and none of the machine inside which it is": {isolated + `firewall-rule r pass from=tag=web project=qb
tag web team=web project=qb
machine outer outer
machine inner inner outer
runs inner a
tagged web virtual-machine outer`, 80, api.ActionDeny, ""},
	"an operator's rule means the tags that it names": {`firewall-rule r deny from=team:in:guests%qa
firewall-policy f r
policy-set s f global tier=admin
tag guests team=guests project=qa
tagged guests project qa`, 80, api.ActionDeny, "d:p:r "},
}

// operatorAndProject are a global set of a high priority and a project's of priority 0:
// what they say of TCP to port 80, the project also of anything else.
func operatorAndProject(operator, project, tier string) string {
	return strings.NewReplacer("OPERATOR", operator, "PROJECT", project, "TIER", tier).Replace(`firewall-rule operators OPERATOR tcp/80
firewall-policy operators operators
policy-set operators operators global tier=TIER priority=100
firewall-rule mine PROJECT project=qb
firewall-policy mine mine project=qb
policy-set a-mine mine project=qb tier=TIER priority=0
`)
}

// In each of the worlds the model that walks the objects, and what control compiles of
// them, say what the definition says.
func TestNamedWorlds(t *testing.T) {
	for name, c := range namedWorlds {
		w := world.New(small + c.lines)
		var objects []api.Object
		for _, kind := range read {
			objects = append(objects, w.List(kind)...)
		}
		derived := policy.Derive(routing.Derive(w.Snapshot()))
		port := func(name string) (*routing.Port, *api.Port) {
			id := world.UUID(api.KindPort, name)
			return derived.Routing.Port(id), w.Get(api.KindPort, id).(*api.Port)
		}
		from, sender := port("a")
		to, receiver := port("b")
		p := Packet{From: sender, To: receiver, Source: netip.MustParseAddr("10.0.0.11"), Destination: netip.MustParseAddr("10.0.0.12"), Protocol: probe.ProtocolTCP, SourcePort: 40000, Port: c.port}
		if said := NewModel(objects).Decide(p); said.Action != c.want || !strings.HasPrefix(said.Object, c.by) {
			t.Errorf("%s: the model says %v, want %s by %s", name, said, c.want, c.by)
		}
		got, reachable := decoder{derived, map[*policy.Ruleset]*rules.Ruleset{}}.decide(t, p, from, to)
		if !reachable || got.Action.String() != string(c.want) {
			t.Errorf("%s: compiled it is %s (reachable %t), want %s\n%s", name, got.Action, reachable, c.want, w.Names(derived.String()))
		}
	}
}
