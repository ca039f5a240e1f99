// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// newcomer makes the port of a workload that there was not yet, as change alters it,
// with its addresses and on its host.
func newcomer(w Workload, change func(*api.Port)) []api.Operation {
	network := w.Network.FQName()
	port := &api.Port{Header: header(api.KindPort, w.Network.Project, w.Name)}
	port.Spec.Network = api.Ref{Name: network}
	change(port)
	operations := []api.Operation{create(port)}
	for i, a := range w.Addresses() {
		family := []string{"v4", "v6"}[i]
		x := &api.Address{Header: header(api.KindAddress, network, w.Name+"-"+family)}
		x.Spec.Subnet, x.Spec.IP, x.Spec.Port = api.Ref{Name: network + ":" + family}, a, api.Ref{Name: w.Port()}
		operations = append(operations, create(x))
	}
	b := &api.Binding{Header: header(api.KindBinding, w.Port(), w.HostName())}
	b.Spec.Host, b.Spec.Active = api.Ref{Name: w.HostName()}, true
	return append(operations, create(b))
}

// inGroup puts a port into one security-group of its project and no other.
func inGroup(name string) func(*api.Port) {
	return func(p *api.Port) { p.Spec.SecurityGroups = []api.Ref{{Name: p.Meta.Parent.Name + ":" + name}} }
}

// awaited plugs workloads that ask once, as soon as they are plugged, a workload on
// another host whose rules name who may. Their plug waits until that host knows who
// they are; while it hangs, the plug says so when its time is over.
func (s *system) awaited(t *testing.T, m *Model) {
	const number = 10
	to := find(t, "red-w4")
	operations := []api.Operation{
		create(&api.SecurityGroup{Header: header(api.KindSecurityGroup, "red:shop", "newcomer")}),
		create(&api.SecurityGroup{Header: header(api.KindSecurityGroup, "red:shop", "host")}),
	}
	operations = append(operations, allow("newcomer", "out", api.Egress, nil)...)
	operations = append(operations, allow("host", "in", api.Ingress, func(r *api.SecurityGroupRuleSpec) {
		udp(r)
		r.RemoteGroup = api.Ref{Name: "red:shop:newcomer"}
	})...)
	s.write(t, append(operations, s.withGroups(t, m, []string{"host"}, to.Name)...)...)
	defer func() { s.write(t, s.withGroups(t, m, []string{"run"}, to.Name)...) }()

	for i := range number {
		w := Workload{fmt.Sprintf("new%d", i), redWeb, 2, 100 + i}
		if err := s.lab.AddWorkload(w.Short()); err != nil {
			t.Fatal(err)
		}
		hangs := i == 0
		if hangs {
			s.signal(t, to.HostName(), syscall.SIGSTOP)
		}
		if _, err := s.client.Transaction(t.Context(), newcomer(w, inGroup("newcomer")), false); err != nil {
			t.Fatal(err)
		}
		if hangs {
			spread := s.spread(t, w, time.Second) // no longer, or the hanging host counts as one that is not connected
			s.signal(t, to.HostName(), syscall.SIGCONT)
			if spread.Known || !slices.ContainsFunc(spread.Behind, func(b plug.BehindHost) bool { return b.Host == topology.HostName(to.Host) }) { // others may be slow
				t.Errorf("while %s hangs the plug says %+v", to.HostName(), spread)
			}
		}
		spread := s.spread(t, w, settle)
		for deadline := time.Now().Add(settle); len(spread.Behind) > 0 && time.Now().Before(deadline); { // one that hung may have to connect again
			wait(t, 100*time.Millisecond)
			spread = s.spread(t, w, settle)
		}
		if !spread.Known || len(spread.Behind) > 0 {
			t.Fatalf("the plug of workload %d waits for %v: %+v", i, settle, spread)
		}
		for _, a := range to.Addresses() {
			s.once(t, w, to, a)
		}
	}
}

// spread plugs a workload, which may be plugged, and says who knows of it.
func (s *system) spread(t *testing.T, w Workload, wait time.Duration) plug.Spread {
	t.Helper()
	began := time.Now()
	out, err := s.lab.PlugWith(t.Context(), w.Host, w.Port(), w.Short(), "--wait", wait.String())
	var answer plug.Answer
	if err == nil {
		err = json.Unmarshal([]byte(out), &answer)
	}
	if err != nil || answer.Spread == nil {
		t.Fatalf("plug %s: %v\n%s", w.Short(), err, out)
	}
	t.Logf("%s is plugged after %v", w.Short(), time.Since(began))
	return *answer.Spread
}

// once sends one datagram, which must come.
func (s *system) once(t *testing.T, from, to Workload, a netip.Addr) {
	t.Helper()
	var hears *net.UDPConn
	err := namespace.Do(s.namespace(to), func() (err error) {
		hears, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer hears.Close()
	err = namespace.Do(s.namespace(from), func() error {
		c, err := net.DialUDP("udp", nil, hears.LocalAddr().(*net.UDPAddr))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("?"))
		return err
	})
	if err == nil {
		_ = hears.SetReadDeadline(time.Now().Add(slowPatience)) // fails only when closed
		_, err = hears.Read(make([]byte, 16))
	}
	if err != nil {
		t.Errorf("the first packet of %s to %v, which hosts know of: %v", from.Short(), a, err)
	}
}
