// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"slices"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// An external network says who connects it, or why nobody does.
func TestWhoConnectsAnExternalNetwork(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nnetwork e 20\nsubnet e 10.9.0.0/24")
	features := map[string][]string{}
	says := func() (bool, string, string) {
		t.Helper()
		hosts := map[string]stream.HostState{}
		for name, f := range features {
			hosts[world.UUID(api.KindHost, name)] = stream.HostState{Connected: true, Report: &hoststream.Report{Features: f}}
		}
		d := routing.Derive(w.Snapshot())
		for _, c := range status.Changes(status.Input{Snapshot: w.Snapshot(), Plan: placement.New(1, d, nil), Hosts: hosts}) {
			s, ok := c.Status.(*api.NetworkStatus)
			if !ok {
				continue
			}
			if i := slices.IndexFunc(s.Conditions, func(c api.Condition) bool { return c.Type == status.Connected }); i >= 0 {
				return s.Conditions[i].Status, s.Conditions[i].Reason, s.Conditions[i].Message
			}
		}
		return false, "", ""
	}
	for _, step := range []struct {
		do, agents string
		status     bool
		reason     string
	}{
		{"", "", false, ""},
		{"external e", "", false, "cannot-connect"},
		{"external e lab/100 lab/101", "", false, "cannot-connect"},
		{"external e lab/100", "", false, "no-host"},
		{"physical h1 other=eth1", "", false, "no-host"},
		{"physical h1 lab=eth1", "", false, "host-away"},
		{"", "old", false, "agent-too-old"},
		{"", "external", true, "connected"},
		{"external e lab/100 h2", "external", false, "no-host"},
		{"physical h2 lab=eth1", "external", false, "host-away"},
		{"external e lab/100 h2 h1", "external", true, "connected"},
		{"remove subnet e:10.9.0.0/24", "external", false, "no-router"},
		{"forward e l2", "external", false, "cannot-connect"},
	} {
		w.Do(step.do)
		if step.agents != "" {
			features["h1"] = []string{step.agents}
		}
		if is, reason, message := says(); is != step.status || reason != step.reason {
			t.Errorf("after %q with agents %q: %t %q (%s), want %t %q", step.do, step.agents, is, reason, message, step.status, step.reason)
		}
	}
}
