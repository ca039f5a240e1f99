// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ListenerRule sends some requests of a listener elsewhere.
type ListenerRule struct {
	Header
	Spec   ListenerRuleSpec `json:"spec"`
	Status Reported         `json:"status,omitzero"`
}

// ListenerRuleSpec says which requests, and where to.
type ListenerRuleSpec struct {
	Position     int            `json:"position,omitempty" minimum:"0" maximum:"65535" doc:"Order among the listener's rules, lowest first; of equals the older first."`
	Requests     []RequestMatch `json:"requests,omitempty" doc:"Conditions that must all hold; every request when absent."`
	Action       string         `json:"action" enum:"pool,redirect,reject" doc:"pool: to another pool; redirect: tell the client to go elsewhere; reject: refuse."`
	Pool         Ref            `json:"pool,omitzero" doc:"For pool: a pool of the same load-balancer."`
	URL          string         `json:"url,omitempty" maxLength:"2048" doc:"For redirect: where to."`
	Prefix       string         `json:"prefix,omitempty" maxLength:"2048" doc:"For redirect, in place of url: what stands before the request's path."`
	RedirectCode int            `json:"redirectCode,omitempty" minimum:"301" maximum:"308" default:"302" doc:"For redirect: HTTP status."`
	AdminState   AdminState     `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: the rule is passed over."`
}

// RequestMatch is one condition on a request. Its id is the identity an
// orchestrator gave it.
type RequestMatch struct {
	ID      string `json:"id,omitempty" doc:"Identity of the condition in its orchestrator."`
	What    string `json:"what" enum:"host,path,file-type,header,cookie,client-certificate,client-verify,client-name" doc:"Part of the request."`
	Key     string `json:"key,omitempty" doc:"Name of the header, cookie or part of the client's name."`
	Compare string `json:"compare" enum:"equals,starts-with,ends-with,contains,regex,path-prefix" doc:"How it is compared; path-prefix compares whole elements."`
	Value   string `json:"value" maxLength:"2048" doc:"What it is compared with."`
	Invert  bool   `json:"invert,omitempty" doc:"Whether the condition must not hold."`
}

func (l *ListenerRule) Refs() []FieldRef {
	return []FieldRef{{"spec.pool", KindPool, &l.Spec.Pool, VerbAttach}}
}

func (l *ListenerRule) Validate() Problems {
	p := checkFields(l.Spec)
	if (l.Spec.Action == "pool") != !l.Spec.Pool.IsZero() {
		p.Addf("spec.pool", "is for action pool, and required there")
	}
	if redirect := l.Spec.URL != "" || l.Spec.Prefix != ""; (l.Spec.Action == "redirect") != redirect {
		p.Addf("spec.url", "url or prefix is for action redirect, and required there")
	}
	if c := l.Spec.RedirectCode; c != 0 && !slices.Contains(redirectCodes, c) {
		p.Addf("spec.redirectCode", "%d is no status of a redirection: use 301, 302, 303, 307 or 308", c)
	}
	if to := l.Spec.URL + l.Spec.Prefix; hasControl(to) || strings.Contains(to, " ") {
		p.Addf("spec.url", "%q has spaces or control characters", to)
	}
	atMostOne(&p, "spec.url", "url and prefix", l.Spec.URL != "", l.Spec.Prefix != "")
	for i, r := range l.Spec.Requests {
		if keyed := r.What == "header" || r.What == "cookie" || r.What == "client-name"; keyed != (r.Key != "") {
			p.Addf(entry("spec.requests", i)+".key", "is for header, cookie and client-name, and required there")
		} else if keyed {
			checkHTTPName(&p, entry("spec.requests", i)+".key", r.Key)
		}
		if r.Value == "" || hasControl(r.Value) {
			p.Addf(entry("spec.requests", i)+".value", "%q is empty or has control characters", r.Value)
		}
		if r.Compare == "path-prefix" && r.What != "path" {
			p.Addf(entry("spec.requests", i)+".compare", "path-prefix is for path")
		}
	}
	return p
}

// redirectCodes are the statuses of redirections.
var redirectCodes = []int{301, 302, 303, 307, 308}

// httpName is a name of a header or cookie.
var httpName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

func checkHTTPName(p *Problems, field, name string) {
	if !httpName.MatchString(name) {
		p.Addf(field, "%q is no name here: up to 128 letters, digits and _.-", name)
	}
}

// hasControl tells whether a text has control characters.
func hasControl(text string) bool { return strings.ContainsFunc(text, unicode.IsControl) }

