// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// forge sends a VXLAN frame of a VNI from one host to another, past the agents.
func (s *system) forge(t *testing.T, from int, to netip.Addr, vni uint32) {
	t.Helper()
	const vxlanPort = 4789
	frame := make([]byte, 8+64)
	frame[0] = 8 // the VNI is there
	binary.BigEndian.PutUint32(frame[4:], vni<<8)
	err := namespace.Do(s.lab.Namespace(topology.HostName(from)), func() error {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, vxlanPort)))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(frame)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// testSources forges frames from a host that has nothing in the network, and
// from one that has: only the first kind is refused for where it comes from.
func testSources(t *testing.T, s *system) {
	const reason = "unknown-tunnel-source"
	vni, err := strconv.ParseUint(vrfOf(t, s, redWeb1.NetworkName()), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if n := dropped(t, s, redWeb3.HostName(), reason); n != 0 {
		t.Errorf("%d frames of workloads were refused on %s for where they came from", n, redWeb3.HostName())
	}
	four, six := topology.HostAddresses(redWeb3.Host)
	for i, to := range []netip.Addr{four, six} {
		s.forge(t, 3, to, uint32(vni)) // h3 has no member of red's web
		eventually(t, "a forged frame is counted", func() (bool, string) {
			n := dropped(t, s, redWeb3.HostName(), reason)
			return n == i+1, strconv.Itoa(n)
		})
	}
	before := dropped(t, s, redWeb3.HostName(), "unknown-mac")
	s.forge(t, redWeb1.Host, four, uint32(vni)) // h1 has; the frame itself is nonsense
	eventually(t, "a frame from a member is looked at", func() (bool, string) {
		n := dropped(t, s, redWeb3.HostName(), "unknown-mac")
		return n == before+1, strconv.Itoa(n)
	})
	if n := dropped(t, s, redWeb3.HostName(), reason); n != 2 {
		t.Errorf("%d frames refused for where they came from, want the two forged ones", n)
	}
}
