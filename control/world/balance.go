// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/api"
)

// applyBalance reads the lines about load-balancers, and tells whether it was one:
//
//	balancer l [address=NETWORK:IP]... [haproxy] [project=q] [down]  (load-balancer l)
//	pool l o [UDP] [locality=WORD] [affinity=SECONDS] [algorithm=WORD] [down] (pool o of l)
//	listener l i TCP 80 [pool=o] [source=RANGE] [down]               (listener i of l)
//	member o m 80 [port=PORT] [ip=IP] [subnet=NETWORK:RANGE] [at=IP] [at-port=N] [weight=N] [draining | not-ready] [backup] [down]
//	monitor o TYPE [every=MS] [patience=MS] [rise=N] [fall=N] [codes=CODES] [down] (health-monitor of pool o)
//	agent h old|new                                                  (whether it serves virtual addresses: only a status changes)
//	tried m online|failed|untried                                    (what the monitor found: only a status changes)
func (w *World) applyBalance(f []string) bool {
	words := map[string]string{}
	for _, word := range f[1:] {
		key, value, _ := strings.Cut(word, "=")
		words[key] = value
	}
	state := api.AdminUp
	if _, down := words["down"]; down {
		state = api.AdminDown
	}
	switch f[0] {
	case "balancer":
		l := &api.LoadBalancer{}
		l.Meta.Parent = projectOf(f[2:])
		l.Spec.AdminState = state
		for _, word := range f[2:] {
			if at, ok := strings.CutPrefix(word, "address="); ok {
				l.Spec.Addresses = append(l.Spec.Addresses, Ref(api.KindAddress, at))
			}
			if word == api.ProviderHAProxy {
				l.Spec.Provider = word
			}
		}
		w.Put(l, api.KindLoadBalancer, f[1])
	case "pool":
		w.putPool(f, words, state)
	case "listener":
		l := &api.Listener{}
		l.Meta.Parent = Ref(api.KindLoadBalancer, f[1])
		l.Spec.Protocol, l.Spec.Port, l.Spec.AdminState = f[3], int(number(f[4])), state
		if pool := words["pool"]; pool != "" {
			l.Spec.Pool = Ref(api.KindPool, pool)
		}
		if source := words["source"]; source != "" {
			l.Spec.Sources = []netip.Prefix{netip.MustParsePrefix(source)}
		}
		w.Put(l, api.KindListener, f[2])
	case "member":
		w.putMember(f, words, state)
	case "monitor":
		m := &api.HealthMonitor{}
		m.Meta.Parent = Ref(api.KindPool, f[1])
		m.Spec.AdminState = state
		m.Spec.Probe = probeOf(f[2], words)
		w.Put(m, api.KindHealthMonitor, f[1])
	case "agent":
		if h, ok := w.Get(api.KindHost, UUID(api.KindHost, f[1])).(*api.Host); ok {
			h = api.Clone(h)
			if h.Status.Lacks = nil; f[2] == "old" {
				h.Status.Lacks = []string{"balance"}
			}
			w.SetStatus(h)
		}
	case "tried":
		if m, ok := w.Get(api.KindMember, UUID(api.KindMember, f[1])).(*api.Member); ok {
			m = api.Clone(m)
			m.Status.Conditions = []api.Condition{{Type: "Online", Status: f[2] == "online", Reason: f[2]}}
			w.SetStatus(m)
		}
	default:
		return false
	}
	return true
}

func (w *World) putPool(f []string, words map[string]string, state api.AdminState) {
	p := &api.Pool{}
	p.Meta.Parent = Ref(api.KindLoadBalancer, f[1])
	p.Spec.AdminState, p.Spec.Protocol = state, "TCP"
	p.Spec.Locality, p.Spec.Algorithm = words["locality"], words["algorithm"]
	for _, protocol := range []string{"UDP", "SCTP", "PROXY"} {
		if _, ok := words[protocol]; ok {
			p.Spec.Protocol = protocol
		}
	}
	if seconds := words["affinity"]; seconds != "" {
		p.Spec.Affinity = &api.Affinity{By: "source-address", Seconds: int(number(seconds))}
	}
	w.Put(p, api.KindPool, f[2])
}

func (w *World) putMember(f []string, words map[string]string, state api.AdminState) {
	m := &api.Member{}
	m.Meta.Parent = Ref(api.KindPool, f[1])
	m.Spec.TargetPort, m.Spec.AdminState = int(number(f[3])), state
	if port := words["port"]; port != "" {
		m.Spec.Port = Ref(api.KindPort, port)
	}
	if subnet := words["subnet"]; subnet != "" {
		m.Spec.Subnet = Ref(api.KindSubnet, subnet)
	}
	for word, field := range map[string]*netip.Addr{"ip": &m.Spec.IP, "at": &m.Spec.MonitorAddress} {
		if text := words[word]; text != "" {
			*field = netip.MustParseAddr(text)
		}
	}
	m.Spec.MonitorPort = optional(words["at-port"])
	if weight := words["weight"]; weight != "" {
		m.Spec.Weight = new(int(number(weight)))
	}
	for _, state := range []string{api.MemberDraining, api.MemberNotReady} {
		if _, ok := words[state]; ok {
			m.Spec.State = state
		}
	}
	_, m.Spec.Backup = words["backup"]
	w.Put(m, api.KindMember, f[2])
}