var (
	headerWord = regexp.MustCompile(`\{[a-z-]+\}`)
	// headerWords are what values of inserted headers may name.
	headerWords = []string{
		"client-address", "client-port", "listener-address", "listener-port", "protocol", "host", "server-name", "client-certificate",
		"client-verify", "client-name", "client-common-name", "client-issuer", "client-fingerprint", "client-not-before", "client-not-after",
	}
)

// checkHeaders checks the headers that are inserted, by name.
func checkHeaders(p *Problems, headers map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		field, value := "spec.insertHeaders."+name, headers[name]
		checkHTTPName(p, field, name)
		if strings.EqualFold(name, "content-length") || strings.EqualFold(name, "transfer-encoding") {
			p.Addf(field, "says how long a request is, and cannot be inserted")
		}
		if value == "" || hasControl(value) {
			p.Addf(field, "%q is empty or has control characters", value)
		}
		for _, word := range headerWord.FindAllString(value, -1) {
			if !slices.Contains(headerWords, word[1:len(word)-1]) {
				p.Addf(field, "%s stands for nothing: use one of {%s}", word, strings.Join(headerWords, "}, {"))
			}
		}
	}
}

func (l *ListenerRule) StatusBody() any { return &l.Status }

// The kind of checks that are not of a pool.
const KindHealthCheck Kind = "health-check"

var healthCheckKinds = []Info{
	{KindHealthCheck, "health-checks", "hc", KindProject, "How the workloads of ports, or a BGP peer, are tried.", func() Object { return &HealthCheck{} }},
}

// Probe is how something is tried.
type Probe struct {
	Type     string    `json:"type" enum:"ping,tcp,udp,sctp,tls,http,https,bfd" doc:"What is tried; sctp is stored only. udp: only an ICMP error is a failure. bfd: a session between the workload and its gateway (RFC 5881), which sends every interval and has fall for its multiplier; timeout and rise do not count."`
	Interval int       `json:"intervalMilliseconds,omitempty" minimum:"50" maximum:"3600000" default:"5000" doc:"Between two tries, ms."`
	Timeout  int       `json:"timeoutMilliseconds,omitempty" minimum:"10" maximum:"3600000" default:"2000" doc:"Until a try has failed, ms."`
	Rise     int       `json:"rise,omitempty" minimum:"1" maximum:"100" default:"2" doc:"Good tries until it is up."`
	Fall     int       `json:"fall,omitempty" minimum:"1" maximum:"100" default:"3" doc:"Failed tries until it is down."`
	Port     int       `json:"port,omitempty" minimum:"1" maximum:"65535" doc:"Transport port. When absent a member's own; of a health-check 80 for http, 443 for https and tls."`
	HTTP     *HTTPTest `json:"http,omitempty" doc:"For http and https."`
}

// HTTPTest is a request and the answer that is good.
type HTTPTest struct {
	Method  string `json:"method,omitempty" enum:"GET,HEAD,POST,PUT,DELETE,OPTIONS,PATCH,CONNECT,TRACE" default:"GET" doc:"Method of the request."`
	Path    string `json:"path,omitempty" maxLength:"2048" default:"/" doc:"Path of the request."`
	Host    string `json:"host,omitempty" doc:"Host header of the request."`
	Version string `json:"version,omitempty" enum:"1.0,1.1" default:"1.0" doc:"Version of HTTP."`
	Codes   string `json:"codes,omitempty" default:"200" doc:"Good statuses: 200, 200,202 or 200-204."`
}

func (o *Probe) check(p *Problems) {
	http := o.Type == "http" || o.Type == "https"
	switch {
	case o.HTTP != nil && !http:
		p.Addf("spec.probe.http", "is for http and https")
	case o.HTTP != nil && o.HTTP.Path != "" && !strings.HasPrefix(o.HTTP.Path, "/"):
		p.Addf("spec.probe.http.path", "%q does not begin with /", o.HTTP.Path)
	}
	if o.HTTP != nil {
		o.HTTP.check(p)
	}
	if o.Interval != 0 && o.Timeout > o.Interval {
		p.Addf("spec.probe.timeoutMilliseconds", "%d is longer than the interval %d", o.Timeout, o.Interval)
	}
}

// check refuses what would not be one line of a request.
func (o *HTTPTest) check(p *Problems) {
	for _, f := range [][2]string{{"path", o.Path}, {"host", o.Host}} {
		if strings.ContainsFunc(f[1], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			p.Addf("spec.probe.http."+f[0], "%q has a space or a control character", f[1])
		}
	}
	if _, err := ParseHTTPCodes(o.Codes); err != nil {
		p.Addf("spec.probe.http.codes", "%v", err)
	}
}

// The probe with its defaults.

