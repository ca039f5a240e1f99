// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"fmt"

	"github.com/weft-network/weft/vrouter"
)

// tunnelWords say where a tunnel leads, and how.
func tunnelWords(n vrouter.NextHop, w words) string {
	switch n.Encapsulation {
	case vrouter.EncapsulationVXLAN:
		return fmt.Sprintf("tunnel %v vni %d", n.Remote, n.VNI)
	case vrouter.EncapsulationMPLSUDP:
		return fmt.Sprintf("tunnel %v mplsudp label %d through %s", n.Remote, n.VNI, w.name(n.Ifindex))
	}
	return fmt.Sprintf("tunnel %v %v", n.Remote, n.Encapsulation)
}
