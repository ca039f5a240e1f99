// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/agent/proxy"
)

// The words of --proxies.
const (
	proxiesAuto = "auto"
	proxiesNone = "none"
)

// proxyUser is whom Debian's package makes for HAProxy's workers.
const proxyUser = "haproxy"

// proxies is what has the proxies of this host, and nothing where it can have none. The loop must
// not run yet.
func (a agent) proxies(core *host.Core, loop *host.Loop, plugger *plug.Plugger) []func(context.Context) {
	if a.flags.proxies == proxiesNone {
		return nil
	}
	k, err := proxy.New(proxy.Options{Root: filepath.Join(a.flags.Run, proxy.Directory), Certificates: a.flags.certificates, User: proxyUser}, loop, plugger, a.log)
	if err != nil {
		a.log.Info("this host has no proxies of load-balancers", "reason", err)
		return nil
	}
	core.AddFeature(proxy.Feature)
	return []func(context.Context){k.Run}
}
