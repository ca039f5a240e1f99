// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// byMPLS makes the rows of a host those of a network whose list is this.
func byMPLS(rows map[string]*hoststream.Row, vrf uint32, host int, list ...string) {
	v := rows[desired.VRFRow(vrf)].GetVrf()
	v.SourcesListed, v.Labelled = true, true
	rows[desired.SourceRow(desired.SourceKey{VNI: vrf, Host: hostID(1 - host)})] = &hoststream.Row{Body: &hoststream.Row_TunnelSource{
		TunnelSource: &hoststream.TunnelSource{Vni: vrf, Host: hostID(1 - host)},
	}}
	for _, r := range rows {
		if e := r.GetTunnelEndpoint(); e != nil {
			e.Encapsulations = encapsulations
		}
		if remote := r.GetRoute().GetRemote(); remote != nil {
			remote.Encapsulations = list
		}
	}
}

// sniffing has tcpdump write what passes an interface to a file, count packets at most,
// from when it returns until wait, which waits for the last of them, or the test ends.
func sniffing(t *testing.T, ns, device string, count int, what ...string) (file string, wait func()) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "capture")
	c := exec.Command("tcpdump", append([]string{"-i", device, "-U", "-w", file, "-c", fmt.Sprint(count)}, what...)...)
	ready := &strings.Builder{}
	pipe, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	command(t, ns, c)
	for buffer := make([]byte, 256); !strings.Contains(ready.String(), "listening on"); {
		n, err := pipe.Read(buffer)
		if err != nil {
			t.Fatalf("tcpdump: %v: %s", err, ready)
		}
		ready.Write(buffer[:n])
	}
	ended := sync.OnceFunc(func() { _ = c.Wait() }) // that it was told to end is no failure
	t.Cleanup(func() {
		_ = c.Process.Kill() // has ended if all went well
		ended()
	})
	return file, ended
}

// tshark is what others make of packets in a file.
func tshark(t *testing.T, file string, arguments ...string) string {
	t.Helper()
	out, err := exec.Command("tshark", append([]string{"-r", file}, arguments...)...).Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, out)
	}
	return string(out)
}

// decoded reads what passes an interface until count packets of MPLS over UDP
// did, and returns how they are decoded by others.
func decoded(t *testing.T, ns, device string, count int) (done func() string) {
	t.Helper()
	file, wait := sniffing(t, ns, device, count, "udp", "port", "6635")
	return func() string {
		wait()
		return tshark(t, file, "-o", "udp.check_checksum:TRUE", "-T", "fields", "-E", "separator=;", "-e", "frame.protocols",
			"-e", "udp.dstport", "-e", "mpls.label", "-e", "mpls.bottom", "-e", "udp.checksum.status", "-e", "udp.srcport")
	}
}

// Hosts whose network prefers MPLS over UDP use it, over either family, with
// whole packets and segments; others decode it. Restarts lose nothing.
func TestMPLSOverUDP(t *testing.T) {
	for name, tunnel := range map[string][2]netip.Prefix{"IPv4 underlay": tunnels4, "IPv6 underlay": tunnels6} {
		t.Run(name, func(t *testing.T) {
			m := twoHosts(t, tunnel)
			before := [2][]string{links(t, m[0].ns), links(t, m[1].ns)}
			for i := range m {
				m[i].start(tunnel[i])
				m[i].agent.waitReady(t)
				rows := network(100, tunnel)[i]
				byMPLS(rows, 100, i, "mplsudp", "vxlan")
				m[i].controller.set(rows)
				m[i].controller.settled()
			}
			w10, w11 := namespace(t, "w10"), namespace(t, "w11")
			m[0].mustPlug(portID(100, 10), w10)
			m[1].mustPlug(portID(100, 11), w11)
			if out, err := ping(t, w10, ips(11)[0].String(), "-c", "1", "-w", "15", "-i", "0.1"); err != nil { // until both take labels
				t.Fatalf("%v\n%s", err, out)
			}
			done := decoded(t, m[1].ns, "u0", 6)
			for _, to := range ips(11) {
				reaches(t, w10, to.String())
			}
			inner := "icmp"
			for _, line := range strings.Split(strings.TrimSpace(done()), "\n") {
				f := strings.Split(line, ";")
				right := len(f) == 6 && strings.Contains(f[0], ":udp:mpls:ip") && strings.Contains(f[0], inner) && f[1] == "6635" && f[2] == "100" && f[3] == "1"
				if !right || tunnel[0].Addr().Is6() && f[4] != "1" {
					t.Errorf("decoded as %q", line)
				}
			}
			if hops := fmt.Sprint(m[0].controller.table(api.HostTableNextHops).Rows); !strings.Contains(hops, "mplsudp") {
				t.Errorf("next hops: %s", hops)
			}
			for _, to := range ips(11) {
				items := m[0].traced(api.TraceQuestion{Port: portID(100, 10), To: to})
				expectItems(t, items, map[string]string{api.TraceVerdict: "tunnelled", api.TraceStage: "route: passed; encap: label 100 to " + tunnel[1].Addr().String() + " by MPLS over UDP; label: from " + tunnel[0].Addr().String(), "underlay route": "on u0"})
				if items["tunnel device"] != "" {
					t.Errorf("MPLS over UDP goes by no tunnel device, and a trace says that it is %q", items["tunnel device"])
				}
				items = m[1].traced(onward(t, items))
				expectItems(t, items, map[string]string{
					api.TraceVerdict: "delivered", api.TraceReceiver: portID(100, 11), api.TraceStage: "unlabel: passed; parse: passed; route: passed; deliver", "underlay": "label 100 from " + tunnel[0].Addr().String() + ": network",
				})
			}
			flow := pinging(t, w10, ips(11)[1].String())
			for i := range m {
				m[i].agent.stop(t, syscall.SIGKILL)
				m[i].start(tunnel[i])
				m[i].agent.waitReady(t)
			}
			flow.lossless(t)
			for i := range m {
				m[i].agent.stop(t, syscall.SIGTERM)
				m[i].uninstall(before[i])
			}
		})
	}
}
