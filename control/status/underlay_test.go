// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/world"
)

// A network says whether it has the place in the underlay that it asks for; one
// that does not ask says nothing, also when it did before. Nobody is named.
func TestNetworkSaysWhetherItIsInUnderlay(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1
network blue 10
network green 30
network red 40
subnet blue 10.1.0.0/24
subnet green 10.1.0.128/25
subnet red 10.3.0.0/24
underlay blue
underlay green
visible red`)
	say := func(name string) string {
		t.Helper()
		s.round()
		words := []string{}
		for _, c := range s.Get(api.KindNetwork, world.UUID(api.KindNetwork, name)).(*api.Network).Status.Conditions {
			if c.Type == "InUnderlay" {
				words = append(words, map[bool]string{true: "yes ", false: "no "}[c.Status]+c.Reason+" "+c.Message)
			}
		}
		return strings.Join(words, ", ")
	}
	for name, want := range map[string]string{
		"blue":  "yes routed ",
		"green": "no overlaps subnet 10.1.0.128/25 overlaps with one of another network, which was there first: the network stays apart",
		"red":   "yes host-visible ",
	} {
		if got := say(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	s.Do("network blue 10")
	if got := say("blue"); got != "" {
		t.Errorf("blue asks no more: %q", got)
	}
	if got := say("green"); got != "yes routed " {
		t.Errorf("green, when blue is gone: %q", got)
	}
}
