// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/tenants"
)

// traced is what a test reads of weft trace -o json.
type traced struct {
	Ways []struct {
		Way     string
		Arrived bool
		Hops    []struct{ Host, Verdict, Reason string }
	}
}

// testTrace asks what becomes of packets, as the engineer on call would: over
// one host and two, in both families, and where they do not arrive.
func testTrace(t *testing.T, s *system) {
	for _, to := range []tenants.Workload{redWeb2, redWeb3} {
		for _, a := range to.Addresses() {
			out := s.weft(t, "trace", "--port", redWeb1.Port(), "--to", a.String(), "--proto", "tcp", "--dport", "80")
			if n := strings.Count(out, "=> it arrives at"); n != 2 || !strings.Contains(out, "=> it arrives at "+to.Port()) {
				t.Errorf("a packet to %s and its answer do not both arrive:\n%s", to.Title(), out)
			}
			if to.HostName() != redWeb1.HostName() && !strings.Contains(out, "queried") {
				t.Errorf("the underlay was not asked:\n%s", out)
			}
			var v traced
			if err := json.Unmarshal([]byte(s.weft(t, "trace", "--port", redWeb1.Port(), "--to", a.String(), "-o", "json")), &v); err != nil {
				t.Fatal(err)
			}
			if len(v.Ways) != 2 || !v.Ways[0].Arrived || !v.Ways[1].Arrived || v.Ways[1].Hops[0].Host != to.HostName() {
				t.Errorf("as JSON: %+v", v)
			}
		}
	}
	for _, a := range blueWeb9.Addresses() {
		out, err := s.lab.Weft(t.Context(), "trace", "--port", redWeb1.Port(), "--to", a.String())
		if err == nil || !strings.Contains(out, "=> it ends on h1") && !strings.Contains(out, "so it does not send") {
			t.Errorf("a packet to %v, which only blue has: %v\n%s", a, err, out)
		}
	}
}

// testDisabled sets a port down and up again, as its owner may: nothing passes
// meanwhile, and everybody who is asked says why.
func testDisabled(t *testing.T, s *system) {
	set := func(state api.AdminState, want api.PortState) {
		t.Helper()
		p, err := client.Get[*api.Port](t.Context(), s.client, api.ParseRef(redWeb2.Port()))
		if err != nil {
			t.Fatal(err)
		}
		p.Spec.AdminState = state
		if _, err := s.client.Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		eventually(t, "port "+redWeb2.Port()+" is "+string(want), func() (bool, string) {
			p, err := client.Get[*api.Port](t.Context(), s.client, api.ParseRef(redWeb2.Port()))
			if err != nil {
				return false, err.Error()
			}
			return p.Status.State == want, string(p.Status.State)
		})
	}
	set(api.AdminDown, api.PortDisabled)
	s.wantSilence(t, redWeb1, redWeb2.V4())
	s.wantSilence(t, redWeb3, redWeb2.V6())
	s.wantSilence(t, redWeb2, redWeb3.V4())
	for _, words := range [][]string{
		{"why", "port", redWeb2.Port()}, {"port", redWeb2.Port()}, {"trace", "--port", redWeb3.Port(), "--to", redWeb2.V4().String()},
	} {
		out, err := s.lab.Weft(t.Context(), words...)
		if err == nil || !strings.Contains(out, "disabled") {
			t.Errorf("weft %v: %v\n%s", words, err, out)
		}
	}
	set(api.AdminUp, api.PortUp)
	s.wantAnswers(t, redWeb1, redWeb2.V4(), ttlInside)
	s.wantAnswers(t, redWeb2, redWeb3.V6(), ttlInside)
}
