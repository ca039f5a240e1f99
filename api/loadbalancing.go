// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"strconv"
)

// The kinds of load balancing.
const (
	KindLoadBalancer  Kind = "load-balancer"
	KindPool          Kind = "pool"
	KindMember        Kind = "member"
	KindListener      Kind = "listener"
	KindListenerRule  Kind = "listener-rule"
	KindHealthMonitor Kind = "health-monitor"
)

var loadBalancerKinds = []Info{
	{KindLoadBalancer, "load-balancers", "lb", KindProject, "Addresses behind which members share the work.", func() Object { return &LoadBalancer{} }},
	{KindPool, "pools", "pool", KindLoadBalancer, "Members of a load-balancer that do the same.", func() Object { return &Pool{} }},
	{KindMember, "members", "mem", KindPool, "One workload of a pool.", func() Object { return &Member{} }},
	{KindHealthMonitor, "health-monitors", "hm", KindPool, "How the members of a pool are tried.", func() Object { return &HealthMonitor{} }},
	{KindListener, "listeners", "lis", KindLoadBalancer, "A protocol and port of a load-balancer, and the pool that serves it.", func() Object { return &Listener{} }},
	{KindListenerRule, "listener-rules", "lr", KindListener, "Which requests of a listener go elsewhere.", func() Object { return &ListenerRule{} }},
}

// The providers of load-balancers.
const (
	ProviderNative  = "native"
	ProviderHAProxy = "haproxy"
)

// The states that the owner of a member may want.
const (
	MemberActive   = "active"
	MemberNotReady = "not-ready"
	MemberDraining = "draining"
)

// LoadBalancer is addresses behind which members share the work.
type LoadBalancer struct {
	Header
	Spec   LoadBalancerSpec `json:"spec"`
	Status Reported         `json:"status,omitzero"`
}

// LoadBalancerSpec says under which addresses and by what means.
type LoadBalancerSpec struct {
	Addresses  []Ref      `json:"addresses,omitempty" doc:"The virtual addresses, free of any port: objects of one network, of both families if wanted. Each serves this load-balancer alone."`
	Provider   string     `json:"provider,omitempty" enum:"native,haproxy" default:"native" doc:"native: the sender's own host chooses a member; haproxy: a pair of proxies that read HTTP. Fixed."`
	QoSPolicy  Ref        `json:"qosPolicy,omitzero" effect:"none" doc:"Limits of what the virtual addresses take."`
	AdminState AdminState `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: nothing is answered."`
}

func (l *LoadBalancer) Refs() []FieldRef {
	return append(refList("spec.addresses", KindAddress, l.Spec.Addresses, VerbAttach),
		FieldRef{"spec.qosPolicy", KindQoSPolicy, &l.Spec.QoSPolicy, VerbAttach})
}

// Claims holds the use of the addresses.
func (l *LoadBalancer) Claims() []Claim { return addressUses("spec.addresses", l.Spec.Addresses) }

func (l *LoadBalancer) Validate() Problems {
	p := checkFields(l.Spec)
	distinct(&p, "spec.addresses", l.Spec.Addresses)
	return p
}

func (l *LoadBalancer) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.provider", old.(*LoadBalancer).Spec.Provider, l.Spec.Provider)
	return p
}

func (l *LoadBalancer) StatusBody() any { return &l.Status }

// Pool is members that do the same.
type Pool struct {
	Header
	Spec   PoolSpec `json:"spec"`
	Status Reported `json:"status,omitzero"`
}

// PoolSpec says how a member is chosen.
type PoolSpec struct {
	Protocol   string     `json:"protocol" enum:"TCP,UDP,SCTP,HTTP,HTTPS,PROXY,PROXYV2" doc:"What is spoken with the members; fixed."`
	Algorithm  string     `json:"algorithm,omitempty" enum:"maglev,round-robin,least-connections,source-address" default:"maglev" doc:"How a member is chosen for a new connection. With provider native round-robin and least-connections are served as maglev, which the pool says: by the hash of the connection, as even with many of them."`
	Affinity   *Affinity  `json:"affinity,omitempty" doc:"Keep a client at its member; not when absent."`
	Locality   string     `json:"locality,omitempty" enum:"any,prefer-host,only-host,prefer-zone" default:"any" doc:"Members of the sender's host or zone only, or first."`
	TLS        *PoolTLS   `json:"tls,omitempty" doc:"Speak TLS with the members. Provider haproxy alone."`
	AdminState AdminState `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: no member is chosen."`
}

// Affinity keeps a client at its member.
type Affinity struct {
	By      string `json:"by" enum:"source-address,http-cookie,app-cookie" doc:"What a client is known by."`
	Cookie  string `json:"cookie,omitempty" doc:"Name of the application's cookie."`
	Seconds int    `json:"seconds,omitempty" minimum:"1" maximum:"86400" default:"10800" doc:"How long a client that is silent is remembered."`
}