// Every is the time between two tries, Patience that until one has failed.
func (o *Probe) Every() time.Duration { return milliseconds(cmp.Or(o.Interval, 5000)) }
func (o *Probe) Patience() time.Duration {
	return min(milliseconds(cmp.Or(o.Timeout, 2000)), o.Every())
}

// Rises is how many good tries make it up, Falls how many failed ones down.
func (o *Probe) Rises() int { return cmp.Or(o.Rise, 2) }
func (o *Probe) Falls() int { return cmp.Or(o.Fall, 3) }

func milliseconds(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// HasPort tells whether what is tried is at a transport port. That of bfd is fixed.
func (o *Probe) HasPort() bool { return o.Type != "ping" && o.Type != "bfd" }

// Test is the request with its defaults.
func (o *Probe) Test() HTTPTest {
	t := HTTPTest{}
	if o.HTTP != nil {
		t = *o.HTTP
	}
	t.Method, t.Path, t.Version, t.Codes = cmp.Or(t.Method, "GET"), cmp.Or(t.Path, "/"), cmp.Or(t.Version, "1.0"), cmp.Or(t.Codes, "200")
	return t
}

// HTTPCodes are ranges of statuses.
type HTTPCodes [][2]int

// ParseHTTPCodes reads 200, 200,202 or 200-204; nothing is 200.
func ParseHTTPCodes(text string) (codes HTTPCodes, err error) {
	for _, part := range strings.Split(cmp.Or(text, "200"), ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			to = from
		}
		first, bad := strconv.Atoi(from)
		last, worse := strconv.Atoi(to)
		if bad != nil || worse != nil || first < 100 || last > 599 || first > last {
			return nil, fmt.Errorf("%q is no HTTP status and no range of them: write 200, 200,202 or 200-204", part)
		}
		codes = append(codes, [2]int{first, last})
	}
	return codes, nil
}

// Has tells whether a status is one of them.
func (c HTTPCodes) Has(status int) bool {
	for _, r := range c {
		if r[0] <= status && status <= r[1] {
			return true
		}
	}
	return false
}

// HealthMonitor tries the members of a pool; a pool has one at most.
type HealthMonitor struct {
	Header
	Spec   HealthMonitorSpec `json:"spec"`
	Status Reported          `json:"status,omitzero"`
}

// HealthMonitorSpec is a probe.
type HealthMonitorSpec struct {
	Probe      Probe      `json:"probe" doc:"How members are tried; the type is fixed."`
	AdminState AdminState `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: members count as good."`
}

// Claims holds being the pool's monitor.
func (h *HealthMonitor) Claims() []Claim {
	return []Claim{{"health-monitor/" + h.Meta.Parent.UUID, "meta.parent", "the health-monitor of " + h.Meta.Parent.String()}}
}

func (h *HealthMonitor) Validate() Problems {
	p := checkFields(h.Spec)
	h.Spec.Probe.check(&p)
	return p
}

func (h *HealthMonitor) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.probe.type", old.(*HealthMonitor).Spec.Probe.Type, h.Spec.Probe.Type)
	return p
}

func (h *HealthMonitor) StatusBody() any { return &h.Status }

// HealthCheck tries workloads of the ports that name it, from their own host.
type HealthCheck struct {
	Header
	Spec   HealthCheckSpec `json:"spec"`
	Status Reported        `json:"status,omitzero"`
}

// The words of a health-check.
const (
	ScopeLocal      = "local"
	OnFaultWithdraw = "withdraw"
)

// HealthCheckSpec is a probe and what follows when it fails.
type HealthCheckSpec struct {
	Probe   Probe  `json:"probe" doc:"How the workload is tried."`
	Scope   string `json:"scope,omitempty" enum:"local,end-to-end,segment" default:"local" doc:"local: from the workload's host; end-to-end: through it, to target; segment: between the two ports of a service. Only local is tried yet."`
	Target  string `json:"target,omitempty" effect:"none" doc:"For end-to-end: address or URL that is tried through the workload."`
	OnFault string `json:"onFault,omitempty" enum:"report,withdraw" default:"report" doc:"report: in the status only; withdraw: also take back the routes that lead through the port: static ones with it as next hop, and those of its allowedAddressPairs. Those to its own addresses stay."`
}

func (h *HealthCheck) Validate() Problems {
	p := checkFields(h.Spec)
	h.Spec.Probe.check(&p)
	if (h.Spec.Scope == "end-to-end") != (h.Spec.Target != "") {
		p.Addf("spec.target", "is for scope end-to-end, and required there")
	}
	return p
}

func (h *HealthCheck) StatusBody() any { return &h.Status }
