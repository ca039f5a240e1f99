// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// tries is what a host reports of members: name, state and message in turn.
func tries(features []string, words ...string) func(h *stream.HostState) {
	return func(h *stream.HostState) {
		h.Report = &hoststream.Report{Features: features}
		for i := 0; i < len(words); i += 3 {
			h.Report.Checks = append(h.Report.Checks, &hoststream.CheckReport{Id: world.UUID(api.KindMember, words[i]), State: words[i+1], Message: words[i+2]})
		}
	}
}

// The life of a pool with a monitor, from its creation until nobody is tried.
func TestMembersOnline(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1
host h2 192.0.2.2
network n 1
subnet n 10.0.0.0/24 10.0.0.254
port n a
port n b
address n 10.0.0.1 a
address n 10.0.0.2 b
bind a h1
bind b h2
balancer l
pool l o
member o m 80 port=a
member o w 80 port=b`)
	can := []string{"policy", "health"}
	for _, h := range []string{"h1", "h2"} {
		s.host(h, connect)
		s.host(h, tries(nil))
	}
	s.round()
	s.want("members without monitor", "")
	s.Do("monitor o tcp")
	const old = " does not try members: upgrade weft-agent there"
	s.want("a monitor, and old agents", "member m: Online false untried the agent of host h1"+old+"\nmember w: Online false untried the agent of host h2"+old+
		"\npool o: Online false unknown 0 of 2 members up\nload-balancer l: Online false unknown 0 of 2 members up")
	s.host("h1", tries(can))
	s.host("h2", tries(can))
	s.want("new agents", "member m: Online false unknown host h1 has not tried it often enough yet\nmember w: Online false unknown host h2 has not tried it often enough yet")
	s.host("h1", tries(can, "m", "up", ""))
	s.host("h2", tries(can, "w", "down", "connection refused"))
	s.want("first results", "member m: Online true online\nmember w: Online false failed connection refused\npool o: Online true degraded 1 of 2 members up\nload-balancer l: Online true degraded 1 of 2 members up")
	s.host("h2", tries(can))
	s.want("an agent that starts again", "")
	s.host("h2", tries(can, "w", "up", ""))
	s.want("all well", "member w: Online true online\npool o: Online true online 2 of 2 members up\nload-balancer l: Online true online 2 of 2 members up")
	s.host("h1", func(h *stream.HostState) { h.Connected = false })
	s.want("a host that is gone", "host h1: connected false, v1 on 6.1, 0 ports\nmember m: Online false unknown host h1 is not connected\npool o: Online true degraded 1 of 2 members up\nload-balancer l: Online true degraded 1 of 2 members up")
	s.Do("bind a h2\nremove binding a:h1")
	s.round()
	s.host("h2", tries(can, "w", "down", "HTTP 503, wants 200", "m", "up", ""))
	s.want("its port on the other host", "member m: Online true online\nmember w: Online false failed HTTP 503, wants 200")
	s.host("h2", tries(can, "w", "down", "no answer within 2 s", "m", "untried", "no gateway"))
	s.want("none that is up", "member m: Online false untried no gateway\nmember w: Online false failed no answer within 2 s\npool o: Online false failed 0 of 2 members up\nload-balancer l: Online false failed 0 of 2 members up")
	s.Do("monitor o sctp")
	s.want("a probe that nobody makes", "member m: Online false untried members are not tried by sctp yet\nmember w: Online false untried members are not tried by sctp yet\npool o: Online false unknown 0 of 2 members up\nload-balancer l: Online false unknown 0 of 2 members up")
	s.Do("monitor o sctp down")
	s.want("a monitor that is down", "member m: \nmember w: \npool o: \nload-balancer l: ")
}

// A controller that starts lets what hosts said before be until they had time to connect.
func TestMembersAfterARestart(t *testing.T) {
	s := newSystem(t, "host h1 192.0.2.1\nnetwork n 1\nsubnet n 10.0.0.0/24 10.0.0.254\nport n a\naddress n 10.0.0.1 a\nbind a h1\nbalancer l\npool l o\nmember o m 80 port=a\nmonitor o tcp")
	s.host("h1", connect)
	s.host("h1", tries([]string{"health"}, "m", "up", ""))
	s.round()
	delete(s.hosts, h1)
	s.want("the controller starting again", "")
	s.grace = true
	s.want("a host that stays away", "host h1: connected false, v1 on 6.1, 0 ports\nmember m: Online false unknown host h1 is not connected\npool o: Online false unknown 0 of 1 members up\nload-balancer l: Online false unknown 0 of 1 members up")
}
