// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// backend is the section that serves a listener by a pool; owner is who asks for it. A pool has a
// section for each listener, which have their own timeouts, and is tried in the first of them.
func (r *render) backend(l *Listener, pool, owner string) (name string, ok bool) {
	p, mode := r.pools[pool], modes[l.Protocol]
	if p == nil {
		r.partly(owner, NoPool, "its pool is not one of the load-balancer: its requests are refused")
		return "", false
	}
	if at := slices.IndexFunc(r.used, func(u use) bool { return u.listener == l && u.pool == p }); at >= 0 {
		return backendName(r.used[at]), true
	}
	if _, refused := r.refused[pool]; refused {
		r.left(pool)
		return "", false
	}
	switch {
	case !uuid.MatchString(pool):
		r.left(pool)
		return "", false
	case !slices.Contains(speaks[mode], p.Protocol):
		r.partly(owner, Unfit, "the pool speaks %s, and not what %s is passed on as: %s", p.Protocol, l.Protocol, strings.Join(speaks[mode], ", "))
		return "", false
	case p.TLS != nil && !r.spokenSecurely(p):
		return "", false
	}
	u := use{l, p, mode}
	r.used = append(r.used, u)
	return backendName(u), true
}

// speaks are the protocols of pools by how much of it the listener reads.
var speaks = map[string][]string{
	"http": {"HTTP", "HTTPS", "PROXY", "PROXYV2"},
	"tcp":  {"TCP", "HTTP", "HTTPS", "PROXY", "PROXYV2"},
}

func backendName(u use) string { return "pool-" + u.pool.ID + "-" + u.listener.ID }

// algorithms are HAProxy's words for how a member is chosen. There is one process for all
// clients, so what is by hash for native load-balancers is in turn here.
var algorithms = map[string]string{"": "roundrobin", "maglev": "roundrobin", "round-robin": "roundrobin", "least-connections": "leastconn", "source-address": "source"}

// backendSection writes a pool for a listener.
func (r *render) backendSection(u use) {
	r.out.section(u.pool.ID, "backend", backendName(u))
	r.out.line("mode", u.mode)
	algorithm, known := algorithms[u.pool.Algorithm]
	if !known {
		r.partly(u.pool.ID, Unfit, "algorithm %q is not known here: members are chosen in turn", u.pool.Algorithm)
		algorithm = "roundrobin"
	}
	if a := u.pool.Affinity; a != nil && a.By == "source-address" {
		algorithm = "source"
	}
	r.out.line("balance", algorithm)
	if algorithm == "source" {
		r.out.line("hash-type", "consistent")
	}
	if ms := u.listener.Timeouts.ConnectMS; ms > 0 {
		r.out.line("timeout", "connect", strconv.Itoa(ms))
	}
	if ms := u.listener.Timeouts.MemberMS; ms > 0 {
		r.out.line("timeout", "server", strconv.Itoa(ms))
	}
	cookies := r.affinity(u)
	checked := r.monitor(u)
	for _, m := range u.pool.Members {
		r.member(u, &m, cookies, checked)
	}
	if len(u.pool.Members) == 0 {
		r.partly(u.pool.ID, NoPool, "it has no member: connections are refused")
	}
}

// affinity writes how a client keeps its member, and tells whether members have cookies. Nothing is
// remembered here, which a reload or the other proxy of a pair would not know: cookies are with clients,
// and an address is hashed.
func (r *render) affinity(u use) (cookies bool) {
	a := u.pool.Affinity
	if a == nil {
		return false
	}
	switch {
	case a.By == "source-address": // as the algorithm of that name
	case u.mode != "http":
		r.partly(u.pool.ID, Unfit, "affinity by %s is for HTTP, and a listener passes it on unread: clients are not remembered there", a.By)
	case a.By == "http-cookie":
		r.out.line("cookie", "weft", "insert", "indirect", "nocache", "httponly", "maxidle", strconv.Itoa(cmp.Or(a.Seconds, 10800))+"s")
		return true
	case a.By == "app-cookie" && token.MatchString(a.Cookie):
		// The application's own cookie tells the member, before what the application says.
		r.out.line("cookie", a.Cookie, "prefix", "nocache")
		return true
	default:
		r.partly(u.pool.ID, Unfit, "affinity by %s with cookie %q is not known here: clients are not remembered", a.By, a.Cookie)
	}
	return false
}

