// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	mirrorID     = 900
	mirrorNumber = 7
	mirrorPort   = 4790 // not the kernel's, which would open copies
	mirrorMTU    = 1500
)

// mirrorPath makes the pair through which copies leave, and returns its near end.
func (h *testHost) mirrorPath(t testing.TB) int {
	t.Helper()
	check(t, h.handle.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "weft-copy", MTU: 65535}, PeerName: "weft-mirror", PeerMTU: 65535}))
	check(t, h.do(func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		return e.Change("weft-copy", map[string]bool{"tx-scatter-gather": false, "tx-checksum-ip-generic": false})
	}))
	near, far := h.up(t, "weft-copy").Attrs().Index, h.up(t, "weft-mirror").Attrs().Index
	check(t, h.do(func() error { return h.d.AttachMirrorPath(near, far) }))
	return near
}

// mirrorTarget is the underlay address of another host, seen from this one.
func (h *testHost) mirrorTarget(t testing.TB, path int, to *testHost, e MirrorEncapsulation, family int) MirrorTarget {
	t.Helper()
	uplink, err := h.handle.LinkByName("underlay")
	check(t, err)
	return MirrorTarget{
		Path: path, Ifindex: uplink.Attrs().Index, Encapsulation: e, ID: mirrorID, Port: mirrorPort,
		Local: h.underlay[family], Remote: to.underlay[family], Most: mirrorMTU - 40 - 16,
	}
}

func (h *testHost) mirror(t testing.TB, w *workload, m Mirrors) {
	t.Helper()
	m.Device = w.ifindex
	port := w.port()
	port.RedirectPeer = m.In == [MaxMirrors]Mirror{}
	check(t, h.d.Ports.Put(w.ifindex, port))
	check(t, h.do(func() error { return h.d.Mirrors.Put(w.ifindex, m) }))
}

// analyzer hears what comes to a host from its underlay.
type analyzer struct{ fd int }

func (h *testHost) analyze(t testing.TB) analyzer {
	t.Helper()
	var fd int
	check(t, h.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return err
	}))
	l, err := h.handle.LinkByName("underlay")
	check(t, err)
	check(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000}))
	check(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8, Ifindex: l.Attrs().Index}))
	return analyzer{fd}
}

// copies are those that came by now, opened by a decoder that is not ours, and their
// sequence numbers where the encapsulation has some.
func (a analyzer) copies(t testing.TB, target MirrorTarget) (frames [][]byte, sequence []uint32) {
	t.Helper()
	defer unix.Close(a.fd)
	data := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(a.fd, data, 0)
		if errors.Is(err, unix.EAGAIN) {
			return frames, sequence
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		check(t, err)
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if inner, number, is := openCopy(t, bytes.Clone(data[:n]), target); is {
			frames, sequence = append(frames, inner), append(sequence, number)
		}
	}
}

func mustVerify(t testing.TB, l gopacket.LayerWithChecksum) {
	t.Helper()
	err, result := l.VerifyChecksum()
	if err != nil || !result.Valid {
		t.Errorf("a copy has a wrong checksum: %v, %+v", err, result)
	}
}

