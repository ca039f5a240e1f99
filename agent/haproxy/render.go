// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ConfigFile is the name of the configuration.
const ConfigFile = "haproxy.cfg"

// Names of sockets and files in the directory of a place.
const (
	statsSocket  = "stats.sock"
	masterSocket = "master.sock"
	statesFile   = "servers.state"
	certificates = "certificates"
)

// Rendered is the files that a proxy needs, and what cannot be served.
type Rendered struct {
	Files   map[string][]byte // by path below the directory
	Faults  []Fault           // by object, in the order in which they are found
	Servers map[string]Server // that tell of each member, by its UUID

	owners []string
}

// Server is a member as HAProxy knows it.
type Server struct {
	Backend, Name string
	Tried         bool
}

// Owner is the object that a line of the configuration, counted from 1, is there for.
func (r *Rendered) Owner(line int) string {
	if line < 1 || line > len(r.owners) {
		return ""
	}
	return r.owners[line-1]
}

// Text is the configuration.
func (r *Rendered) Text() string { return string(r.Files[ConfigFile]) }

// render is one rendering.
type render struct {
	Rendered
	*Proxy
	place   Place
	out     config
	refused map[string]string
	pools   map[string]*Pool
	servers int
	// Of the listener that is being written.
	chosen, actions []chosen
	unasked         string // a rule that rejects, and cannot be asked
	// Of all listeners.
	used []use
}

// use is a pool as a listener has it.
type use struct {
	listener *Listener
	pool     *Pool
	mode     string
}

// Render is the configuration of a proxy in a place. What is refused, by UUID with the reason, is
// left out.
func Render(p *Proxy, place Place, refused map[string]string) Rendered {
	r := &render{Proxy: p, place: place, refused: refused, pools: map[string]*Pool{}}
	r.Files, r.Servers = map[string][]byte{}, map[string]Server{}
	for i := range p.Pools {
		r.pools[p.Pools[i].ID] = &p.Pools[i]
	}
	r.global()
	for i := range p.Listeners {
		r.listener(&p.Listeners[i], i)
	}
	for _, u := range r.used {
		r.backendSection(u)
	}
	r.Files[ConfigFile] = []byte(r.out.text.String())
	r.owners = r.out.owners
	return r.Rendered
}

func (r *render) fault(id, reason, message string, args ...any) {
	r.Faults = append(r.Faults, Fault{ID: id, Reason: reason, Message: fmt.Sprintf(message, args...)})
}

func (r *render) partly(id, reason, message string, args ...any) {
	r.fault(id, reason, message, args...)
	r.Faults[len(r.Faults)-1].Partly = true
}

// uuid is what objects are told by; anything else is no name of a section.
var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// left tells whether an object is left out, and says why.
func (r *render) left(id string) bool {
	why, refused := r.refused[id]
	switch {
	case refused:
		r.fault(id, Refused, "HAProxy refuses it: %s", why)
	case !uuid.MatchString(id):
		r.fault(id, Unfit, "%q is no UUID", id)
		refused = true
	}
	return refused
}

func (r *render) path(name string) string { return r.place.Dir + "/" + name }

func (r *render) global() {
	r.out.section("", "global")
	for _, words := range [][]string{
		{"stats", "socket", r.path(statsSocket), "mode", "600", "level", "admin", "expose-fd", "listeners"},
		{"stats", "timeout", "10s"},
		{"server-state-file", r.path(statesFile)},
		{"maxconn", strconv.Itoa(r.place.connections())},
		{"nbthread", strconv.Itoa(max(r.place.Procs, 1))},
		// Who is still served by a former process keeps it for so long.
		{"hard-stop-after", "10m"},
		{"ssl-default-bind-options", "ssl-min-ver", "TLSv1.2"},
		{"tune.ssl.default-dh-param", "2048"},
	} {
		r.out.line(words...)
	}
	if r.place.User != "" {
		r.out.line("user", r.place.User)
		r.out.line("group", r.place.User)
	}
	if r.place.Jail != "" {
		r.out.line("chroot", r.place.Jail)
	}
	r.out.section("", "defaults")
	for _, words := range [][]string{
		{"mode", "http"}, {"load-server-state-from-file", "global"}, {"option", "redispatch"}, {"retries", "3"},
		{"timeout", "connect", "5s"}, {"timeout", "client", "50s"}, {"timeout", "server", "50s"},
		{"timeout", "http-request", "10s"}, {"timeout", "queue", "30s"}, {"timeout", "tunnel", "1h"}, {"timeout", "check", "2s"},
	} {
		r.out.line(words...)
	}
}

