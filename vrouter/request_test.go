// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// requester loads a world whose loopback interface is a port with DHCP, and
// returns what sends one request and the frame of it.
func requester(t *testing.T, c Config) (*Datapath, func(), []byte) {
	t.Helper()
	d := loadForTest(t, smallSizes)
	check(t, d.Ports.Put(loopback, Port{VRF: 1, MAC: portMAC(loopback), DHCP4: true}))
	check(t, d.SetConfig(c))
	s := ipSpec{source: netip.IPv4Unspecified(), destination: broadcast4, protocol: 17, hops: 64}
	s.payload = append([]byte{0, 68, 0, 67, 0, 0, 0, 0}, make([]byte, 240)...)
	frame := ethernetFrame(MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, portMAC(loopback), s.ethertype(), s.build())
	return d, func() {
		_, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame})
		check(t, err)
	}, frame
}

func countsByReason(t *testing.T, d *Datapath) map[string]uint64 {
	t.Helper()
	all, err := d.Drops()
	check(t, err)
	counts := map[string]uint64{}
	for _, drop := range all {
		counts[drop.Name] += drop.Packets
	}
	return counts
}

// While no agent reads, about a hundred requests wait and the others are
// counted; the next reader gets those that waited.
func TestRequestsWaitForAReader(t *testing.T) {
	d, ask, frame := requester(t, Config{})
	const asked = 300
	for range asked {
		ask()
	}
	unheard := countsByReason(t, d)["request-unheard"]
	waiting := asked - int(unheard)
	if waiting < 100 || waiting > 130 {
		t.Fatalf("%d of %d requests wait, %d were not heard", waiting, asked, unheard)
	}
	r, err := d.OpenRequests()
	check(t, err)
	defer r.Close()
	for range waiting {
		q, err := r.Next()
		check(t, err)
		if q.Ifindex != loopback || !bytes.Equal(q.Frame, frame) {
			t.Fatalf("read %d bytes from interface %d", len(q.Frame), q.Ifindex)
		}
	}
	ask() // there is room again
	if _, err := r.Next(); err != nil {
		t.Error(err)
	}
}

// A port has its burst of requests and then no more for the interval.
func TestRequestsAreLimited(t *testing.T) {
	d, ask, _ := requester(t, Config{})
	for _, c := range []struct {
		burst   int
		refused uint64 // since the beginning: one has been taken when five may be
	}{{1, 19}, {5, 35}} {
		check(t, d.SetConfig(Config{RequestBurst: c.burst, RequestInterval: time.Hour}))
		for range 20 {
			ask()
		}
		if limited := countsByReason(t, d)["request-limited"]; limited != c.refused {
			t.Errorf("with a burst of %d, %d requests were refused, want %d", c.burst, limited, c.refused)
		}
	}
	check(t, d.Forget(loopback))
	ask()
	if counts := countsByReason(t, d); counts["request-limited"] != 0 {
		t.Errorf("a port of a forgotten interface's number is refused: %v", counts)
	}
}
