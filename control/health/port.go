// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

// Port is what the health-checks of a port ask, in the order of its spec. It is
// another one whenever anything of it is.
type Port struct{ Checks []PortCheck }

// PortCheck is a health-check of a port.
type PortCheck struct {
	HealthCheck api.Ref
	Withdraws   bool    // routes through the port, when it fails
	Host        api.Ref // that tries it
	Why         string  // why none does
	Check       *Check  // nil: none does
}

// Port returns what the health-checks of a port ask; nil: it has none.
func (d *Derived) Port(uuid string) *Port { return d.ports[uuid] }

// servicePorts are where those that are usually served somewhere are tried.
var servicePorts = map[string]int{"http": 80, "https": 443, "tls": 443}

// touchPort notes that what a port asks may be something else.
func (u *update) touchPort(p *api.Port) {
	if _, had := u.ports[p.Meta.UUID]; had || len(p.Spec.HealthChecks) > 0 {
		u.stalePorts[p.Meta.UUID] = true
	}
}

// port computes what the health-checks of a port ask; nil: it has none.
func (u *update) port(uuid string) *Port {
	p, _ := u.snapshot.Get(api.KindPort, uuid).(*api.Port)
	if p == nil {
		return nil
	}
	found := &Port{}
	for _, ref := range p.Spec.HealthChecks {
		if h, ok := u.snapshot.Get(api.KindHealthCheck, ref.UUID).(*api.HealthCheck); ok {
			found.Checks = append(found.Checks, u.portCheck(h, u.routing.Port(uuid)))
		}
	}
	if found.Checks == nil {
		return nil
	}
	return found
}

// portCheck says who tries a port, or why nobody does.
func (u *update) portCheck(h *api.HealthCheck, port *routing.Port) PortCheck {
	probe := &h.Spec.Probe
	out := PortCheck{HealthCheck: api.RefTo(h), Withdraws: h.Spec.OnFault == api.OnFaultWithdraw}
	at := cmp.Or(probe.Port, servicePorts[probe.Type])
	switch scope := cmp.Or(h.Spec.Scope, api.ScopeLocal); {
	case scope != api.ScopeLocal:
		out.Why = "ports are not tried " + scope + " yet"
	case untried[probe.Type]:
		out.Why = "ports are not tried by " + probe.Type + " yet"
	case at == 0 && probe.HasPort():
		out.Why = "the health-check names no transport port"
	case port == nil:
		out.Why = "the port is on no host"
	case port.Disabled || port.Network.Disabled:
		out.Why = "the port is disabled"
	case len(port.Addresses) == 0:
		out.Why = "the port has no address"
	default:
		out.Host = port.Host
		check := checkOf(probe, at)
		check.Name, check.Port, check.Address = h.Meta.FQName, port.Ref.UUID, port.Addresses[0].IP.AsSlice()
		check.Id = port.Ref.UUID + "/" + h.Meta.UUID + "/" + question(check)
		out.Check = newCheck(check)
	}
	return out
}

// question is a number for what a check asks, however often. It is in the id, so
// that what a host has said of another question is not taken for an answer.
func question(c *hoststream.Check) string {
	asked := &hoststream.Check{Address: c.Address, Type: c.Type, TransportPort: c.TransportPort, Http: c.Http}
	return fmt.Sprintf("%08x", uint32(xxhash.Sum64(encode(asked))))
}

// checkOf is the row of a probe, as far as the probe says it.
func checkOf(probe *api.Probe, transportPort int) *hoststream.Check {
	check := &hoststream.Check{
		Type: probe.Type, Interval: uint32(probe.Every().Milliseconds()), Timeout: uint32(probe.Patience().Milliseconds()), Rise: uint32(probe.Rises()), Fall: uint32(probe.Falls()),
	}
	if probe.HasPort() {
		check.TransportPort = uint32(transportPort)
	}
	if probe.Type == "http" || probe.Type == "https" {
		t := probe.Test()
		check.Http = &hoststream.HttpTest{Method: t.Method, Path: t.Path, Host: t.Host, Version: t.Version, Codes: t.Codes}
	}
	return check
}

// keep makes checks that read the same the same.
func (p *Port) keep(old *Port) {
	if old == nil {
		return
	}
	for i := range p.Checks {
		for j := range old.Checks {
			if now, was := p.Checks[i].Check, old.Checks[j].Check; now.same(was) {
				p.Checks[i].Check = was
			}
		}
	}
}

// same tells that two checks, of which either may be nil, read the same.
func (c *Check) same(d *Check) bool {
	return c != nil && d != nil && c.Hash == d.Hash && bytes.Equal(c.Body, d.Body)
}

// checks are those of the port by host: it has one.
func (p *Port) checks() map[string][]*Check {
	by := map[string][]*Check{}
	if p == nil {
		return by
	}
	for _, c := range p.Checks {
		if c.Check != nil {
			by[c.Host.UUID] = append(by[c.Host.UUID], c.Check)
		}
	}
	return by
}
