// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/health"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// checkID is the id under which hosts are asked what a health-check of a port
// asks now; empty: none is.
func (s *system) checkID(port, check string) string {
	asked := health.Derive(routing.Derive(s)).Port(world.UUID(api.KindPort, port))
	if asked != nil {
		for _, c := range asked.Checks {
			if c.HealthCheck.UUID == world.UUID(api.KindHealthCheck, check) && c.Check != nil {
				return c.Check.ID
			}
		}
	}
	return ""
}

// finds is what a host reports of health-checks of its ports, as they are now:
// port, health-check, state and message in turn.
func (s *system) finds(words ...string) func(h *stream.HostState) {
	report := &hoststream.Report{Features: []string{"health", balance.Feature}}
	for i := 0; i < len(words); i += 4 {
		id := s.checkID(words[i], words[i+1])
		if id == "" {
			s.t.Fatalf("nobody is asked for health-check %s of port %s", words[i+1], words[i])
		}
		report.Checks = append(report.Checks, &hoststream.CheckReport{Id: id, State: words[i+2], Message: words[i+3]})
	}
	return func(h *stream.HostState) { h.Report = report }
}

// A port with two health-checks, one of which takes its routes back, from the
// first word about it until it names none.
func TestPortsChecked(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1
host h2 192.0.2.2
network n 1
subnet n 10.0.0.0/24 10.0.0.254
port n a
address n 10.0.0.1 a
bind a h1
health-check hard ping withdraw
health-check soft tcp
check a hard
check a soft`)
	s.host("h1", connect)
	s.host("h2", connect)
	s.round()
	const untried = ", soft false untried the health-check names no transport port"
	s.host("h1", s.finds())
	s.want("an agent that has not tried enough", "port a: waiting h1 , hard false unknown host h1 has not tried it often enough yet"+untried)
	s.host("h1", s.finds("a", "hard", "up", ""))
	s.want("it answers", "port a: waiting h1 , hard true online "+untried)
	s.host("h1", s.finds("a", "hard", "down", "no answer within 2 s"))
	s.want("it answers no more", "port a: waiting h1 , hard false failed no answer within 2 s"+untried+", withdrawn")
	s.host("h1", s.finds())
	s.want("the agent starting again", "")
	s.host("h1", func(h *stream.HostState) { h.Connected = false })
	s.want("its host going away", "host h1: connected false, v1 on 6.1, 0 ports\nport a: waiting h1 , hard false unknown host h1 is not connected"+untried+", withdrawn")
	s.host("h1", connect)
	s.want("its host coming back", "host h1: connected true, v1 on 6.1, 0 ports\nport a: waiting h1 , hard false unknown host h1 has not tried it often enough yet"+untried+", withdrawn")
	s.host("h1", s.finds("a", "hard", "up", ""))
	s.want("it answers again", "port a: waiting h1 , hard true online "+untried)
	s.Do("health-check soft tcp port=80")
	s.host("h1", s.finds("a", "hard", "up", "", "a", "soft", "down", "connection refused"))
	s.want("another check failing", "port a: waiting h1 , hard true online , soft false failed connection refused")
	s.Do("health-check soft tcp port=80 withdraw")
	s.want("that one taking routes back too", "port a: waiting h1 , hard true online , soft false failed connection refused, withdrawn")
	s.Do("health-check soft tcp port=80")
	s.want("that one only saying it again", "port a: waiting h1 , hard true online , soft false failed connection refused")
	s.host("h1", s.finds("a", "hard", "untried", "no gateway", "a", "soft", "up", ""))
	s.want("one that cannot be tried", "port a: waiting h1 , hard false untried no gateway, soft true online")
	s.Do("health-check hard bfd withdraw")
	s.want("BFD and an agent that does not know it", "port a: waiting h1 , hard false untried the agent of host h1 does not try by bfd: upgrade weft-agent there, soft true online")
	s.host("h1", s.finds("a", "hard", "down", "no BFD packet came in time", "a", "soft", "up", ""))
	s.host("h1", func(h *stream.HostState) { h.Report.Features = append(h.Report.Features, "bfd") })
	s.want("one that does", "port a: waiting h1 , hard false failed no BFD packet came in time, soft true online , withdrawn")
	s.Do("remove health-check hard")
	s.Do("remove health-check soft")
	s.want("no checks", "port a: waiting h1")
}

// What was never tried takes nothing back, and what is taken back stays so until
// somebody knows better.
func TestNothingIsWithdrawnUntried(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1
network n 1
subnet n 10.0.0.0/24 10.0.0.254
port n a
address n 10.0.0.1 a
bind a h1
health-check c tcp port=80
check a c`)
	s.host("h1", connect)
	s.round()
	s.host("h1", s.finds("a", "c", "down", "connection refused"))
	s.want("one that reports only", "port a: waiting h1 , c false failed connection refused")
	s.Do("health-check c tcp port=81 withdraw")
	s.want("another question, of which the host has said nothing yet", "")
	s.host("h1", s.finds())
	s.want("the host asking it", "")
	s.Do("health-check c tcp port=81 withdraw every=1000")
	s.want("the same question, more often", "")
	s.host("h1", s.finds("a", "c", "down", "connection refused"))
	s.want("the answer", "port a: waiting h1 , c false failed connection refused, withdrawn")
	s.Do("health-check c tcp port=82 withdraw")
	s.want("a further question", "")
	delete(s.hosts, h1)
	s.want("the controller starting again", "")
	s.host("h1", connect)
	s.host("h1", s.finds())
	s.want("the host saying nothing", "")
	s.Do("health-check d ping withdraw\ncheck a d\nremove health-check c")
	s.want("another health-check in its place", "port a: waiting h1 , d false unknown host h1 has not tried it often enough yet")
	s.host("h1", s.finds("a", "d", "down", "no answer within 2 s"))
	s.want("that failing", "port a: waiting h1 , d false failed no answer within 2 s, withdrawn")
	s.host("h1", func(h *stream.HostState) { h.Report = &hoststream.Report{Features: []string{balance.Feature}} })
	s.want("an agent that does not try", "port a: waiting h1 , d false untried the agent of host h1 does not try ports: upgrade weft-agent there")
}
