// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
)

// Proxy is a proxy of a load-balancer that this host has. It never changes: another row is another one.
type Proxy struct {
	Balancer  string // UUID
	Name      string // of the load-balancer, fully qualified
	Port      string // UUID
	Addresses []netip.Addr
	Own, Peer []netip.Addr // of its port, and of the other one's
	Priority  int
	Row       *hoststream.Proxy
}

const proxyPrefix = "proxy/"

// ProxyRow is the key of a proxy's row.
func ProxyRow(balancer string) string { return proxyPrefix + balancer }

// removeProxy forgets a proxy by its key, and tells whether the key is of one.
func (r *Rows) removeProxy(key string) bool {
	balancer, is := strings.CutPrefix(key, proxyPrefix)
	if is {
		delete(r.Proxies, balancer)
	}
	return is
}

// maxPriority is VRRP's for who has the addresses by themselves less one.
const maxPriority = 254

func (r *Rows) insertProxy(key string, m *hoststream.Proxy) (string, error) {
	p := &Proxy{Balancer: m.LoadBalancer, Name: m.LoadBalancerName, Port: m.Port, Priority: int(m.Priority), Row: m}
	for raw, into := range map[*[][]byte]*[]netip.Addr{&m.Addresses: &p.Addresses, &m.Own: &p.Own, &m.Peer: &p.Peer} {
		for _, bytes := range *raw {
			a, ok := netip.AddrFromSlice(bytes)
			if !ok {
				return "", fmt.Errorf("proxy of %s: address of %d bytes", m.LoadBalancerName, len(bytes))
			}
			*into = append(*into, a.Unmap())
		}
	}
	if len(p.Addresses) == 0 || p.Priority < 1 || p.Priority > maxPriority {
		return "", fmt.Errorf("proxy of %s: %d addresses with priority %d cannot be", m.LoadBalancerName, len(p.Addresses), p.Priority)
	}
	k := ProxyRow(p.Balancer)
	if k == key {
		r.Proxies[p.Balancer] = p
	}
	return k, nil
}
