// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
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
