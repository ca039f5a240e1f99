// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"

	"github.com/weft-network/weft/vrouter/rules"
)

// throughMapping is how network-policies see a conversation at the end of who serves a
// virtual address.
type throughMapping struct {
	external netip.AddrPort
	within   bool // the virtual address is of the port's own network
	identity rules.Identity
}

// seenByNetwork is that of an end whose mapping is of an external VRF, 0: it has none.
func (o *Oracle) seenByNetwork(of netip.AddrPort, external, vrf uint32) *throughMapping {
	if external == 0 {
		return nil
	}
	return &throughMapping{of, external == vrf, o.identityOf(external, of.Addr())}
}

// stands changes what is asked: within its own network the port is asked as the virtual
// address itself would be, in another one about the virtual address.
func (t *throughMapping) stands(q *rules.Packet, direction rules.Direction) {
	switch {
	case !t.within:
		q.Remote, q.Identity = t.external.Addr(), t.identity
	case rules.IsICMP(q.Family(), q.Protocol):
	case direction == rules.Ingress:
		q.Port = t.external.Port()
	default:
		q.SourcePort = t.external.Port()
	}
}
