// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"math/rand/v2"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// randomPrefixes gives a port prefixes whose last byte is its own, so that a
// test can tell whose they are.
func randomPrefixes(r *rand.Rand, p *hoststream.Port) {
	own := p.Mac[5]
	for range r.IntN(3) {
		p.Sources = append(p.Sources, &hoststream.Prefix{Address: []byte{10, byte(r.IntN(2)), own, 0}, Length: 24})
	}
	for range r.IntN(3) {
		p.Pairs = append(p.Pairs, &hoststream.AllowedPair{
			Range: &hoststream.Prefix{Address: []byte{10, byte(r.IntN(2)), own, 0}, Length: 24}, Mac: []byte{2, 0, 0, byte(r.IntN(2)), 0, own},
		})
	}
}

// guardPrefixes fails the test when a port may send from what is another's: all
// prefixes of an interface are those of the port there.
func guardPrefixes(t *testing.T, m *datapath.MemoryKernel) {
	addresses := m.Ports.Check
	m.Ports.Check = func(ifindex int, p vrouter.Port, deleted bool) {
		addresses(ifindex, p, deleted)
		for k := range m.PortPrefixes.Rows {
			if own := k.Prefix.Addr().As4()[2]; k.Ifindex == ifindex && !deleted && (own != p.MAC[5] || k.MAC[5] != p.MAC[5]) {
				t.Fatalf("port %v on interface %d may send from %v with %v, which is another port's", p.MAC, ifindex, k.Prefix, k.MAC)
			}
		}
	}
}