// modes are HAProxy's words for how much of a protocol is read.
var modes = map[string]string{"TCP": "tcp", "HTTPS": "tcp", "HTTP": "http", "TERMINATED_HTTPS": "http", "PROMETHEUS": "http"}

func (r *render) listener(l *Listener, index int) {
	if r.left(l.ID) {
		return
	}
	mode, known := modes[l.Protocol]
	switch {
	case index >= maxListeners:
		r.fault(l.ID, TooMany, "the load-balancer has %d listeners before it: more are not served", maxListeners)
		return
	case !known:
		r.fault(l.ID, Unfit, "HAProxy does not speak %s: use a load-balancer of provider native", l.Protocol)
		return
	case len(r.Addresses) == 0:
		r.fault(l.ID, NoAddress, "the load-balancer has no address")
		return
	case l.Port == 0:
		r.fault(l.ID, Unfit, "it has no port")
		return
	}
	var secure []string
	if l.Protocol == "TERMINATED_HTTPS" {
		var ok bool
		if secure, ok = r.secured(l); !ok {
			return
		}
	}
	r.out.section(l.ID, "frontend", "listener-"+l.ID)
	r.out.line("mode", mode)
	for _, a := range r.Addresses {
		r.out.line(append([]string{"bind", netip.AddrPortFrom(a, l.Port).String(), "transparent"}, secure...)...)
	}
	r.limits(l)
	r.chosen, r.actions, r.unasked = nil, nil, ""
	switch {
	case l.Protocol == "PROMETHEUS":
		r.out.line("http-request", "use-service", "prometheus-exporter")
		return
	case mode == "http":
		r.requests(l)
	default:
		for _, rule := range l.Rules {
			r.fault(rule.ID, Unfit, "the listener passes %s on unread: rules are for HTTP and TERMINATED_HTTPS", l.Protocol)
			r.passOver(&rule)
		}
		if r.unasked != "" {
			r.fault(l.ID, Unfit, "listener-rule %s rejects requests, and cannot be asked: connections are refused", r.unasked)
			r.out.line("tcp-request", "connection", "reject")
		}
	}
	if l.Pool == "" {
		r.partly(l.ID, NoPool, "it has no pool: what no rule sends elsewhere is refused")
		return
	}
	if backend, ok := r.backend(l, l.Pool, l.ID); ok {
		r.out.line("default_backend", backend)
	}
}

// limits writes who may come, how many, and how long silence is borne.
func (r *render) limits(l *Listener) {
	if l.ConnectionLimit > 0 {
		r.out.line("maxconn", strconv.Itoa(min(l.ConnectionLimit, r.place.connections())))
	}
	const perLine = 32
	for some := range slices.Chunk(l.Sources, perLine) {
		words := []string{"acl", "allowed", "src", "--"}
		for _, s := range some {
			words = append(words, s.String())
		}
		r.out.line(words...)
	}
	if len(l.Sources) > 0 {
		r.out.line("tcp-request", "connection", "reject", "if", "!allowed")
	}
	if ms := l.Timeouts.ClientMS; ms > 0 {
		r.out.line("timeout", "client", strconv.Itoa(ms))
	}
	if ms := l.Timeouts.InspectMS; ms > 0 && modes[l.Protocol] == "http" {
		r.out.line("timeout", "http-request", strconv.Itoa(ms))
	}
}

// requests writes rules, headers that are inserted, and then what becomes of a request: so rules
// see what the client said.
func (r *render) requests(l *Listener) {
	r.rules(l)
	if r.unasked != "" {
		r.fault(l.ID, Unfit, "listener-rule %s rejects requests, and cannot be asked: all are answered with 503", r.unasked)
		r.out.line("http-request", "deny", "deny_status", "503")
	}
	protocol := "http"
	if l.Protocol == "TERMINATED_HTTPS" {
		protocol = "https"
	}
	names := make([]string, 0, len(l.InsertHeaders))
	for name := range l.InsertHeaders {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		format, err := headerValue(l.InsertHeaders[name], protocol)
		if !token.MatchString(name) || strings.EqualFold(name, "content-length") || strings.EqualFold(name, "transfer-encoding") {
			err = fmt.Errorf("it is no name of a header that can be inserted: letters, digits and _.- are")
		}
		if err != nil {
			r.partly(l.ID, Unfit, "header %q is not inserted: %v", name, err)
			continue
		}
		r.out.line("http-request", "set-header", name, format)
	}
	owner := r.out.owner
	for _, c := range append(r.actions, r.chosen...) {
		r.out.owner = c.owner
		r.out.line(c.words...)
	}
	r.out.owner = owner
}
