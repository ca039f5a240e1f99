// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/haproxy"
)

// interfaceName is what a proxy's port is called in its namespace.
const interfaceName = "eth0"

// vrrpConfig is keepalived's configuration of one of a pair; at is where the proxy's own files are,
// and alive a program that tells whether it runs. The two agree by one family, for both: the
// addresses are never half here and half there. That neither takes the addresses from the other
// without need (nopreempt) spares clients a break when a host comes back.
func vrrpConfig(p *desired.Proxy, alive string) string {
	meet := func(family bool) bool {
		return ofFamily(p.Own, family).IsValid() && (len(p.Peer) == 0 || ofFamily(p.Peer, family).IsValid())
	}
	first := p.Addresses[0].Is4()
	if !meet(first) && meet(!first) && ofFamily(p.Addresses, !first).IsValid() { // keepalived wants an address of the family that it speaks
		first = !first
	}
	own, peer := ofFamily(p.Own, first), ofFamily(p.Peer, first)
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n  router_id weft\n  vrrp_version 3\n  script_user root\n  enable_script_security\n}\n")
	fmt.Fprintf(&b, "vrrp_script alive {\n  script \"/bin/sh %s\"\n  interval 1\n  timeout 1\n  fall 1\n  rise 1\n}\n", alive)
	fmt.Fprintf(&b, "vrrp_instance pair {\n  state BACKUP\n  nopreempt\n  interface %s\n  virtual_router_id %d\n  priority %d\n  advert_int 0.3\n", interfaceName, routerID(p.Balancer), p.Priority)
	if own.IsValid() && peer.IsValid() {
		fmt.Fprintf(&b, "  unicast_src_ip %v\n  unicast_peer {\n    %v\n  }\n", own, peer)
	}
	// What was said may be lost, and what was lost is said again.
	fmt.Fprintf(&b, "  garp_master_delay 1\n  garp_master_repeat 3\n  garp_master_refresh 10\n  garp_master_refresh_repeat 1\n")
	fmt.Fprintf(&b, "  track_script {\n    alive\n  }\n")
	section := func(name string, family bool) {
		var lines []string
		for _, a := range p.Addresses {
			if a.Is4() == family {
				lines = append(lines, fmt.Sprintf("    %v/%d dev %s%s\n", a, a.BitLen(), interfaceName, map[bool]string{false: " preferred_lft 0"}[family]))
			}
		}
		if len(lines) > 0 {
			fmt.Fprintf(&b, "  %s {\n%s  }\n", name, strings.Join(lines, ""))
		}
	}
	section("virtual_ipaddress", first)
	section("virtual_ipaddress_excluded", !first)
	b.WriteString("}\n")
	return b.String()
}

// routerID is the number by which the two of a pair know each other, from 1 to 255. One whose peer
// is gone speaks to all of its network, and there another pair's may not be taken for the peer.
func routerID(balancer string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(balancer))
	return 1 + h.Sum32()%255
}

// ofFamily is the first address of IPv4, or of IPv6.
func ofFamily(all []netip.Addr, four bool) netip.Addr {
	for _, a := range all {
		if a.Is4() == four {
			return a
		}
	}
	return netip.Addr{}
}

// aliveScript succeeds while the master of the proxy in a directory runs. Its number alone may
// be another process's by now.
func aliveScript(dir string) string {
	return fmt.Sprintf("#!/bin/sh\nexec grep -aqF '%s/%s' \"/proc/$(head -n 1 '%s')/cmdline\" 2>/dev/null\n", dir, haproxy.ConfigFile, filepath.Join(dir, haproxy.PIDFile))
}
