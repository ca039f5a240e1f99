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

// A network with a list of encapsulations says whether any two of its hosts can
// do one of them, follows what hosts come to do, and says nothing without a list.
func TestNetworkSaysWhetherItIsEncapsulated(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1 can=vxlan,mplsudp
host h2 192.0.2.2 can=vxlan,mplsudp
host old 192.0.2.3
network blue 100
network small 9
network plain 101
encapsulation blue mplsudp
encapsulation small mplsudp
port blue a
port blue b
bind a h1
bind b h2`)
	say := func(name string) string {
		t.Helper()
		s.round()
		var words []string
		for _, c := range s.Get(api.KindNetwork, world.UUID(api.KindNetwork, name)).(*api.Network).Status.Conditions {
			if c.Type == "Encapsulated" {
				words = append(words, strings.TrimSpace(map[bool]string{true: "yes ", false: "no "}[c.Status]+c.Reason+" "+c.Message))
			}
		}
		return strings.Join(words, ", ")
	}
	for _, step := range []struct{ edit, network, want string }{
		{"", "blue", "yes agreed"},
		{"", "small", "no nothing-in-common mplsudp is left out: VNI 9 is not between 16 and 1048575"},
		{"", "plain", ""},
		{"bind b old", "blue", "no nothing-in-common h1 can do [vxlan mplsudp], old [vxlan]: of [mplsudp] both can do none"},
		{"encapsulation blue mplsudp vxlan", "blue", "yes agreed"},
		{"encapsulation small mplsudp vxlan", "small", "yes agreed mplsudp is left out: VNI 9 is not between 16 and 1048575"},
		{"encapsulation blue mplsudp", "blue", "no nothing-in-common h1 can do"},
		{"host old 192.0.2.3 can=vxlan,mplsudp", "blue", "yes agreed"},
		{"host old 192.0.2.3", "blue", "no nothing-in-common"},
		{"remove binding b:old", "blue", "yes agreed"},
		{"network blue 100", "blue", ""},
	} {
		if step.edit != "" {
			s.Do(step.edit)
		}
		if got := say(step.network); got != step.want && (step.want == "" || !strings.HasPrefix(got, step.want)) {
			t.Errorf("after %q network %s says %q, want %q", step.edit, step.network, got, step.want)
		}
	}
}
