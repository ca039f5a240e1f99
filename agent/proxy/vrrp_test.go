// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/process"
)

// What keepalived is told: who the peer is, in a family that both have, and all addresses,
// those of the other family with the first one's. The real program accepts it.
func TestPairsAgree(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	both, other := []netip.Addr{four, six}, []netip.Addr{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("fd00::3")}
	room := roomWithPort(t)
	virtual := []netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::9")}
	for name, c := range map[string]struct {
		own, peer, addresses []netip.Addr
		want                 []string
	}{
		"both families":               {both, other, virtual, []string{"unicast_src_ip 10.0.0.2", "    10.0.0.3\n", "virtual_ipaddress {\n    10.0.0.9/32", "virtual_ipaddress_excluded {\n    fd00::9/128"}},
		"IPv6 alone":                  {both[1:], other[1:], virtual[1:], []string{"unicast_src_ip fd00::2", "    fd00::3\n", "virtual_ipaddress {\n    fd00::9/128"}},
		"meeting in the other family": {both[:1], other[:1], []netip.Addr{virtual[1], virtual[0]}, []string{"unicast_src_ip 10.0.0.2", "virtual_ipaddress {\n    10.0.0.9/32", "virtual_ipaddress_excluded {\n    fd00::9/128"}},
		"not meeting":                 {both[:1], other[:1], virtual[1:], []string{"virtual_ipaddress {\n    fd00::9/128"}},
		"without a peer":              {both, nil, virtual, []string{"virtual_ipaddress {\n    10.0.0.9/32"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			alive := filepath.Join(dir, aliveFile)
			p := &desired.Proxy{Balancer: "one", Own: c.own, Peer: c.peer, Addresses: c.addresses, Priority: 100}
			text := vrrpConfig(p, alive)
			for _, want := range append(c.want, fmt.Sprintf("virtual_router_id %d\n", routerID("one"))) {
				if !strings.Contains(text, want) {
					t.Errorf("there is no %q in\n%s", want, text)
				}
			}
			file := filepath.Join(dir, speakerFile)
			if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.WriteFile(alive, []byte(aliveScript(dir)), 0o600)); err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			c := exec.CommandContext(t.Context(), "keepalived", "--config-test", "--log-console", "-f", file)
			c.Stdout, c.Stderr = &said, &said
			if err := errors.Join(process.Inside(room, c.Start), c.Wait()); err != nil || said.Len() > 0 {
				t.Errorf("keepalived says %v\n%s of\n%s", err, &said, text)
			}
		})
	}
}

// Two pairs of one network are two to each other.
func TestPairsHaveNumbers(t *testing.T) {
	seen := map[uint32]bool{}
	for i := range 1000 {
		id := routerID(fmt.Sprint(i))
		if id < 1 || id > 255 {
			t.Fatalf("number %d is none of VRRP's", id)
		}
		seen[id] = true
	}
	if len(seen) < 200 {
		t.Errorf("1000 pairs have %d numbers", len(seen))
	}
}

// roomWithPort is a network namespace with the interface that a proxy has.
func roomWithPort(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rooms", "one")
	if err := ensureRoom(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeRoom(path); err != nil {
			t.Error(err)
		}
	})
	ns, err := netns.GetFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: interfaceName}, PeerName: "peer"}); err != nil {
		t.Fatal(err)
	}
	return path
}
