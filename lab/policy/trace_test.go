// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/probe"
)

// traced is what a test reads of weft trace -o json.
type traced struct {
	Ways []struct {
		Way     string
		Arrived bool
		Remedy  string
		Hops    []struct {
			Host, Verdict, Reason string
			Policy                []api.PolicyStep
		}
	}
}

// trace asks what becomes of a packet; that it does not arrive is no error here.
func (s *system) trace(t *testing.T, arguments ...string) (v traced) {
	t.Helper()
	out, err := s.lab.Weft(t.Context(), append([]string{"trace", "-o", "json"}, arguments...)...)
	if broken := json.Unmarshal([]byte(out), &v); broken != nil || len(v.Ways) == 0 {
		t.Fatalf("weft trace %v: %v %v\n%s", arguments, err, broken, out)
	}
	return v
}

// sampled tries a few attempts of a table by weft trace, which must say what the model says.
func (s *system) sampled(t *testing.T, e *Editor, m *Model, number int) {
	t.Helper()
	tries := table(m)
	for range number {
		list := tries[pick(e.Rand, Workloads...)]
		one := list[e.Rand.IntN(len(list))]
		a := one.attempt
		conversation := !one.withoutConversation()
		if one.packet.From == nil || conversation && m.Answer(one.packet).Action != api.ActionPass {
			continue // there is no route, or no answer
		}
		arguments := []string{"--from", one.from.Port(), "--to", a.To.String(), "--proto", strconv.Itoa(a.Protocol)}
		if a.Protocol == probe.ProtocolTCP || a.Protocol == probe.ProtocolUDP {
			arguments = append(arguments, "--dport", strconv.Itoa(int(a.Port)))
		} else {
			arguments = append(arguments, "--icmp", strconv.Itoa(int(a.Port)))
		}
		v := s.trace(t, arguments...)
		passes := one.decision.Action == api.ActionPass
		if v.Ways[0].Arrived != passes || passes && conversation && (len(v.Ways) != 2 || !v.Ways[1].Arrived) {
			t.Errorf("weft trace %s: %+v\nthe model says: %v", strings.Join(arguments, " "), v, one.decision)
			continue
		}
		if passes {
			continue
		}
		hops := v.Ways[0].Hops
		last := hops[len(hops)-1]
		if len(last.Policy) == 0 || v.Ways[0].Remedy == "" {
			t.Errorf("weft trace %s does not say what policy does: %+v", strings.Join(arguments, " "), v)
			continue
		}
		step := last.Policy[len(last.Policy)-1]
		if step.Direction != one.decision.Side || !strings.HasPrefix(step.Layer, one.decision.Layer) || step.Action != string(one.decision.Action) {
			t.Errorf("weft trace %s: %v\nthe model says: %v", strings.Join(arguments, " "), step, one.decision)
		}
	}
}

// explained follows what weft trace says has to change, word by word, until the
// packet arrives: egress and ingress, on one host and across, in both families.
func (s *system) explained(t *testing.T) {
	m := s.model(t)
	var operations []api.Operation
	for _, name := range []string{"w1", "w2", "w3"} {
		operations = append(operations, create(&api.SecurityGroup{Header: header(api.KindSecurityGroup, "red:shop", "shut-"+name)}))
		operations = append(operations, s.withGroups(t, m, []string{"shut-" + name}, name)...)
	}
	s.write(t, operations...)
	number := 0
	for _, to := range []string{"red:shop:w2", "red:shop:w3"} {
		for _, family := range []string{"", "--ipv6"} {
			arguments := []string{"--from", "red:shop:w1", "--to", to, "--proto", "tcp", "--dport", "443"}
			if family != "" {
				arguments = append(arguments, family)
			}
			for _, side := range []api.Side{api.Egress, api.Ingress} {
				v := s.trace(t, arguments...)
				remedy := v.Ways[0].Remedy
				_, command, is := strings.Cut(remedy, "weft create ")
				if v.Ways[0].Arrived || !is || !strings.Contains(remedy, string(side)+" tcp/443") {
					t.Fatalf("weft trace %v: %s to be asked for: %+v", arguments, side, v)
				}
				number++
				words := strings.Fields(strings.Replace(command, ":NAME", fmt.Sprintf(":r%d", number), 1))
				if out, err := s.lab.Weft(t.Context(), append([]string{"create"}, words...)...); err != nil {
					t.Fatal(err, out)
				}
				s.settled(t)
			}
			v := s.trace(t, arguments...)
			if len(v.Ways) != 2 || !v.Ways[0].Arrived || !v.Ways[1].Arrived {
				t.Fatalf("weft trace %v after what it said was done: %+v", arguments, v)
			}
		}
	}
	s.write(t, s.withGroups(t, s.model(t), nil, "w1", "w2", "w3")...)
}
