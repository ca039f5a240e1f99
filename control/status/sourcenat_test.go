// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

const sourceNATWorld = `host h1 192.0.2.1
host h2 192.0.2.2
host h3 192.0.2.3
network old 10
network new 11
network away 12
network idle 13
network lacking 14
network releasing 15
network e 20
port old a
port new b
port away c
port lacking d
port releasing f
bind a h1
bind b h2
bind c h3
bind d h2
bind f h2
address e 10.9.0.1
address e 10.9.0.2
address e 10.9.0.3
address e 10.9.0.4
address e 10.9.0.5
address e 10.9.0.6
address e 2001:db8::1
address e 10.9.0.7 a
snat old old e:10.9.0.1
snat new new e:10.9.0.2
snat away away e:10.9.0.3
snat idle idle e:10.9.0.4
snat lacking lacking e:10.9.0.5 e:2001:db8::1
snat releasing releasing e:10.9.0.6
snat taken new e:10.9.0.7
snat none new nowhere:10.9.0.7
block e:10.9.0.1 1024-2047 h1
block e:10.9.0.2 1024-2047 h2
block e:10.9.0.3 1024-2047 h3
block e:10.9.0.5 1024-2047 h2
block e:10.9.0.6 1024-2047 h2 releasing`

// A source-nat says whether workloads go out with it, and why not.
func TestSourceNATsServe(t *testing.T) {
	w := world.New(sourceNATWorld)
	in := status.Input{Snapshot: w, Plan: placement.New(1, routing.Derive(w), nil), Now: time.Unix(1, 0), Hosts: map[string]stream.HostState{
		world.UUID(api.KindHost, "h1"): {Connected: true, Report: &hoststream.Report{Features: []string{"policy", "floating"}}},
		world.UUID(api.KindHost, "h2"): {Connected: true, Report: &hoststream.Report{Features: []string{"source-nat"}}},
	}}
	said := map[string]string{}
	for _, c := range status.Changes(in) {
		if r, ok := c.Status.(*api.Reported); ok && c.Kind == api.KindSourceNAT {
			for _, now := range r.Conditions {
				said[c.UUID] = map[bool]string{true: "yes ", false: "no "}[now.Status] + now.Reason + " " + now.Message
			}
			o := api.Clone(w.Get(c.Kind, c.UUID))
			*o.StatusBody().(*api.Reported) = *r
			w.SetStatus(o)
		}
	}
	for name, says := range map[string]string{
		"old":       "no agent-too-old agents do not translate for shared addresses: what workloads send to where their network has no route ends on host h1",
		"new":       "yes serving",
		"away":      "yes serving", // as far as anybody knows
		"idle":      "no no-host no port of network d:p:idle is bound to a host",
		"lacking":   "no no-ports no ports are free, or not given yet, for host h2",
		"releasing": "no no-ports no ports are free, or not given yet, for host h2",
		"taken":     "no address-taken address d:p:e:10.9.0.7 (10.9.0.7) is a port's",
		"none":      "no network-not-routed the network of an address has no VRF",
	} {
		if got := said[world.UUID(api.KindSourceNAT, name)]; !strings.HasPrefix(got, says) {
			t.Errorf("%s says %q, want %q", name, got, says)
		}
	}
	in.Now = time.Unix(2, 0)
	for _, c := range status.Changes(in) {
		if c.Kind == api.KindSourceNAT {
			t.Errorf("what is written already is written again: %+v", c.Status)
		}
	}
}