// RandomBalance returns a line that changes who serves what in the world of
// RandomEdit.
func RandomBalance(r *rand.Rand) string {
	ip := fmt.Sprintf("10.0.0.%d", 1+r.IntN(6))
	if r.IntN(3) == 0 {
		ip = fmt.Sprintf("2001:db8::%d", 1+r.IntN(6))
	}
	n := r.IntN(4)
	balancer, pool, member, listener := fmt.Sprintf("lb%d", r.IntN(3)), fmt.Sprintf("po%d", r.IntN(3)), fmt.Sprintf("me%d", r.IntN(6)), fmt.Sprintf("li%d", r.IntN(4))
	port := fmt.Sprintf("port=p%d", r.IntN(8))
	lines := []string{
		"balancer " + balancer,
		fmt.Sprintf("balancer %s address=n%d:10.0.0.9", balancer, n),
		fmt.Sprintf("balancer %s address=n%d:10.0.0.9 address=n%d:2001:db8::9", balancer, n, n),
		fmt.Sprintf("balancer %s address=n%d:10.0.0.9 address=n%d:2001:db8::9", balancer, n, r.IntN(4)),
		fmt.Sprintf("balancer %s address=n%d:%s", balancer, n, ip),
		fmt.Sprintf("balancer %s address=n%d:10.0.0.9 project=q0", balancer, n),
		fmt.Sprintf("balancer %s address=n%d:10.0.0.9 %s", balancer, n, []string{"down", "haproxy"}[r.IntN(2)]),
		fmt.Sprintf("address n%d 10.0.0.9\naddress n%d 2001:db8::9", n, n),
		fmt.Sprintf("address n%d 10.0.0.9 p%d", n, r.IntN(8)),
		fmt.Sprintf("pool %s %s", balancer, pool),
		fmt.Sprintf("pool %s %s UDP affinity=%d", balancer, pool, 1+r.IntN(3)),
		fmt.Sprintf("pool %s %s locality=%s", balancer, pool, []string{"only-host", "prefer-host", "prefer-zone", "any"}[r.IntN(4)]),
		fmt.Sprintf("pool %s %s %s", balancer, pool, []string{"down", "PROXY", "SCTP", "algorithm=source-address"}[r.IntN(4)]),
		fmt.Sprintf("listener %s %s TCP %d pool=%s", balancer, listener, 80+r.IntN(2), pool),
		fmt.Sprintf("listener %s %s TCP %d pool=%s", balancer, listener, 80+r.IntN(2), pool),
		fmt.Sprintf("listener %s %s %s 53 pool=%s", balancer, listener, []string{"UDP", "HTTP", "HTTPS", "SCTP"}[r.IntN(4)], pool),
		fmt.Sprintf("listener %s %s TCP 80 %s", balancer, listener, []string{"down", "source=10.0.0.0/8", ""}[r.IntN(3)]),
		fmt.Sprintf("member %s %s 80 %s", pool, member, port),
		fmt.Sprintf("member %s %s 81 %s weight=%d", pool, member, port, r.IntN(3)),
		fmt.Sprintf("member %s %s 80 %s %s", pool, member, port, []string{"draining", "not-ready", "backup", "down", "ip=" + ip}[r.IntN(5)]),
		fmt.Sprintf("member %s %s 80 ip=%s", pool, member, ip),
		fmt.Sprintf("member %s %s 80 ip=%s subnet=n%d:10.0.0.0/24", pool, member, ip, n),
		"monitor " + pool + " tcp" + []string{"", "", " down"}[r.IntN(3)],
		"tried " + member + " " + []string{"online", "untried", "unknown"}[r.IntN(3)],
		"tried " + member + " failed",
		fmt.Sprintf("agent h%d %s", 1+r.IntN(3), []string{"old", "new", "new"}[r.IntN(3)]),
		fmt.Sprintf("remove %s %s", api.KindHealthMonitor, pool),
		fmt.Sprintf("remove %s %s", api.KindMember, member),
		fmt.Sprintf("remove %s %s", api.KindListener, listener),
		fmt.Sprintf("remove %s %s", api.KindPool, pool),
		fmt.Sprintf("remove %s %s", api.KindLoadBalancer, balancer),
		fmt.Sprintf("remove %s n%d:10.0.0.9", api.KindAddress, n),
	}
	return lines[r.IntN(len(lines))]
}
