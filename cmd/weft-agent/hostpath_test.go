// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/services"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

const testSecret = "between us"

// fetch asks an HTTP server from a namespace and returns status and body.
func fetch(t *testing.T, ns, to string, headers ...string) (answer string) {
	t.Helper()
	inside(t, ns, func() error {
		conn, err := net.DialTimeout("tcp", to, patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience)) // a dead connection fails below
		fmt.Fprintf(conn, "GET /latest/meta-data?x=1 HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n%s\r\n", strings.Join(headers, ""))
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(r.Body)
		answer = strconv.Itoa(r.StatusCode) + " " + string(body)
		return err
	})
	return answer
}

// A workload reaches the metadata server at both addresses, which is told, in
// a way that only its host can, who asks; whatever the workload says itself.
func TestMetadata(t *testing.T) {
	var server net.Listener
	s := serve(t, api.ModeStateful, servedIPv6, func(m *machine) {
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte(testSecret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		inside(t, m.ns, func() (err error) { server, err = net.Listen("tcp", "127.0.0.1:0"); return err })
		m.arguments = []string{"--metadata-upstream", "http://" + server.Addr().String() + "/base", "--metadata-secret-file", secret}
	})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := r.Header
		signed := h.Get(services.HeaderSignature) == services.Sign([]byte(testSecret), servedPort+"\nmachine\nproject\n"+h.Get(services.HeaderAddress)) &&
			h.Get(services.HeaderSigned) == services.Sign([]byte(testSecret), "machine")
		fmt.Fprintf(w, "%s port %s machine %s project %s address %s signed %t", r.URL, h.Get(services.HeaderPort), h.Get(services.HeaderMachine), h.Get(services.HeaderProject), h.Get(services.HeaderAddress), signed)
	})}
	go func() { _ = web.Serve(server) }() // ends with Close
	t.Cleanup(func() { web.Close() })
	s.configure(servedIPv6)
	eventually(t, s.tentative)
	lie := []string{services.HeaderMachine + ": another\r\n", services.HeaderAddress + ": 1.2.3.4\r\n", services.HeaderSignature + ": x\r\n"}
	for to, address := range map[string]netip.Addr{"169.254.169.254:80": servedIPv4, "[fe80::a9fe:a9fe%eth0]:80": servedIPv6} {
		want := "200 /base/latest/meta-data?x=1 port " + servedPort + " machine machine project project address " + address.String() + " signed true"
		if got := fetch(t, s.workload, to, lie...); got != want {
			t.Errorf("%s: %s\nwant %s", to, got, want)
		}
	}
}

// The host reaches its workload by the alias, in both families, and the
// workload sees its gateway; it cannot reach the host by itself. In the end
// uninstall leaves no host path.
func TestHostReachesWorkload(t *testing.T) {
	bare := []string{"lo", "u0", "u1"}
	s := serve(t, api.ModeStateful, servedIPv6)
	s.configure(servedIPv6)
	for _, at := range []struct {
		listen  string
		six     bool
		gateway string
	}{{"10.0.0.42:8080", false, "10.0.0.1"}, {"[fd00:a::42]:8080", true, "fd00:a::1"}} {
		var l net.Listener
		inside(t, s.workload, func() (err error) { l, err = net.Listen("tcp", at.listen); return err })
		go func() { _ = http.Serve(l, http.HandlerFunc(seenFrom)) }() // ends with its socket
		t.Cleanup(func() { l.Close() })
		alias := vrouter.AliasAddress(s.alias(), at.six).String()
		if at.six {
			alias += "%weft0"
		}
		if got := fetch(t, s.ns, net.JoinHostPort(alias, "8080")); got != "200 "+at.gateway {
			t.Errorf("the host asks %s at %s: %s", at.listen, alias, got)
		}
		var host net.Listener
		inside(t, s.ns, func() (err error) { host, err = net.Listen("tcp", ":0"); return err })
		t.Cleanup(func() { host.Close() })
		port := strconv.Itoa(host.Addr().(*net.TCPAddr).Port)
		inside(t, s.workload, func() error {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(at.gateway, port), 300*time.Millisecond)
			if err == nil {
				conn.Close()
				t.Errorf("the workload reaches the host's own port %s", port)
			}
			return nil
		})
	}
	s.agent.stop(t, os.Interrupt)
	inside(t, s.ns, func() error {
		tap, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(tap)
	})
	s.uninstall(bare)
}

func seenFrom(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprint(w, host)
}

// alias is the number of the workload's interface on the host.
func (s served) alias() (number uint32) {
	inside(s.t, s.ns, func() error {
		tap, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		attached := map[string]datapath.Attachment{servedPort: {Ifindex: tap.Attrs().Index}}
		for n := range datapath.Aliases(attached) {
			number = n
		}
		return nil
	})
	return number
}

// A network has a service of the fabric at an address of its own, if the host
// knows it; a network that does not ask for it has not.
func TestFabricService(t *testing.T) {
	var server net.Listener
	s := serve(t, api.ModeStateful, servedIPv6, func(m *machine) {
		inside(t, m.ns, func() (err error) { server, err = net.Listen("tcp", "127.0.0.1:0"); return err })
		m.arguments = []string{"--service", "licences=" + server.Addr().String()}
	})
	go func() { _ = http.Serve(server, http.HandlerFunc(seenFrom)) }() // ends with its socket
	t.Cleanup(func() { server.Close() })
	s.configure(servedIPv6)
	refused := func(to string) {
		t.Helper()
		inside(t, s.workload, func() error {
			if conn, err := net.DialTimeout("tcp", to, 300*time.Millisecond); err == nil {
				conn.Close()
				t.Errorf("%s is answered", to)
			}
			return nil
		})
	}
	refused("169.254.10.1:4000")
	rows := servedRows(api.ModeStateful, servedIPv6)
	rows[desired.VRFRow(7)].GetVrf().Services = []*hoststream.FabricService{
		{Name: "licences", Address: []byte{169, 254, 10, 1}, Port: 4000}, {Name: "unknown", Address: []byte{169, 254, 10, 2}, Port: 4000},
	}
	s.controller.set(rows)
	s.controller.settledBut(desired.VRFRow(7), "network d:p:served has no service unknown by tcp")
	if got := fetch(t, s.workload, "169.254.10.1:4000"); got != "200 127.0.0.1" {
		t.Errorf("the service says %s", got)
	}
	refused("169.254.10.1:4001")
	refused("169.254.10.2:4000")
}
