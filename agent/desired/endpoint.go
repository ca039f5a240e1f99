// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/api/hoststream"
)

// ToldMTU is what this host is told that its own underlay carries, in bytes; 0:
// nothing.
func (r Rows) ToldMTU() int { return r.Endpoints[r.own].MTU }

func (r *Rows) insertEndpoint(key string, m *hoststream.TunnelEndpoint) (string, error) {
	e, err := endpoint(m)
	if err != nil {
		return "", err
	}
	k := EndpointRow(e.Host)
	if k == key {
		r.Endpoints[e.Host] = e
		if e.Own {
			r.own = e.Host
		}
	}
	return k, nil
}

func (r *Rows) removeEndpoint(host string) {
	delete(r.Endpoints, host)
	if r.own == host {
		r.own = ""
	}
}

func endpoint(m *hoststream.TunnelEndpoint) (Endpoint, error) {
	e := Endpoint{Host: m.Host, Name: m.HostName, MTU: int(m.UnderlayMtu), Encapsulations: m.Encapsulations, Own: m.Own}
	for _, n := range m.PhysicalNetworks {
		if e.Physical == nil {
			e.Physical = map[string]string{}
		}
		e.Physical[n.Name] = n.Interface
	}
	for _, raw := range m.Addresses {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return e, fmt.Errorf("tunnel endpoint %s: address of %d bytes", m.HostName, len(raw))
		}
		e.Addresses = append(e.Addresses, a.Unmap())
	}
	return e, nil
}
