// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
)

// ProxyKey is the key of a proxy's row.
func ProxyKey(balancer string) string { return "proxy/" + balancer }

// having is the view of a host that has other proxies than in v.
func (v *View) having(proxies *balance.Proxies) *View {
	now := *v
	now.proxies, now.proxied = proxies, nil
	if proxies != nil {
		for _, r := range proxies.Rows {
			now.proxied = append(now.proxied, Row{ProxyKey(r.Balancer), r.Hash, r.Row})
		}
	}
	return &now
}

func describeProxy(p *hoststream.Proxy) string {
	words := []string{p.LoadBalancerName, "port " + p.Port}
	for _, a := range p.Addresses {
		words = append(words, ipText(a))
	}
	return strings.Join(append(words, fmt.Sprintf("%d listeners, %d rules, %d pools, %d members", len(p.Listeners), len(p.Rules), len(p.Pools), len(p.Members))), "\t")
}
