// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// reservedRows are the rows of an address of each family that is reserved for
// a host, as workload n of a network would have them.
func reservedRows(vrf uint32, n int) map[string]*hoststream.Row {
	rows := map[string]*hoststream.Row{}
	gateways := ips(1)
	for i, ip := range ips(n) {
		id := fmt.Sprintf("r%d-%d", n, i)
		rows["reservation/"+id] = &hoststream.Row{Body: &hoststream.Row_Reservation{Reservation: &hoststream.Reservation{
			Address: id, Vrf: vrf, Network: "n", NetworkName: fmt.Sprintf("d:p:net%d", vrf), Mac: macOf(n),
			Ip: &hoststream.PortAddress{Ip: ip.AsSlice(), PrefixLength: []uint32{24, 64}[i], Gateway: gateways[i].AsSlice()},
		}}}
	}
	return rows
}

// Without a controller a new workload starts with reserved addresses and is
// reached by all others; a restart of the agent, the return of the controller
// and the port that is made of it lose no packet.
func TestNewWorkloadWithoutController(t *testing.T) {
	m := twoHosts(t, tunnels4)
	rows := network(100, tunnels4)
	plain := maps.Clone(rows[0])
	maps.Copy(rows[0], reservedRows(100, 20))
	for _, ip := range ips(20) { // the other host knows the way before
		put(rows[1], route(100, ip, &hoststream.Route{Mac: macOf(20), NextHop: &hoststream.Route_Remote{Remote: &hoststream.Remote{Host: hostID(0), Vni: 100}}}))
	}
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
		m[i].controller.set(rows[i])
		m[i].controller.settled()
	}
	w10, w11, fresh := namespace(t, "w10"), namespace(t, "w11"), namespace(t, "fresh")
	m[0].mustPlug(portID(100, 10), w10)
	m[1].mustPlug(portID(100, 11), w11)

	m[0].controller.server.Stop()
	client := plug.NewClient(m[0].dir + "/run")
	_, err := client.Plug(t.Context(), plug.Request{Port: "d:p:lost", Place: placeIn(fresh), TimeoutSeconds: 1})
	if err == nil || !strings.Contains(err.Error(), "no controller can be reached") {
		t.Errorf("a new workload without its network: %v", err)
	}
	a, err := client.Plug(t.Context(), plug.Request{Port: "d:p:new", Network: "d:p:net100", Place: placeIn(fresh), TimeoutSeconds: 15})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Addresses) != 2 || !strings.HasPrefix(a.Addresses[0], "10.0.0.20/") {
		t.Errorf("it got %v", a.Addresses)
	}
	for _, from := range []string{w10, w11} {
		for _, ip := range ips(20) {
			reaches(t, from, ip.String())
		}
	}
	local, across := pinging(t, w10, ips(20)[1].String()), pinging(t, w11, ips(20)[0].String())
	m[0].agent.stop(t, syscall.SIGKILL)
	m[0].controller.listen(m[0].ns)
	m[0].agent = start(t, m[0].ns, m[0].binary, append([]string{"run", "--name", m[0].ns, "--stream", m[0].controller.streamAddr,
		"--tunnel-address", tunnels4[0].Addr().String()}, m[0].flags()...)...)
	m[0].agent.waitReady(t)
	eventually(t, func() error {
		m[0].controller.mu.Lock()
		defer m[0].controller.mu.Unlock()
		if taken := m[0].controller.report.GetTaken(); len(taken) != 2 || taken[0].Port != a.Port || taken[0].Name != "d:p:new" {
			return fmt.Errorf("the host reports as taken %v", taken)
		}
		return nil
	})
	port := &hoststream.Port{Port: a.Port, PortName: "d:p:new", Vrf: 100, Mac: macOf(20)}
	gateways := ips(1)
	for i, ip := range ips(20) {
		port.Addresses = append(port.Addresses, &hoststream.PortAddress{Ip: ip.AsSlice(), PrefixLength: []uint32{24, 64}[i], Gateway: gateways[i].AsSlice()})
		put(plain, route(100, ip, &hoststream.Route{Mac: macOf(20), NextHop: &hoststream.Route_Port{Port: a.Port}}))
	}
	plain["port/"+a.Port] = &hoststream.Row{Body: &hoststream.Row_Port{Port: port}}
	m[0].controller.set(plain)
	m[0].controller.settled()
	m[0].controller.state(a.Port, api.PortUp)
	across.lossless(t)
	local.lossless(t)
	for i := range m {
		m[i].agent.stop(t, syscall.SIGTERM)
		m[i].uninstall([]string{"lo", "u0"})
	}
}