// PoolTLS is how members are spoken with over TLS.
type PoolTLS struct {
	Authority   string `json:"authority,omitempty" doc:"Name of the certificates that members' are checked with, as those of a listener's tls."`
	Certificate string `json:"certificate,omitempty" doc:"Name of the certificate shown to members."`
	Name        string `json:"name,omitempty" doc:"Name that members' certificates must have."`
}

func (o *Pool) Validate() Problems {
	p := checkFields(o.Spec)
	if a := o.Spec.Affinity; a != nil && (a.By == "app-cookie") != (a.Cookie != "") {
		p.Addf("spec.affinity.cookie", "is for app-cookie, and required there")
	} else if a != nil && a.Cookie != "" {
		checkHTTPName(&p, "spec.affinity.cookie", a.Cookie)
	}
	return p
}

func (o *Pool) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.protocol", old.(*Pool).Spec.Protocol, o.Spec.Protocol)
	return p
}

func (o *Pool) StatusBody() any { return &o.Status }

// Member is one workload of a pool. It is an object of its own because pools
// are large and change one member at a time.
type Member struct {
	Header
	Spec   MemberSpec `json:"spec"`
	Status Reported   `json:"status,omitzero"`
}

// MemberSpec says where the member is and what it takes.
type MemberSpec struct {
	Port           Ref        `json:"port,omitzero" doc:"Port of the workload; fixed. Either this or ip."`
	IP             netip.Addr `json:"ip,omitzero" doc:"Address of the member, as seen from subnet's network or from the load-balancer's; with port: which of its addresses. Fixed."`
	Subnet         Ref        `json:"subnet,omitzero" doc:"Subnet whose network the ip is seen from; fixed."`
	TargetPort     int        `json:"targetPort" minimum:"1" maximum:"65535" doc:"Transport port of the member; fixed."`
	Weight         *int       `json:"weight,omitempty" minimum:"0" maximum:"256" default:"1" doc:"Share of new connections; 0: none."`
	State          string     `json:"state,omitempty" enum:"active,not-ready,draining" default:"active" doc:"active; not-ready: not chosen; draining: keeps its connections, and is chosen only when no member is active."`
	Backup         bool       `json:"backup,omitempty" doc:"Chosen only when all others are down."`
	Host           Ref        `json:"host,omitzero" effect:"none" doc:"Host of a member without port, for locality."`
	Zone           string     `json:"zone,omitempty" effect:"none" doc:"Zone the member is in, for locality."`
	ForZones       []string   `json:"forZones,omitempty" effect:"none" doc:"Zones whose clients should use the member; all when absent."`
	MonitorAddress netip.Addr `json:"monitorAddress,omitzero" doc:"Address that is tried in its place."`
	MonitorPort    int        `json:"monitorPort,omitempty" minimum:"1" maximum:"65535" doc:"Transport port that is tried in its place."`
	AdminState     AdminState `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: never chosen, its connections end, and it is not tried."`
}

func (m *Member) Refs() []FieldRef {
	return []FieldRef{
		{"spec.port", KindPort, &m.Spec.Port, VerbAttach},
		{"spec.subnet", KindSubnet, &m.Spec.Subnet, VerbAttach},
		{"spec.host", KindHost, &m.Spec.Host, ""},
	}
}

// Claims refuses the same target twice in a pool.
func (m *Member) Claims() []Claim {
	who := m.Spec.Port.UUID
	if m.Spec.IP.IsValid() {
		who += "," + addrKey(m.Spec.IP)
	}
	target := who + "," + strconv.Itoa(m.Spec.TargetPort)
	return []Claim{{"member/" + m.Meta.Parent.UUID + "/" + target, "spec.targetPort", "member " + m.Spec.Port.String() + target[len(m.Spec.Port.UUID):] + " of " + m.Meta.Parent.String()}}
}

func (m *Member) Validate() Problems {
	p := checkFields(m.Spec)
	if m.Spec.Port.IsZero() && !m.Spec.IP.IsValid() {
		p.Addf("spec.ip", "either port or ip is required")
	}
	if !m.Spec.Port.IsZero() && !m.Spec.Subnet.IsZero() {
		p.Addf("spec.subnet", "is for a member without port")
	}
	return p
}

func (m *Member) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*Member).Spec
	immutable(&p, "spec.port", was.Port, m.Spec.Port)
	immutable(&p, "spec.ip", was.IP, m.Spec.IP)
	immutable(&p, "spec.subnet", was.Subnet, m.Spec.Subnet)
	immutable(&p, "spec.targetPort", was.TargetPort, m.Spec.TargetPort)
	return p
}

func (m *Member) StatusBody() any { return &m.Status }

// Listener is a protocol and port of a load-balancer.
type Listener struct {
	Header
	Spec   ListenerSpec `json:"spec"`
	Status Reported     `json:"status,omitzero"`
}

