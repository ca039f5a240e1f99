// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weft-network/weft/vrouter/rules"
)

// decides gives a port one rule in a layer of a direction, and denies what it does not match.
func decides(t *testing.T, d *Datapath, ifindex int, direction rules.Direction, layer rules.Layer, rule rules.Rule) {
	t.Helper()
	c := compiled(rules.Ruleset{Rules: []rules.Rule{rule}, Outside: rules.Deny, Identified: rules.Deny})
	check(t, d.PutRuleset(c))
	policy, _, err := d.PortPolicies.Get(ifindex)
	check(t, err)
	policy.Rulesets[direction][layer] = c.ID
	check(t, d.PortPolicies.Put(ifindex, policy))
}

// limitPlaces leaves no place for a conversation at a port.
func limitPlaces(t *testing.T, d *Datapath, ifindex int, id uint32) {
	t.Helper()
	policy, _, err := d.PortPolicies.Get(ifindex)
	check(t, err)
	policy.ConnectionLimit = 1
	check(t, d.PortPolicies.Put(ifindex, policy))
	check(t, d.placeCounts.Put(PlaceOwner{ifindex, id}, placeCount{taken: 1}))
}

// TestRefusalsAreTold: what an end refuses is counted at that end's port and told as of it,
// with the layer and the rule that decided.
func TestRefusalsAreTold(t *testing.T) {
	const here, there = "1/101 sends", "2/102 hears"
	d := loadForTest(t, smallSizes)
	check(t, d.Activate())
	reader, err := d.OpenEvents()
	check(t, err)
	defer reader.Close()
	heard := uint64(0)
	refuses := func(number uint32) rules.Rule { return rules.Rule{Number: number, Action: rules.Deny} }
	for what, c := range map[string]struct {
		change func()
		want   string
	}{
		"the sender's rule": {func() { decides(t, d, 1, rules.Egress, rules.SecurityGroup, refuses(31)) }, here + ": policy-denied by rule 31 of security-group"},
		"the sender's rule of a later layer": {func() { decides(t, d, 1, rules.Egress, rules.FirewallAdmin, refuses(32)) },
			here + ": policy-denied by rule 32 of firewall-admin"},
		"none of the sender's rules": {func() {
			decides(t, d, 1, rules.Egress, rules.SecurityGroup, rules.Rule{Number: 33, Action: rules.Pass, Services: []rules.Service{{Protocol: rules.TCP}}})
		}, here + ": policy-denied by rule 0 of security-group"},
		"the sender, whose ruleset is not there": {func() {
			policy, _, err := d.PortPolicies.Get(1)
			check(t, err)
			policy.Rulesets[rules.Egress][rules.FirewallAdmin] = 1 << 30
			check(t, d.PortPolicies.Put(1, policy))
		}, here + ": policy-absent by rule 0 of firewall-admin"},
		"the receiver's rule": {func() { decides(t, d, 2, rules.Ingress, rules.SecurityGroup, refuses(34)) }, there + ": policy-denied by rule 34 of security-group"},
		"the receiver, which rejects": {func() {
			decides(t, d, 2, rules.Ingress, rules.NetworkPolicy, rules.Rule{Number: 35, Action: rules.Reject})
		}, there + ": policy-rejected by rule 35 of network-policy"},
		"the sender's limit":   {func() { limitPlaces(t, d, 1, ownPortID) }, here + ": connection-limit by no rule"},
		"the receiver's limit": {func() { limitPlaces(t, d, 2, peerPortID) }, there + ": connection-limit by no rule"},
	} {
		for _, six := range []bool{false, true} {
			installEnds(t, d)
			check(t, d.SetRecording(Recording{Drops: true}))
			c.change()
			before, err := d.Drops()
			check(t, err)
			frame := conversation{six: six}.there().frame
			_, err = d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+frameRoom)})
			check(t, err)
			counts, err := d.EventCounts()
			check(t, err)
			var got []string
			for ; heard < counts[EventDrop].Told; heard++ {
				e, err := reader.Next()
				check(t, err)
				by := fmt.Sprintf("rule %d of %v", e.Rule, rules.Layer(max(0, e.Layer)))
				if e.Layer < 0 && e.Rule == 0 {
					by = "no rule"
				}
				got = append(got, fmt.Sprintf("%d/%d %s: %s by %s", e.Ifindex, e.Port, map[bool]string{false: "sends", true: "hears"}[e.In], e.Reason.Name, by))
				if e.Kind != EventDrop || e.VRF != 1 || e.Length != len(frame) {
					t.Errorf("%s, IPv6 %t: told %+v", what, six, e)
				}
				if counted := newDrops(t, d, before); !maps.Equal(counted, map[string]uint64{fmt.Sprintf("%d %s", e.Ifindex, e.Reason.Name): 1}) {
					t.Errorf("%s, IPv6 %t: counted %v, told %+v", what, six, counted, e)
				}
			}
			if !slices.Equal(got, []string{c.want}) {
				t.Errorf("%s, IPv6 %t: told %q, want %q", what, six, got, c.want)
			}
		}
	}
}

// newDrops are those counted since, by interface and reason.
func newDrops(t *testing.T, d *Datapath, before []Drop) map[string]uint64 {
	t.Helper()
	now, err := d.Drops()
	check(t, err)
	all := map[string]uint64{}
	for _, drop := range now {
		all[fmt.Sprintf("%d %s", drop.Ifindex, drop.Name)] += drop.Packets
	}
	for _, drop := range before {
		all[fmt.Sprintf("%d %s", drop.Ifindex, drop.Name)] -= drop.Packets
	}
	maps.DeleteFunc(all, func(_ string, n uint64) bool { return n == 0 })
	return all
}