// openCopy takes the outer headers off, and checks every field of them.
func openCopy(t testing.TB, outer []byte, target MirrorTarget) (inner []byte, number uint32, is bool) {
	t.Helper()
	p := gopacket.NewPacket(outer, layers.LayerTypeEthernet, gopacket.Lazy)
	network := p.NetworkLayer()
	if network == nil || network.NetworkFlow().String() != fmt.Sprintf("%v->%v", target.Local, target.Remote) {
		return nil, 0, false
	}
	rest := network.LayerPayload()
	if len(outer) > mirrorMTU+14 {
		t.Errorf("a copy has %d bytes: more than the underlay takes", len(outer))
	}
	if l, is := network.(*layers.IPv4); is {
		mustVerify(t, l)
	}
	if target.Encapsulation == MirrorVXLAN {
		u, isUDP := p.TransportLayer().(*layers.UDP)
		if !isUDP || u.DstPort != layers.UDPPort(target.Port) {
			return nil, 0, false
		}
		check(t, u.SetNetworkLayerForChecksum(network))
		mustVerify(t, u)
		if u.SrcPort < 49152 || int(u.Length) != len(rest) || target.Remote.Is6() && u.Checksum == 0 {
			t.Errorf("a copy has UDP %+v over %d bytes", u, len(rest))
		}
		v := rest[8:16]
		if want := []byte{8, 0, 0, 0, 0, mirrorID >> 8, mirrorID & 0xff, 0}; !bytes.Equal(v, want) {
			t.Errorf("a copy has VXLAN header %x, want %x", v, want)
		}
		return rest[16:], 0, true
	}
	if len(rest) < 16 || p.Layer(layers.LayerTypeGRE) == nil {
		return nil, 0, false
	}
	word := func(at int) uint32 {
		return uint32(rest[at])<<24 | uint32(rest[at+1])<<16 | uint32(rest[at+2])<<8 | uint32(rest[at+3])
	}
	if target.Encapsulation == MirrorGRE {
		if word(0) != 0x20006558 || word(4) != mirrorID {
			t.Errorf("a copy has GRE header %x", rest[:8])
		}
		return rest[8:], 0, true
	}
	if word(0) != 0x100088be || word(8) != 1<<28|mirrorID || word(12) != 0 {
		t.Errorf("a copy has GRE and ERSPAN headers %x", rest[:16])
	}
	return rest[16:], word(4), true
}

// echoes counts the echo requests and replies with a workload's addresses, whole frames.
func echoes(frames [][]byte, from, to netip.Addr) (requests, replies int) {
	for _, f := range frames {
		p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Lazy)
		n := p.NetworkLayer()
		if n == nil || p.ErrorLayer() != nil {
			continue
		}
		request, reply := false, false
		if l, is := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); is {
			request, reply = l.TypeCode.Type() == layers.ICMPv4TypeEchoRequest, l.TypeCode.Type() == layers.ICMPv4TypeEchoReply
		}
		if l, is := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); is {
			request, reply = l.TypeCode.Type() == layers.ICMPv6TypeEchoRequest, l.TypeCode.Type() == layers.ICMPv6TypeEchoReply
		}
		switch flow := n.NetworkFlow().String(); {
		case request && flow == fmt.Sprintf("%v->%v", from, to):
			requests++
		case reply && flow == fmt.Sprintf("%v->%v", to, from):
			replies++
		}
	}
	return requests, replies
}

// TestMirrors: copies of both directions by each encapsulation over both families, from
// conversations on one host and across, in both families and with both attachments.
func TestMirrors(t *testing.T) {
	for _, attachment := range []Attachment{AttachAuto, AttachClsact} {
		t.Run(string(attachment), func(t *testing.T) {
			s := newSiteBy(t, attachment)
			path := s.a.mirrorPath(t)
			for name, e := range map[string]MirrorEncapsulation{"VXLAN": MirrorVXLAN, "GRE": MirrorGRE, "ERSPAN": MirrorERSPAN} {
				for family, over := range []string{"IPv4", "IPv6"} {
					t.Run(name+" over "+over, func(t *testing.T) { s.testMirror(t, s.a.mirrorTarget(t, path, s.b, e, family)) })
				}
			}
			t.Run("choice", func(t *testing.T) { s.testMirrorChoice(t, s.a.mirrorTarget(t, path, s.b, MirrorVXLAN, 0)) })
			t.Run("segments", func(t *testing.T) { s.testMirrorSegments(t, s.a.mirrorTarget(t, path, s.b, MirrorVXLAN, 1)) })
			t.Run("goes", func(t *testing.T) { s.testMirrorsGo(t, s.a.mirrorTarget(t, path, s.b, MirrorGRE, 0)) })
		})
	}
}

func all(target uint32) [MaxMirrors]Mirror { return [MaxMirrors]Mirror{{Target: target, OneOf: 1}} }

