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

const floatingWorld = `host h1 192.0.2.1
host h2 192.0.2.2
host h3 192.0.2.3
network n 10
network e 20
network frames 11
forward frames l2
port n a
port n b
port n c
port n nowhere
port frames f
address n 10.0.0.5 a
address n 10.0.0.6 b
address n 10.0.0.7 b
address n 10.0.0.8 c
address n 10.0.0.9 nowhere
address frames 10.0.0.5 f
address e 10.9.0.1
address e 10.9.0.2
address e 10.9.0.3
address e 10.9.0.4
address e 10.9.0.5
address e 10.9.0.6
address e 10.9.0.7
address e 10.9.0.8
address e 2001:db8::1
address frames 10.0.0.9
bind a h1
bind b h2
bind c h3
bind f h1
floating old e:10.9.0.1
floating new e:10.9.0.2
floating away e:10.9.0.3
floating nowhere e:10.9.0.4
floating two e:10.9.0.5
floating six e:2001:db8::1
floating in-frames frames:10.0.0.9
floating to-frames e:10.9.0.6
floating free e:10.9.0.7
floating balanced e:10.9.0.8
associate old old port=a
associate new new port=b address=n:10.0.0.6
associate away away port=c
associate nowhere nowhere port=nowhere
associate two two port=b
associate six six port=a
associate in-frames in-frames port=a
associate to-frames to-frames port=f
associate balanced balanced balancer=l`

// Whoever gave a floating address away is told whether it serves, and why not,
// also at the floating-ip.
func TestFloatingAddressesServe(t *testing.T) {
	w := world.New(floatingWorld)
	in := status.Input{Snapshot: w, Plan: placement.New(1, routing.Derive(w), nil), Now: time.Unix(1, 0), Hosts: map[string]stream.HostState{
		world.UUID(api.KindHost, "h1"): {Connected: true, Report: &hoststream.Report{Features: []string{"policy", "balance"}}},
		world.UUID(api.KindHost, "h2"): {Connected: true, Report: &hoststream.Report{Features: []string{"floating"}}},
	}}
	said := map[string]string{}
	for _, c := range status.Changes(in) {
		if r, ok := c.Status.(*api.Reported); ok {
			for _, now := range r.Conditions {
				said[c.UUID] = now.Type + map[bool]string{true: " yes ", false: " no "}[now.Status] + now.Reason + " " + now.Message
			}
			o := api.Clone(w.Get(c.Kind, c.UUID))
			*o.StatusBody().(*api.Reported) = *r
			w.SetStatus(o)
		}
	}
	for name, says := range map[string]string{
		"old":       "no agent-too-old the agent of host h1 does not map floating addresses: what is sent to 10.9.0.1 ends there",
		"new":       "yes serving",
		"away":      "no host-away host h3 of port d:p:c is not connected",
		"nowhere":   "no no-host port d:p:nowhere is bound to no host",
		"two":       "no several-addresses port d:p:b has 2 addresses of the family of 10.9.0.5: say in spec.address",
		"six":       "no no-address-of-family port d:p:a has no address of the family of 2001:db8::1",
		"in-frames": "no network-not-routed network d:p:frames of address 10.0.0.9 forwards frames only",
		"to-frames": "no network-not-routed network d:p:frames of port d:p:f forwards frames only",
		"balanced":  "no not-built floating-ips of load-balancers are kept, and do not work yet",
		"free":      "no not-associated no floating-ip-association gives it to anybody",
	} {
		for _, kind := range []api.Kind{api.KindFloatingIPAssociation, api.KindFloatingIP} {
			if got := said[world.UUID(kind, name)]; !strings.HasPrefix(got, "Serving "+says) && (name != "free" || kind == api.KindFloatingIP) {
				t.Errorf("%s %s says %q, want %q", kind, name, got, says)
			}
		}
	}
	in.Now = time.Unix(2, 0)
	for _, c := range status.Changes(in) {
		if c.Kind == api.KindFloatingIPAssociation || c.Kind == api.KindFloatingIP {
			t.Errorf("what is written already is written again: %s %+v", c.Kind, c.Status)
		}
	}
}
