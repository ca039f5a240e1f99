// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"testing"

	"github.com/weft-network/weft/api"
)

// A network that asks for MPLS over UDP gets a VNI that is a label; small ones are none.
func TestAllocateVNIThatIsALabel(t *testing.T) {
	w := newWorld(t)
	for n, c := range []struct {
		list []string
		want uint32
	}{{nil, 1}, {[]string{api.EncapsulationVXLAN}, 2}, {[]string{api.EncapsulationMPLSUDP, api.EncapsulationVXLAN}, api.MinLabel}, {[]string{api.EncapsulationMPLSUDP}, api.MinLabel + 1}, {nil, 3}} {
		o := network(fmt.Sprint("n", n), project)
		o.Spec.Encapsulation = c.list
		if got := w.create(admin, o).(*api.Network).Spec.VNI; got != c.want {
			t.Errorf("a network by %v has VNI %d, want %d", c.list, got, c.want)
		}
	}
}
