// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/haproxy"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// reasonUnknown is of objects that say something that this agent does not know.
const reasonUnknown = "agent-too-old"

// reading makes of a row what HAProxy is told.
type reading struct {
	haproxy.Proxy
	faults []haproxy.Fault
	named  map[string]bool // certificates
}

// read makes of a row what HAProxy is told, without the certificates. What says more than this
// agent knows is left out: what it does not know may be what keeps somebody out.
func read(p *desired.Proxy) *reading {
	r := &reading{Proxy: haproxy.Proxy{ID: p.Balancer, Addresses: p.Addresses}, named: map[string]bool{}}
	unknown := map[string]string{} // listeners with a rule that cannot be read, and which
	rules := map[string][]haproxy.Rule{}
	for _, o := range p.Row.Rules {
		var s api.ListenerRuleSpec
		if !r.decode(o, &s) {
			unknown[o.Parent] = o.Name
			continue
		}
		rules[o.Parent] = append(rules[o.Parent], haproxy.Rule{ID: o.Uuid, Requests: s.Requests, Action: s.Action, Pool: s.Pool.UUID, URL: s.URL, Prefix: s.Prefix, RedirectCode: s.RedirectCode})
	}
	for _, o := range p.Row.Listeners {
		var s api.ListenerSpec
		if !r.decode(o, &s) {
			continue
		}
		if rule := unknown[o.Uuid]; rule != "" {
			r.fault(o, "its listener-rule %s says what this agent does not know: the port is closed", rule)
			continue
		}
		l := haproxy.Listener{
			ID: o.Uuid, Protocol: s.Protocol, Port: uint16(s.Port), Pool: s.Pool.UUID, ConnectionLimit: s.ConnectionLimit, Sources: s.Sources,
			InsertHeaders: s.InsertHeaders, TLS: s.TLS, Rules: rules[o.Uuid],
		}
		if s.Timeouts != nil {
			l.Timeouts = *s.Timeouts
		}
		if s.TLS != nil {
			r.names(append(s.TLS.Certificates, s.TLS.ClientCA)...)
		}
		r.Listeners = append(r.Listeners, l)
	}
	r.pools(p)
	return r
}

func (r *reading) pools(p *desired.Proxy) {
	monitors, members := map[string]*api.Probe{}, map[string][]haproxy.Member{}
	for _, o := range p.Row.Monitors {
		if s := new(api.HealthMonitorSpec); r.decode(o, s) {
			monitors[o.Parent] = &s.Probe
		}
	}
	for _, o := range p.Row.Members {
		if s := new(api.MemberSpec); r.decode(o, s) {
			members[o.Parent] = append(members[o.Parent], member(o, s, p.Own))
		}
	}
	for _, o := range p.Row.Pools {
		var s api.PoolSpec
		if !r.decode(o, &s) {
			continue
		}
		if s.TLS != nil {
			r.names(s.TLS.Authority, s.TLS.Certificate)
		}
		r.Pools = append(r.Pools, haproxy.Pool{ID: o.Uuid, Protocol: s.Protocol, Algorithm: s.Algorithm, Affinity: s.Affinity, TLS: s.TLS, Monitor: monitors[o.Uuid], Members: members[o.Uuid]})
	}
}

// member is spoken with in a family that the proxy has an address of.
func member(o *hoststream.ProxyObject, s *api.MemberSpec, own []netip.Addr) haproxy.Member {
	m := haproxy.Member{
		ID: o.Uuid, Port: uint16(s.TargetPort), Weight: 1, State: cmp.Or(s.State, api.MemberActive), Backup: s.Backup,
		MonitorAddress: s.MonitorAddress, MonitorPort: uint16(s.MonitorPort),
	}
	if s.Weight != nil {
		m.Weight = *s.Weight
	}
	for _, raw := range o.Addresses {
		if a, ok := netip.AddrFromSlice(raw); ok && !m.Address.IsValid() && ofFamily(own, a.Unmap().Is4()).IsValid() {
			m.Address = a.Unmap()
		}
	}
	return m
}

func (r *reading) names(all ...string) {
	for _, name := range all {
		if name != "" {
			r.named[name] = true
		}
	}
}

// decode reads a spec, of which every field must be known.
func (r *reading) decode(o *hoststream.ProxyObject, into any) bool {
	d := json.NewDecoder(bytes.NewReader(o.Spec))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		r.fault(o, "it cannot be read here (%v), and is not served: upgrade weft-agent", err)
		return false
	}
	return true
}

func (r *reading) fault(o *hoststream.ProxyObject, message string, args ...any) {
	r.faults = append(r.faults, haproxy.Fault{ID: o.Uuid, Reason: reasonUnknown, Message: fmt.Sprintf(message, args...)})
}