// ListenerSpec says what is taken and who serves it.
type ListenerSpec struct {
	Protocol        string            `json:"protocol" enum:"TCP,UDP,SCTP,HTTP,HTTPS,TERMINATED_HTTPS,PROMETHEUS" doc:"What is spoken with clients; HTTPS is passed on unread, TERMINATED_HTTPS is read. Fixed."`
	Port            int               `json:"port" minimum:"1" maximum:"65535" doc:"Transport port; fixed. Unique with the transport protocol in the load-balancer."`
	Pool            Ref               `json:"pool,omitzero" doc:"Pool of the same load-balancer that serves what no listener-rule sends elsewhere."`
	ConnectionLimit int               `json:"connectionLimit,omitempty" minimum:"1" doc:"Most connections at a time at each proxy; 10,000 for all listeners when absent. Provider haproxy alone."`
	Sources         []netip.Prefix    `json:"sources,omitempty" maxItems:"1000" doc:"Only clients of these ranges; all when absent."`
	Timeouts        *ListenerTimeouts `json:"timeouts,omitempty" doc:"How long silence is borne; the provider's own when absent. Provider haproxy alone."`
	InsertHeaders   map[string]string `json:"insertHeaders,omitempty" doc:"HTTP headers that requests get, in place of what the client sent, by name. In a value {client-address}, {client-port}, {listener-address}, {listener-port}, {protocol}, {host}, {server-name}, {client-certificate}, {client-verify}, {client-name}, {client-common-name}, {client-issuer}, {client-fingerprint}, {client-not-before} and {client-not-after} stand for what they say. Provider haproxy alone."`
	TLS             *ListenerTLS      `json:"tls,omitempty" doc:"For TERMINATED_HTTPS."`
	AdminState      AdminState        `json:"adminState,omitempty" enum:"up,down" default:"up" doc:"down: nothing is answered."`
}

// ListenerTimeouts are in milliseconds.
type ListenerTimeouts struct {
	ClientMS  int `json:"clientMilliseconds,omitempty" minimum:"1" doc:"Silence of the client, ms."`
	MemberMS  int `json:"memberMilliseconds,omitempty" minimum:"1" doc:"Silence of the member, ms."`
	ConnectMS int `json:"connectMilliseconds,omitempty" minimum:"1" doc:"Until the member accepts, ms."`
	InspectMS int `json:"inspectMilliseconds,omitempty" minimum:"1" doc:"Until enough was read to decide, ms."`
}

// ListenerTLS is how clients are spoken with over TLS. Certificates are named,
// never stored here.
type ListenerTLS struct {
	Certificates []string `json:"certificates,omitempty" doc:"Names of certificates with their keys; the first is shown to clients that name no host. A name without colon is the file DOMAIN/PROJECT/NAME.pem (chain and key) of the load-balancer's project in the hosts' directory of certificates; k8s: and barbican: are of orchestrators, and not resolved yet."`
	Versions     []string `json:"versions,omitempty" enum:"TLSv1.2,TLSv1.3" doc:"Versions that are spoken; all when absent."`
	Ciphers      string   `json:"ciphers,omitempty" maxLength:"2048" doc:"Cipher suites in OpenSSL's words."`
	ALPN         []string `json:"alpn,omitempty" doc:"Protocols that are offered."`
	ClientCA     string   `json:"clientCA,omitempty" doc:"Name of the certificates that clients' are checked with."`
	ClientAuth   string   `json:"clientAuth,omitempty" enum:"none,optional,mandatory" default:"none" doc:"Whether clients show a certificate."`
}

func (l *Listener) Refs() []FieldRef {
	return []FieldRef{{"spec.pool", KindPool, &l.Spec.Pool, VerbAttach}}
}

// Claims holds the transport port.
func (l *Listener) Claims() []Claim {
	transport := "TCP"
	if l.Spec.Protocol == "UDP" || l.Spec.Protocol == "SCTP" {
		transport = l.Spec.Protocol
	}
	what := transport + " port " + strconv.Itoa(l.Spec.Port) + " of " + l.Meta.Parent.String()
	return []Claim{{"listener/" + l.Meta.Parent.UUID + "/" + transport + "/" + strconv.Itoa(l.Spec.Port), "spec.port", what}}
}

func (l *Listener) Validate() Problems {
	p := checkFields(l.Spec)
	if (l.Spec.Protocol == "TERMINATED_HTTPS") != (l.Spec.TLS != nil && len(l.Spec.TLS.Certificates) > 0) {
		p.Addf("spec.tls.certificates", "are for TERMINATED_HTTPS, and required there")
	}
	checkHeaders(&p, l.Spec.InsertHeaders)
	return p
}

func (l *Listener) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*Listener).Spec
	immutable(&p, "spec.protocol", was.Protocol, l.Spec.Protocol)
	immutable(&p, "spec.port", was.Port, l.Spec.Port)
	return p
}

func (l *Listener) StatusBody() any { return &l.Status }
