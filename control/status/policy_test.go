// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// Where rules are asked for and the agent does not know them, host and port say
// so until it is upgraded; a port that has a former policy says why.
func TestPolicyThatIsNotEnforced(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1
network n 1
port n a
bind a h1
security-group web`)
	a := world.UUID(api.KindPort, "a")
	said := func(features []string, policy string) (host, port string) {
		t.Helper()
		s.hosts[h1] = stream.HostState{Connected: true, InSync: true, Report: &hoststream.Report{Features: features, Ports: []*hoststream.PortReport{{Port: a, State: "up", Policy: policy}}}}
		s.round()
		for _, c := range s.Get(api.KindHost, h1).(*api.Host).Status.Conditions {
			if c.Type == status.Enforced {
				host = c.Reason
			}
		}
		return host, s.Get(api.KindPort, a).(*api.Port).Status.Message
	}
	for _, step := range []struct {
		edit, policy string
		features     []string
		host, port   string
	}{
		{"", "", nil, "", ""}, // nothing is asked
		{"secured a web", "", nil, "agent-too-old", "upgrade weft-agent"},
		{"", "", []string{"policy"}, "", ""},
		{"", "table verdicts is full", []string{"policy"}, "", "former policy: table verdicts is full"},
	} {
		if step.edit != "" {
			s.Do(step.edit)
		}
		host, port := said(step.features, step.policy)
		if host != step.host || !strings.Contains(port, step.port) || (port == "") != (step.port == "") {
			t.Errorf("after %q with %q: host says %q, port %q; want %q and %q", step.edit, step.features, host, port, step.host, step.port)
		}
	}
}

// A security-group, and what a firewall is made of, say on how many hosts they
// are in the kernel: those with ports that ask them, and that are connected.
func TestPolicyThatIsAsked(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1
host h2 192.0.2.2
network n 1
port n a
port n b
bind a h1
bind b h2
security-group web
secured a web
firewall-rule r deny
firewall-policy f r
policy-set s f`)
	h2 := world.UUID(api.KindHost, "h2")
	at := func(revision int64) stream.HostState {
		return stream.HostState{Connected: true, InSync: true, Settled: placement.Version{Epoch: 1, Revision: revision}, Report: &hoststream.Report{Features: []string{"policy"}}}
	}
	said := func(kind api.Kind, name string) string {
		t.Helper()
		for _, c := range s.Get(kind, world.UUID(kind, name)).StatusBody().(*api.Reported).Conditions {
			return c.Reason + " " + c.Message
		}
		return "nothing"
	}
	for _, step := range []struct {
		edit       string
		first, two int64 // revisions that the hosts have acknowledged; 0: not connected
		group, set string
	}{
		{"", 0, 0, "no-host ", "no-host "},
		{"", 1, 0, "pending on 0 of 1 hosts", "pending on 0 of 1 hosts"},
		{"", 99, 1, "acknowledged on 1 hosts", "pending on 1 of 2 hosts"},
		{"", 99, 99, "acknowledged on 1 hosts", "acknowledged on 2 hosts"},
		{"secured b web", 99, 99, "acknowledged on 2 hosts", "acknowledged on 2 hosts"},
		{"", 99, 0, "acknowledged on 1 hosts", "acknowledged on 1 hosts"},
		{"remove binding a:h1\nremove binding b:h2", 99, 99, "no-host ", "no-host "},
	} {
		s.Do(step.edit)
		s.hosts[h1], s.hosts[h2] = at(step.first), at(step.two)
		for uuid, revision := range map[string]int64{h1: step.first, h2: step.two} {
			if revision == 0 {
				s.hosts[uuid] = stream.HostState{}
			}
		}
		s.round()
		for _, o := range []struct {
			kind api.Kind
			name string
			want string
		}{{api.KindSecurityGroup, "web", step.group}, {api.KindFirewallPolicy, "f", step.set}, {api.KindApplicationPolicySet, "s", step.set}} {
			if got := said(o.kind, o.name); got != o.want {
				t.Errorf("after %q, acknowledged %d and %d: %s %s says %q, want %q", step.edit, step.first, step.two, o.kind, o.name, got, o.want)
			}
		}
	}
}
