// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// applyHealth reads the lines about how ports are tried, and tells whether it was one:
//
//	health-check c TYPE [every=MS] [patience=MS] [rise=N] [fall=N] [codes=CODES] [port=N] [scope=SCOPE] [withdraw]
//	check PORT c                              (PORT names c)
//	found PORT c REASON [withdrawn]           (in the status of PORT)
func (w *World) applyHealth(f []string) bool {
	words := map[string]string{}
	for _, word := range f[1:] {
		key, value, _ := strings.Cut(word, "=")
		words[key] = value
	}
	switch f[0] {
	case "health-check":
		h := &api.HealthCheck{}
		h.Meta.Parent = api.Ref{UUID: "project-p", Name: "d:p"}
		h.Spec = api.HealthCheckSpec{Probe: probeOf(f[2], words), Scope: words["scope"]}
		h.Spec.Probe.Port = optional(words["port"])
		if _, ok := words["withdraw"]; ok {
			h.Spec.OnFault = api.OnFaultWithdraw
		}
		w.Put(h, api.KindHealthCheck, f[1])
	case "check":
		change(w, api.KindPort, f[1], func(p *api.Port) {
			p.Spec.HealthChecks = slices.Clone(p.Spec.HealthChecks)
			addRef(&p.Spec.HealthChecks, api.KindHealthCheck, f[2])
		})
	case "found":
		w.found(f[1], api.CheckedPort{Check: Ref(api.KindHealthCheck, f[2]), Online: f[3] == "online", Reason: f[3], Message: "as it said", Withdrawn: len(f) > 4})
	default:
		return false
	}
	return true
}

func (w *World) found(port string, c api.CheckedPort) {
	if p, ok := w.Get(api.KindPort, UUID(api.KindPort, port)).(*api.Port); ok {
		p = api.Clone(p)
		p.Status.HealthChecks, p.Status.Withdrawn = append(p.Status.HealthChecks, c), p.Status.Withdrawn || c.Withdrawn
		w.SetStatus(p)
	}
}

func probeOf(kind string, words map[string]string) api.Probe {
	p := api.Probe{Type: kind, Interval: optional(words["every"]), Timeout: optional(words["patience"]), Rise: optional(words["rise"]), Fall: optional(words["fall"])}
	if codes := words["codes"]; codes != "" {
		p.HTTP = &api.HTTPTest{Codes: codes, Path: "/healthz"}
	}
	return p
}

// optional is a number that may be missing.
func optional(text string) int {
	if text == "" {
		return 0
	}
	return int(number(text))
}

// RandomHealth returns a line that changes who of the world of RandomEdit is
// tried, or how.
func RandomHealth(r *rand.Rand) string {
	n := r.IntN(4)
	ip := fmt.Sprintf("10.0.0.%d", 1+r.IntN(6))
	if r.IntN(3) == 0 {
		ip = fmt.Sprintf("2001:db8::%d", 1+r.IntN(6))
	}
	balancer, pool, member := fmt.Sprintf("lb%d", r.IntN(2)), fmt.Sprintf("po%d", r.IntN(3)), fmt.Sprintf("me%d", r.IntN(6))
	kind := []string{"tcp", "http codes=200-204", "ping", "udp every=1000 patience=200", "sctp", "tls rise=1 fall=1"}[r.IntN(6)]
	lines := []string{
		"balancer " + balancer,
		fmt.Sprintf("address n%d %s\nbalancer %s address=n%d:%s", n, ip, balancer, n, ip),
		"balancer " + balancer + " down",
		"pool " + balancer + " " + pool,
		"pool " + balancer + " " + pool,
		"pool " + balancer + " " + pool + " down",
		fmt.Sprintf("member %s %s 80 port=p%d", pool, member, r.IntN(8)),
		fmt.Sprintf("member %s %s 81 port=p%d", pool, member, r.IntN(8)),
		fmt.Sprintf("member %s %s 80 port=p%d ip=%s", pool, member, r.IntN(8), ip),
		fmt.Sprintf("member %s %s 80 port=p%d at=%s at-port=8080", pool, member, r.IntN(8), ip),
		fmt.Sprintf("member %s %s 80 port=p%d down", pool, member, r.IntN(8)),
		fmt.Sprintf("member %s %s 80 ip=%s", pool, member, ip),
		fmt.Sprintf("member %s %s 80 ip=%s subnet=n%d:10.0.0.0/24", pool, member, ip, n),
		"monitor " + pool + " " + kind,
		"monitor " + pool + " " + kind,
		"monitor " + pool + " " + kind + " down",
		fmt.Sprintf("health-check c%d %s", r.IntN(2), kind),
		fmt.Sprintf("health-check c%d %s port=%d withdraw", r.IntN(2), kind, 80+r.IntN(2)),
		fmt.Sprintf("health-check c%d ping scope=segment", r.IntN(2)),
		fmt.Sprintf("check p%d c%d", r.IntN(8), r.IntN(2)),
		fmt.Sprintf("check p%d c%d", r.IntN(8), r.IntN(2)),
		fmt.Sprintf("remove %s c%d", api.KindHealthCheck, r.IntN(2)),
		fmt.Sprintf("remove %s %s", api.KindHealthMonitor, pool),
		fmt.Sprintf("remove %s %s", api.KindMember, member),
		fmt.Sprintf("remove %s %s", api.KindPool, pool),
		fmt.Sprintf("remove %s %s", api.KindLoadBalancer, balancer),
	}
	return lines[r.IntN(len(lines))]
}