func (s *site) testMirror(t *testing.T, target MirrorTarget) {
	check(t, s.a.d.MirrorTargets.Put(mirrorNumber, target))
	for family, to := range []*workload{s.a2, s.b1} { // on one host over IPv4, across over IPv6
		own, address := s.a1.addresses[family], to.addresses[family]
		s.a1.mustReach(t, address) // neighbours are known
		s.a.mirror(t, s.a1, Mirrors{Out: all(mirrorNumber), In: all(mirrorNumber)})
		ear := s.b.analyze(t)
		out, err := s.a1.ping(t, address, "-c", "5", "-i", "0.05")
		if err != nil || !strings.Contains(out, " 5 received") {
			t.Errorf("ping to %v of what is mirrored: %v\n%s", address, err, out)
		}
		copies, sequence := ear.copies(t, target)
		if requests, replies := echoes(copies, own, address); requests != 5 || replies != 5 {
			t.Errorf("of a ping to %v %d requests and %d replies came among %d copies, want 5 and 5", address, requests, replies, len(copies))
		}
		for i := 1; target.Encapsulation == MirrorERSPAN && i < len(sequence); i++ {
			if sequence[i] != sequence[i-1]+1 {
				t.Errorf("copy %d has number %d, after %d", i, sequence[i], sequence[i-1])
			}
		}
		check(t, s.a.do(func() error { return s.a.d.Mirrors.Delete(s.a1.ifindex) }))
		check(t, s.a.d.Ports.Put(s.a1.ifindex, s.a1.port()))
	}
}

// testMirrorChoice: directions, matches, sampling, and how much of a frame is copied.
func (s *site) testMirrorChoice(t *testing.T, target MirrorTarget) {
	target.Most = 64
	check(t, s.a.d.MirrorTargets.Put(mirrorNumber, target))
	requests := Mirror{Target: mirrorNumber, OneOf: 1, Matches: 1, Match: [MaxMirrorMatches]MirrorMatch{{Protocol: 1, ICMPType: 8, HasICMPType: true}}}
	some, none := requests, requests
	some.OneOf, none.Match[0].ICMPType = 4, 0
	own, to := s.a1.addresses[0], s.a2.addresses[0]
	for name, c := range map[string]struct {
		mirrors      Mirrors
		least, most  int // requests that are copied, of 100
		least2, max2 int // replies
	}{
		"out":               {Mirrors{Out: all(mirrorNumber)}, 100, 100, 0, 0},
		"in":                {Mirrors{In: all(mirrorNumber)}, 0, 0, 100, 100},
		"requests":          {Mirrors{Out: [MaxMirrors]Mirror{requests}, In: [MaxMirrors]Mirror{requests}}, 100, 100, 0, 0},
		"nothing":           {Mirrors{Out: [MaxMirrors]Mirror{none}}, 0, 0, 0, 0},
		"one of four":       {Mirrors{Out: [MaxMirrors]Mirror{some}}, 5, 60, 0, 0}, // 25; beyond these once in a million
		"two, one of these": {Mirrors{Out: [MaxMirrors]Mirror{2: requests, 3: none}}, 100, 100, 0, 0},
	} {
		s.a.mirror(t, s.a1, c.mirrors)
		ear := s.b.analyze(t)
		if out, err := s.a1.ping(t, to, "-c", "100", "-i", "0.002"); err != nil || !strings.Contains(out, " 100 received") {
			t.Errorf("%s: ping: %v\n%s", name, err, out)
		}
		copies, _ := ear.copies(t, target)
		asked, answered := echoes(copies, own, to)
		for _, f := range copies {
			if len(f) > 64 {
				t.Errorf("%s: a copy has %d bytes, want 64 at most", name, len(f))
			}
		}
		if asked < c.least || asked > c.most || answered < c.least2 || answered > c.max2 {
			t.Errorf("%s: %d requests and %d replies were copied, want %d to %d and %d to %d", name, asked, answered, c.least, c.most, c.least2, c.max2)
		}
		check(t, s.a.do(func() error { return s.a.d.Mirrors.Delete(s.a1.ifindex) }))
	}
	check(t, s.a.d.Ports.Put(s.a1.ifindex, s.a1.port()))
}

