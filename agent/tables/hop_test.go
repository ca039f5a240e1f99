// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/vrouter"
)

// Whatever kind of next hop there is, people read its word and no number.
func TestNextHopsHaveWords(t *testing.T) {
	seen := map[string]vrouter.NextHopKind{}
	for kind := vrouter.NextHopNone; kind <= vrouter.NextHopBalancer; kind++ {
		word := hop(vrouter.NextHop{Kind: kind, VNI: 5}, words{})
		if other, twice := seen[word]; twice || word == "" || strings.Contains(word, "kind") {
			t.Errorf("kind %d is %q (kind %d as well: %t)", kind, word, other, twice)
		}
		seen[word] = kind
	}
	if _, there := seen["balancer of VRF 5"]; !there {
		t.Errorf("no word says whose listeners a virtual address has: %v", seen)
	}
}