// monitor writes how members are tried, and tells whether they are.
func (r *render) monitor(u use) (checked bool) {
	m := u.pool.Monitor
	if m == nil || r.tried(u) {
		return false
	}
	if _, refused := r.refused[u.pool.ID+monitorOf]; refused {
		return false
	}
	switch m.Type {
	case "tcp", "tls":
	case "http", "https":
		test := m.Test()
		if !printable(test.Path+test.Host) || strings.ContainsAny(test.Path+test.Host, " ") || !httpMethod.MatchString(test.Method) {
			r.partly(u.pool.ID, Unfit, "its monitor's request %s %q of %q is none: members are not tried", test.Method, test.Path, test.Host)
			return false
		}
		r.out.line("option", "httpchk")
		send := []string{"http-check", "send", "meth", test.Method, "uri", test.Path, "ver", "HTTP/" + test.Version}
		if test.Host != "" {
			send = append(send, "hdr", "Host", literal(test.Host))
		}
		r.out.line(send...)
		r.out.line("http-check", "expect", "status", test.Codes)
	default:
		r.partly(u.pool.ID, Unfit, "HAProxy does not try members by %s: use tcp, tls, http or https", m.Type)
		return false
	}
	r.out.line("timeout", "check", strconv.Itoa(int(m.Patience().Milliseconds())))
	return true
}

// monitorOf is not used by any UUID.
const monitorOf = "/monitor"

// tried tells whether an earlier section tries the pool's members.
func (r *render) tried(u use) bool {
	first := slices.IndexFunc(r.used, func(o use) bool { return o.pool == u.pool })
	return r.used[first] != u
}

// member writes one server.
func (r *render) member(u use, m *Member, cookies, checked bool) {
	server := "member-" + m.ID
	first, known := r.Servers[m.ID]
	switch {
	case r.left(m.ID):
		return
	case !m.Address.IsValid():
		r.fault(m.ID, NoAddress, "it has no address: a port without one, or that is gone")
		return
	case m.Port == 0:
		r.fault(m.ID, Unfit, "it has no target port")
		return
	case r.servers >= maxServers:
		r.fault(m.ID, TooMany, "the load-balancer has %d members before it, once for each listener: more are not used", maxServers)
		return
	}
	r.servers++
	words := []string{"server", server, netip.AddrPortFrom(m.Address, m.Port).String(), "weight", strconv.Itoa(weight(m))}
	if m.Backup {
		words = append(words, "backup")
	}
	if m.State == "not-ready" {
		words = append(words, "disabled")
	}
	if cookies {
		words = append(words, "cookie", cookieOf(m.ID))
	}
	switch u.pool.Protocol {
	case "PROXY":
		words = append(words, "send-proxy")
	case "PROXYV2":
		words = append(words, "send-proxy-v2")
	}
	words = append(words, r.memberTLS(u)...)
	switch {
	case checked:
		words = append(words, r.checkWords(u, m)...)
	case known && first.Tried:
		words = append(words, "track", first.Backend+"/"+first.Name)
	}
	if !known {
		r.Servers[m.ID] = Server{backendName(u), server, checked}
	}
	owner := r.out.owner
	r.out.owner = m.ID
	r.out.line(words...)
	r.out.owner = owner
}

// weight is a member's share. One that drains gets no new clients, and keeps those that a
// cookie brings.
func weight(m *Member) int {
	if m.State == "draining" {
		return 0
	}
	return min(max(m.Weight, 0), 256)
}

// cookieOf is what clients show for a member: not its UUID, which is nobody's business.
func cookieOf(id string) string {
	sum := sha256.Sum256([]byte("weft cookie " + id))
	return hex.EncodeToString(sum[:8])
}

func (r *render) checkWords(u use, m *Member) []string {
	probe := u.pool.Monitor
	words := []string{"check", "inter", strconv.Itoa(int(probe.Every().Milliseconds())), "rise", strconv.Itoa(probe.Rises()), "fall", strconv.Itoa(probe.Falls())}
	if m.MonitorAddress.IsValid() {
		words = append(words, "addr", m.MonitorAddress.String())
	}
	if port := cmp.Or(int(m.MonitorPort), probe.Port); port != 0 {
		words = append(words, "port", strconv.Itoa(port))
	}
	if probe.Type == "tls" || probe.Type == "https" {
		words = append(words, "check-ssl")
		if u.pool.TLS == nil {
			words = append(words, "verify", "none")
		}
	}
	return words
}
