// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// checkRow is a check of the served workload, five times a second. What answers
// has time. By UDP silence is good, and kernels limit how often they refuse.
func checkRow(member, kind string, six bool, port uint32) *hoststream.Row {
	address := servedIPv4
	if six {
		address = servedIPv6
	}
	c := &hoststream.Check{
		Id: member, Name: "d:p:shop:web:" + member, Port: servedPort, Address: address.AsSlice(), Type: kind, TransportPort: port,
		Interval: 200, Timeout: 20_000, Rise: 2, Fall: 2,
	}
	switch kind {
	case "http":
		c.Http = &hoststream.HttpTest{Method: "GET", Path: "/healthz", Version: "1.1", Host: "shop.example", Codes: "200-204"}
	case "udp":
		c.Interval, c.Timeout = 1500, 500
	}
	return &hoststream.Row{Body: &hoststream.Row_Check{Check: c}}
}

// members is what the host last reported of them, and no report otherwise.
func (c *controller) members() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	words := map[string]string{}
	for _, r := range c.report.GetChecks() {
		words[r.Id] = strings.TrimSpace(r.State + " " + r.Message)
	}
	var all []string
	for _, m := range slices.Sorted(maps.Keys(words)) {
		all = append(all, m+" "+words[m])
	}
	return strings.Join(all, ", ")
}

func (c *controller) membersAre(want string) {
	c.t.Helper()
	eventually(c.t, func() error {
		if got := c.members(); got != want {
			return fmt.Errorf("members are %q\nwant        %q", got, want)
		}
		return nil
	})
}

// web is an HTTP server in the workload.
type web struct {
	listeners []net.Listener
	status    atomic.Int32
	host      atomic.Pointer[string]
}

func (s served) web() *web {
	w := &web{}
	w.status.Store(200)
	for _, at := range []string{"10.0.0.42:8080", "[fd00:a::42]:8080"} {
		var l net.Listener
		inside(s.t, s.workload, func() (err error) { l, err = net.Listen("tcp", at); return err })
		w.listeners = append(w.listeners, l)
		go func() { // ends with its socket
			_ = http.Serve(l, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				w.host.Store(&r.Host)
				out.WriteHeader(int(w.status.Load()))
			}))
		}()
	}
	s.t.Cleanup(w.close)
	return w
}

func (w *web) close() {
	for _, l := range w.listeners {
		l.Close()
	}
}

// A host tries the workloads that are members of pools, in both families and by
// all means, and reports what becomes of them: a server that ends, one that
// says that it is sick, one that comes back, a workload that is unplugged, and
// an agent that starts again.
func TestMembersAreTried(t *testing.T) {
	s := serve(t, api.ModeStateful, servedIPv6)
	s.configure(servedIPv6)
	rows := servedRows(api.ModeStateful, servedIPv6)
	for _, r := range []*hoststream.Row{
		checkRow("a-http4", "http", false, 8080), checkRow("b-http6", "http", true, 8080), checkRow("c-tcp", "tcp", false, 8080),
		checkRow("d-ping4", "ping", false, 0), checkRow("e-ping6", "ping", true, 0), checkRow("f-udp4", "udp", false, 5353), checkRow("g-udp6", "udp", true, 5353),
	} {
		rows[desired.CheckRow(r.GetCheck().Id)] = r
	}
	const network = ", d-ping4 up, e-ping6 up"
	var open [2]net.PacketConn
	for i, at := range []string{"10.0.0.42:5353", "[fd00:a::42]:5353"} {
		inside(t, s.workload, func() (err error) { open[i], err = net.ListenPacket("udp", at); return err })
		defer open[i].Close()
	}
	s.controller.set(rows)
	s.controller.settled()
	s.controller.membersAre("a-http4 down connection refused, b-http6 down connection refused, c-tcp down connection refused" + network + ", f-udp4 up, g-udp6 up")

	w := s.web()
	const up = "a-http4 up, b-http6 up, c-tcp up" + network
	s.controller.membersAre(up + ", f-udp4 up, g-udp6 up")
	if host := *w.host.Load(); host != "shop.example" {
		t.Errorf("the server was asked as %s", host)
	}
	w.status.Store(503)
	s.controller.membersAre("a-http4 down HTTP 503, wants 200-204, b-http6 down HTTP 503, wants 200-204, c-tcp up" + network + ", f-udp4 up, g-udp6 up")
	w.status.Store(204)
	s.controller.membersAre(up + ", f-udp4 up, g-udp6 up")
	open[0].Close()
	s.controller.membersAre(up + ", f-udp4 down port unreachable, g-udp6 up")

	s.agent.stop(t, os.Interrupt)
	s.controller.forget()
	s.start(tunnels4[0])
	s.agent.waitReady(t)
	s.controller.membersAre(up + ", f-udp4 down port unreachable, g-udp6 up")

	for key := range rows {
		if strings.HasPrefix(key, "check/") && key != desired.CheckRow("c-tcp") && key != desired.CheckRow("d-ping4") {
			delete(rows, key)
		}
	}
	s.controller.set(rows)
	s.controller.settled()
	s.controller.membersAre("c-tcp up, d-ping4 up")
	if err := plug.NewClient(s.dir+"/run").Unplug(context.Background(), servedPort); err != nil {
		t.Fatal(err)
	}
	s.controller.membersAre("c-tcp down its port is not plugged, d-ping4 down its port is not plugged")
}

// forget takes what the host has reported for nothing.
func (c *controller) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report = nil
}
