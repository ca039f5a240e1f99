// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
)

// dhcpClient is a running client whose script writes down what it is told.
type dhcpClient struct {
	t     *testing.T
	c     *exec.Cmd
	told  string // file
	out   *lockedBuffer
	ended chan struct{}
}

// client starts a DHCP client in the workload, with its leases in a directory.
// The script ends with a status of its own for one reason.
func (s served) background(t *testing.T, dir, refuse, name string, arguments ...string) *dhcpClient {
	t.Helper()
	d := &dhcpClient{t: t, told: filepath.Join(t.TempDir(), "told"), out: &lockedBuffer{}, ended: make(chan struct{})}
	script := filepath.Join(t.TempDir(), "script")
	text := "#!/bin/sh\n{ echo action=$1 reason=$reason ip=$ip$new_ip_address$new_ip6_address end; } >> " + d.told + "\n[ \"$reason\" != \"" + refuse + "\" ] || exit 3\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, a := range arguments {
		arguments[i] = strings.NewReplacer("SCRIPT", script, "DIR", dir).Replace(a)
	}
	d.c = exec.Command(name, arguments...)
	d.c.Stdout, d.c.Stderr = d.out, d.out
	command(t, s.workload, d.c)
	go func() { _ = d.c.Wait(); close(d.ended) }()
	t.Cleanup(d.kill)
	return d
}

func (d *dhcpClient) kill() {
	_ = d.c.Process.Kill() // has ended if it ends by itself
	<-d.ended
}

// hears waits until the script was told something, more often than before.
func (d *dhcpClient) hears(what string, times int) {
	d.t.Helper()
	eventually(d.t, func() error {
		raw, _ := os.ReadFile(d.told)
		if n := strings.Count(string(raw), what); n < times {
			return fmt.Errorf("the client heard %q %d times, want %d: %s\nit says %s", what, n, times, raw, d.out)
		}
		return nil
	})
}

// lease waits until the host tells this of how a workload gets addresses.
func (s served) lease(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, func() error {
		var all []string
		for _, r := range s.controller.table(api.HostTableLeases).Rows {
			line := strings.Join(r.Cells, " ")
			fits := true
			for _, w := range want {
				fits = fits && strings.Contains(line, w)
			}
			if fits {
				return nil
			}
			all = append(all, line)
		}
		return fmt.Errorf("no lease has %q in:\n%s", want, strings.Join(all, "\n"))
	})
}

// leased is a host whose leases last so many seconds.
func leased(t *testing.T, seconds uint32) served {
	t.Helper()
	s := serve(t, api.ModeStateful, servedIPv6)
	s.configure(servedIPv6) // renewals come from the address
	s.last(seconds)
	return s
}

// last changes how long leases last.
func (s served) last(seconds uint32) {
	s.t.Helper()
	rows := servedRows(api.ModeStateful, servedIPv6)
	for _, id := range []string{"s4", "s6"} {
		rows[desired.SubnetRow(desired.SubnetKey{VRF: 7, ID: id})].GetSubnet().LeaseSeconds = seconds
	}
	s.controller.set(rows)
	s.controller.settled()
}

// isc-dhclient through all its states: bound, renewing while the agent is
// killed and started again, and without a controller, rebooting, declining and
// releasing; the host tells what it saw.
func TestDHCPClientStates(t *testing.T) {
	s := leased(t, 6)
	dir := t.TempDir()
	run := func(refuse string, more ...string) *dhcpClient {
		return s.background(t, dir, refuse, "dhclient", append(append([]string{"-4", "-d", "-sf", "SCRIPT", "-lf", "DIR/leases", "-pf", "DIR/pid"}, more...), "eth0")...)
	}
	c := run("")
	c.hears("reason=BOUND ip=10.0.0.42", 1)
	s.lease(t, "d:p:guest tap0 dhcp 10.0.0.42", "request ack")
	c.hears("reason=RENEW ip=10.0.0.42", 1)
	s.agent.stop(t, syscall.SIGKILL)
	s.start(tunnels4[0])
	s.agent.waitReady(t)
	c.hears("reason=RENEW ip=10.0.0.42", 3)
	s.lease(t, "dhcp 10.0.0.42", "request ack")
	// A lease that is not over when the client comes back. Only the first one is
	// written down at once: dhclient writes no more often than every 15 s.
	c.kill()
	s.last(600)
	if err := os.Remove(filepath.Join(dir, "leases")); err != nil {
		t.Fatal(err)
	}
	c = run("")
	c.hears("reason=BOUND ip=10.0.0.42", 1)
	s.lease(t, "dhcp 10.0.0.42 9m")
	c.kill()
	s.last(6)
	c = run("")
	c.hears("reason=REBOOT ip=10.0.0.42", 1)
	c.kill()
	run("", "-r").hears("reason=RELEASE", 1)
	s.lease(t, "dhcp - -", "release none")
	c = run("BOUND")
	s.lease(t, "dhcp - -", "decline none")
	c.kill()
	busy := s.background(t, dir, "", "udhcpc", "-i", "eth0", "-f", "-s", "SCRIPT", "-x", "hostname:me", "-V", "test client")
	busy.hears("action=bound reason= ip=10.0.0.42", 1)
	s.lease(t, "request ack", "me", "test client", "01020000000002a"[:4])
	if err := busy.c.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	busy.hears("action=renew reason= ip=10.0.0.42", 1)
	s.agent.stop(t, syscall.SIGKILL)
	s.controller.server.Stop()
	s.start(tunnels4[0]) // and is never in sync
	busy.hears("action=renew reason= ip=10.0.0.42", 3)
	busy.kill()
	run("").hears("ip=10.0.0.42", 1)
}

// isc-dhclient for DHCPv6: bound, renewing, confirming after a reboot,
// releasing, declining, and asking for information alone.
func TestDHCPv6ClientStates(t *testing.T) {
	s := leased(t, 6)
	dir := t.TempDir()
	eventually(t, s.tentative)
	run := func(refuse string, more ...string) *dhcpClient {
		return s.background(t, dir, refuse, "dhclient", append(append([]string{"-6", "-d", "-sf", "SCRIPT", "-lf", "DIR/leases6", "-pf", "DIR/pid6"}, more...), "eth0")...)
	}
	c := run("")
	c.hears("reason=BOUND6 ip=fd00:a::42", 1)
	s.lease(t, "d:p:guest tap0 dhcpv6 fd00:a::42", "request reply")
	c.hears("reason=RENEW6 ip=fd00:a::42", 1)
	s.lease(t, "dhcpv6 fd00:a::42", "renew reply")
	c.kill()
	c = run("")
	s.lease(t, "dhcpv6 fd00:a::42", "confirm reply")
	c.kill()
	run("", "-r").hears("reason=RELEASE6", 1)
	s.lease(t, "dhcpv6 - -", "release reply")
	c = run("BOUND6")
	s.lease(t, "dhcpv6 - -", "decline reply")
	c.kill()
	c = run("", "-S")
	s.lease(t, "dhcpv6", "information-request reply")
	c.kill()
	s.lease(t, "ra", "router-solicitation router-advertisement")
	found := false
	for _, r := range s.controller.table(api.HostTableAliases).Rows {
		found = found || strings.Contains(strings.Join(r.Cells, " "), "d:p:guest tap0 169.254.")
	}
	if !found {
		t.Error("the workload's alias is not told")
	}
}