// testMirrorSegments: of frames that the kernel cuts later each packet is copied, with
// checksums that somebody can check, and the original arrives.
func (s *site) testMirrorSegments(t *testing.T, target MirrorTarget) {
	check(t, s.a.d.MirrorTargets.Put(mirrorNumber, target))
	s.a.mirror(t, s.a1, Mirrors{Out: all(mirrorNumber)})
	ear := s.b.analyze(t)
	const size = 2 << 20
	check(t, s.a1.send(t, s.a2, s.a2.serve(t, s.a2.addresses[0]), size))
	copies, _ := ear.copies(t, target)
	_, targets, err := s.a.d.MirrorUses()
	check(t, err)
	payload := 0
	for _, f := range copies {
		p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Lazy)
		if l, is := p.Layer(layers.LayerTypeTCP).(*layers.TCP); is {
			payload += int(p.NetworkLayer().(*layers.IPv4).Length) - 20 - 4*int(l.DataOffset) // also where the copy was cut
		}
	}
	c := targets[mirrorNumber]
	t.Logf("%d copies of %d bytes of TCP; %+v", len(copies), payload, c)
	if payload < size*9/10 || c.Cut == 0 { // the path's queue may lose copies, never originals
		t.Errorf("%d bytes of TCP were copied, want %d; %+v", payload, size, c)
	}
	check(t, s.a.do(func() error { return s.a.d.Mirrors.Delete(s.a1.ifindex) }))
	check(t, s.a.d.Ports.Put(s.a1.ifindex, s.a1.port()))
}

// testMirrorsGo: a mirror outlives the process, and nothing stays of one that is gone.
func (s *site) testMirrorsGo(t *testing.T, target MirrorTarget) {
	h, w := s.a, s.a1
	check(t, h.d.MirrorTargets.Put(mirrorNumber, target))
	m := Mirrors{Device: w.ifindex, Out: all(mirrorNumber), In: all(mirrorNumber)}
	m.In[0].Matches, m.In[0].Match[0] = 1, MirrorMatch{Protocol: 17, Ports: PortSpan{53, 54}, SourcePorts: PortSpan{1, 9}}
	h.mirror(t, w, m)
	h.d.Close()
	w.mustReach(t, s.a2.addresses[0]) // nobody is there, and it is copied
	var err error
	h.d, err = Load(Options{PinDir: h.pinDir, Sizes: h.sizes, Attachment: h.attachment})
	check(t, err)
	mirrors := func() (m map[int]Mirrors) {
		t.Helper()
		check(t, h.do(func() (err error) { m, err = h.d.Mirrors.All(); return err }))
		return m
	}
	if got := mirrors(); len(got) != 1 || got[w.ifindex] != m {
		t.Errorf("after a restart there are %+v, want %+v", got, m)
	}
	check(t, h.do(func() error { return h.d.Mirrors.Put(w.ifindex, m) }))
	eventually(t, "three copies come without a process", func() bool {
		_, targets, err := h.d.MirrorUses()
		return err == nil && targets[mirrorNumber].Packets >= 3
	})
	check(t, h.d.maps["mirrors"].Delete(&layoutMirrorKey{Ifindex: uint32(w.ifindex), Direction: mirrorIn})) // as an interrupted change does
	if got := mirrors(); got[w.ifindex].Device != 0 {
		t.Errorf("a count that nothing adds to does not show: %+v", got)
	}
	check(t, h.do(func() error { return h.d.Mirrors.Delete(w.ifindex) }))
	check(t, h.d.MirrorTargets.Delete(mirrorNumber))
	check(t, h.d.Ports.Put(w.ifindex, w.port()))
	w.mustReach(t, s.a2.addresses[0])
	pins, err := os.ReadDir(filepath.Join(h.pinDir, linksName))
	check(t, err)
	for _, p := range pins {
		if strings.HasPrefix(p.Name(), mirrorOutHook.name+"-") || strings.HasPrefix(p.Name(), mirrorInHook.name) || strings.HasPrefix(p.Name(), mirrorOutHook.filter().name) {
			t.Errorf("%s stays of a mirror that is gone", p.Name())
		}
	}
	uses, targets, err := h.d.MirrorUses()
	check(t, err)
	if got := mirrors(); len(got) > 0 || len(uses) > 0 || len(targets) > 0 {
		t.Errorf("%+v, %+v and %+v stay of a mirror that is gone", got, uses, targets)
	}
}
