// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"testing"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
)

// labelPath gives a host what MPLS over UDP needs: the pair of interfaces
// behind which frames are single packets, and the hook on the uplink.
func (h *testHost) labelPath(t testing.TB) {
	t.Helper()
	check(t, h.handle.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "weft-mpls", MTU: 65535}, PeerName: "weft-label", PeerMTU: 65535}))
	check(t, h.do(func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		return e.Change("weft-mpls", map[string]bool{"tx-scatter-gather": false, "tx-checksum-ip-generic": false})
	}))
	far := h.up(t, "weft-label").Attrs().Index
	check(t, h.do(func() error { return h.d.AttachLabel(far) }))
	config := h.config()
	config.LabelDevice = h.up(t, "weft-mpls").Attrs().Index
	check(t, h.d.SetConfig(config))
	uplink, err := h.handle.LinkByName("underlay")
	check(t, err)
	check(t, h.do(func() error { return h.d.AttachUnderlay(uplink.Attrs().Index) }))
	for _, a := range h.underlay {
		check(t, h.d.TunnelAddresses.Put(a, struct{}{}))
	}
	for vni := uint32(1); vni <= 3; vni++ {
		check(t, h.d.VNIs.Put(vni, VNI{VRF: vni, CheckSources: true, Label: true}))
	}
}

// overMPLS leads all routes through tunnels by MPLS over UDP.
func (h *testHost) overMPLS(t testing.TB) {
	t.Helper()
	uplink, err := h.handle.LinkByName("underlay")
	check(t, err)
	all, err := h.d.NextHops.All()
	check(t, err)
	for id, hop := range all {
		if hop.Kind == NextHopTunnel {
			hop.Encapsulation, hop.Ifindex, hop.MTU = EncapsulationMPLSUDP, uplink.Attrs().Index, 1500-52
			hop.Local = h.underlay[0]
			if hop.Remote.Is6() {
				hop.Local = h.underlay[1]
			}
			check(t, h.d.NextHops.Put(id, hop))
		}
	}
}

// TestTrafficByMPLSOverUDP: the first network over IPv4, the second over IPv6,
// both families of workloads, and segments of 64 KiB.
func TestTrafficByMPLSOverUDP(t *testing.T) {
	for _, a := range []Attachment{AttachAuto, AttachClsact} {
		t.Run(string(a), func(t *testing.T) {
			s := newSiteBy(t, a)
			t.Cleanup(func() {
				if t.Failed() {
					s.print(t)
				}
			})
			for _, h := range []*testHost{s.a, s.b} {
				h.labelPath(t)
				h.overMPLS(t)
			}
			for _, pair := range [][2]*workload{{s.a1, s.b1}, {s.c1, s.d1}, {s.a2, s.e1}} {
				from, to := pair[0], pair[1]
				for i, family := range []string{"IPv4", "IPv6"} {
					t.Run(fmt.Sprintf("%s to %s %s", from.name, to.name, family), func(t *testing.T) {
						from.mustReach(t, to.addresses[i])
						check(t, from.send(t, to, to.serve(t, to.addresses[i]), 4<<20))
						check(t, to.send(t, from, from.serve(t, from.addresses[i]), 4<<20))
						if out, err := from.ping(t, to.addresses[i], "-c", "3", "-i", "0.1", "-s", "5000"); err != nil {
							t.Errorf("large ping: %v\n%s", err, out)
						}
					})
				}
			}
			t.Run("networks stay apart", func(t *testing.T) {
				s.c1.mustNotReach(t, s.a2.addresses[0])
			})
			t.Run("sources", s.labelSources)
		})
	}
}

// labelSources takes a host the right to send, and gives it back.
func (s *site) labelSources(t *testing.T) {
	uplink, err := s.b.handle.LinkByName("underlay")
	check(t, err)
	for i, pair := range [][2]*workload{{s.a1, s.b1}, {s.c1, s.d1}} {
		right := TunnelSource{pair[0].vrf, s.a.underlay[i]}
		check(t, s.b.d.TunnelSources.Delete(right))
		pair[0].mustNotReach(t, pair[1].addresses[0])
		if got := dropsOf(t, s.b.d, uplink.Attrs().Index, "unknown-tunnel-source"); got == 0 {
			t.Errorf("no frame from %v was counted", right.Address)
		}
		check(t, s.b.d.TunnelSources.Put(right, struct{}{}))
		pair[0].mustReach(t, pair[1].addresses[0])
	}
	check(t, s.b.d.TunnelAddresses.Delete(s.b.underlay[0]))
	s.a1.mustNotReach(t, s.b1.addresses[0]) // the host's own now, which has no socket there
	check(t, s.b.d.TunnelAddresses.Put(s.b.underlay[0], struct{}{}))
	check(t, s.b.d.VNIs.Put(1, VNI{VRF: 1, CheckSources: true}))
	s.a1.mustNotReach(t, s.b1.addresses[0])
	if dropsOf(t, s.b.d, uplink.Attrs().Index, "unknown-label") == 0 {
		t.Error("no frame was counted for a label that nobody has")
	}
	check(t, s.b.d.VNIs.Put(1, VNI{VRF: 1, CheckSources: true, Label: true}))
}
