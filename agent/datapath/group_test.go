// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// groupOf computes the group of a route to members that are ports here or
// (negative numbers) at h2, and says by bucket which identity has it.
func groupOf(t *testing.T, members ...int) (all, local []string) {
	t.Helper()
	rows := rowsOf(four)
	attached := map[string]datapath.Attachment{}
	var hops []desired.Hop
	var identities []string
	for _, n := range members {
		id := fmt.Sprintf("port-%d", n)
		h := desired.Hop{Host: "h2", VNI: 7, MAC: [6]byte{2, 0, 0, 0, 0, byte(n)}, Identity: id}
		if n > 0 {
			h.Host, h.Port = "", id
			rows.Ports[id] = desired.Port{ID: id, VRF: 7}
			attached[id] = datapath.Attachment{Ifindex: n}
		}
		hops, identities = append(hops, h), append(identities, id)
	}
	first := hops[0]
	rows.Routes[desired.RouteKey{VRF: 7, Prefix: prefix}] = desired.Route{
		Port: first.Port, Host: first.Host, VNI: first.VNI, MAC: first.MAC, Identity: first.Identity, Equal: hops[1:],
	}
	tables := datapath.Compute(rows, attached, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{})
	group, ok := tables.Groups[tables.Routes[vrouter.RouteKey{VRF: 7, Prefix: prefix}].NextHop.Group]
	if !ok || len(group.Members) != len(members) {
		t.Fatalf("members %v: %d in the group, problems %v", members, len(group.Members), tables.Problems)
	}
	slices.Sort(identities)
	of := func(bucket uint8) string {
		if bucket == vrouter.NoMember {
			return ""
		}
		return identities[bucket]
	}
	for b := range group.All {
		all, local = append(all, of(group.All[b])), append(local, of(group.Local[b]))
	}
	return all, local
}

// A member that comes takes buckets for itself alone, one that goes leaves the
// others theirs, each has a fair share, and hosts agree on who of those there has a bucket.
func TestGroupBuckets(t *testing.T) {
	three, local := groupOf(t, 1, 2, -3)
	four, _ := groupOf(t, 1, 2, -3, -4)
	two, _ := groupOf(t, 1, -3)
	count := map[string]int{}
	for b := range three {
		count[three[b]]++
		if four[b] != three[b] && four[b] != "port--4" {
			t.Errorf("bucket %d goes from %s to %s when port--4 comes", b, three[b], four[b])
		}
		if two[b] != three[b] && three[b] != "port-2" {
			t.Errorf("bucket %d goes from %s to %s when port-2 goes", b, three[b], two[b])
		}
		if three[b] != "port--3" && local[b] != three[b] || local[b] == "port--3" {
			t.Errorf("bucket %d is of %s, and from a tunnel of %s", b, three[b], local[b])
		}
	}
	for member, n := range count {
		if n < 60 || n > 110 {
			t.Errorf("%s has %d of %d buckets: %v", member, n, len(three), count)
		}
	}
	if _, none := groupOf(t, -1, -2); slices.Contains(none, "port--1") || none[0] != "" {
		t.Errorf("from a tunnel a bucket leads to another host: %v", none)
	}
}
