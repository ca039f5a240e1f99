// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/guest"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// Bounds, generous because the guest's processor is emulated and other tests
// share the machine.
const (
	buildTimeout = 10 * time.Minute
	upTimeout    = 2 * time.Minute
	bootTimeout  = 4 * time.Minute
	pollEvery    = 50 * time.Millisecond
)

// binaries is the folder with the programs under test.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "lab/vm: network namespaces and eBPF need root; run the tests as root")
		return 1
	}
	dir, err := os.MkdirTemp("", "weft-vm-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "../../cmd/...", "../cmd/weft-ask")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	binaries = dir
	return m.Run()
}

// site is a running system with two hosts.
type site struct {
	*testing.T
	lab *topology.Lab
}

// start brings a system up; prepare is called before its agents start.
func start(t *testing.T, suffix string, prepare func(*topology.Lab)) *site {
	t.Helper()
	id := fmt.Sprintf("v%d%s", os.Getpid(), suffix)
	lab, err := topology.New(topology.Options{Run: id, Dir: topology.RunDir("", id), Bin: binaries, Hosts: 2, Tunnel: topology.IPv4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(lab.Tail("h1"), lab.Tail(topology.Controller))
		}
		if err := lab.Down(); err != nil {
			t.Errorf("take the system down: %v", err)
		}
	})
	prepare(lab)
	ctx, cancel := context.WithTimeout(t.Context(), upTimeout)
	defer cancel()
	if err := lab.Up(ctx); err != nil {
		t.Fatal(err)
	}
	return &site{t, lab}
}

func (s *site) weft(args ...string) string {
	s.Helper()
	out, err := s.lab.Weft(s.Context(), args...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

func (s *site) apply(text string) {
	s.Helper()
	file := filepath.Join(s.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	s.weft("apply", "-f", file)
}

// container plugs a namespace into a port of the second host.
func (s *site) container(name, port string) {
	s.Helper()
	if err := s.lab.AddWorkload(name); err != nil {
		s.Fatal(err)
	}
	if err := s.lab.Plug(s.Context(), 2, port, name); err != nil {
		s.Fatal(err)
	}
}

const tapName = "tap0a1b2c3d-4e" // as Nova names them

// boot starts a machine on the first host.
func (s *site) boot(o guest.MachineOptions) *guest.Machine {
	s.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		s.Fatal(err)
	}
	o.Cache, o.Memory = filepath.Join(cache, "weft", "kernels"), 256
	o.Cards = []guest.Card{{Tap: tapName, MAC: "02:00:00:00:0a:01"}}
	o.Start = func(c *exec.Cmd) error { return namespace.Start(s.lab.Namespace("h1"), c) }
	m, err := guest.NewMachine(s.Context(), o)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := m.Close(); err != nil {
			s.Error(err)
		}
		if s.Failed() {
			s.Logf("the machine's console:\n%s", m.Console())
		}
	})
	return m
}

// plugTap plugs the machine's tap once QEMU has made it.
func (s *site) plugTap(port string) {
	s.Helper()
	s.eventually(func() error {
		_, err := namespace.Run(s.lab.Namespace("h1"), "ip", "link", "show", tapName)
		return err
	})
	run := filepath.Join(s.lab.Dir, "h1", "run")
	if out, err := namespace.Run(s.lab.Namespace("h1"), filepath.Join(binaries, "weft-agent"), "plug", "--run-dir", run, "--port", port, "--interface", tapName); err != nil {
		s.Fatal(err, out)
	}
}

func (s *site) eventually(f func() error) {
	s.Helper()
	deadline := time.After(bootTimeout)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-time.After(pollEvery):
		case <-deadline:
			s.Fatal(err)
		}
	}
}

// do runs a line of shell in a machine; what it prints must have these words.
func (s *site) do(m *guest.Machine, line string, want ...string) {
	s.Helper()
	said, err := m.Do(s.Context(), line)
	if err != nil {
		s.Fatal(err)
	}
	for _, w := range want {
		if !strings.Contains(said, w) {
			s.Errorf("in the machine, %s\nsays\n%s\nand not %q", line, said, w)
		}
	}
}

// fails runs a line of shell in a machine that must fail.
func (s *site) fails(m *guest.Machine, line string) {
	s.Helper()
	if said, err := m.Do(s.Context(), line); err == nil {
		s.Errorf("in the machine, %s\nsucceeds\n%s", line, said)
	}
}

// serve answers HTTP in a namespace.
func (s *site) serve(ns, at string, handler http.HandlerFunc) net.Addr {
	s.Helper()
	var l net.Listener
	if err := namespace.Do(s.lab.Namespace(ns), func() (err error) { l, err = net.Listen("tcp", at); return err }); err != nil {
		s.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(l) }() // ends with Close
	s.Cleanup(func() { server.Close() })
	return l.Addr()
}

const big = 3 << 20 // bytes of a transfer

// large answers a request with many bytes, and one with a body with its sum.
func large(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && len(body) > 0 {
		fmt.Fprintf(w, "%d bytes %x", len(body), sha256.Sum256(body))
		return
	}
	_, _ = w.Write(content()) // the asker sees what is missing
}

func content() []byte { return []byte(strings.Repeat("weft", big/4)) }

// objects are two networks with the same addresses. The machine's port is in
// one of them, a container's inside it in the other. Addresses of IPv6 are
// those that follow from the MACs.
const objects = `
kind: domain
meta: {name: acme}
---
kind: project
meta: {name: p, parent: acme}
---
kind: network
meta: {name: front, parent: "acme:p"}
spec: {mtu: 1450}
---
kind: subnet
meta: {name: v4, parent: "acme:p:front"}
spec: {cidr: 10.9.0.0/24}
---
kind: subnet
meta: {name: v6, parent: "acme:p:front"}
spec: {cidr: "fd00:9::/64", addressMode: slaac}
---
kind: network
meta: {name: pods, parent: "acme:p"}
---
kind: subnet
meta: {name: v4, parent: "acme:p:pods"}
spec: {cidr: 10.9.0.0/24}
---
kind: subnet
meta: {name: v6, parent: "acme:p:pods"}
spec: {cidr: "fd00:9::/64", addressMode: slaac}
`

const machinePort = "acme:p:machine"

// ports makes the ports: the machine's on h1, web on h2; inside carried by the
// machine's, far on h2.
func (s *site) ports() {
	for _, c := range [][]string{
		{"port", "machine", "--network", "front", "--mac", "02:00:00:00:0a:01", "--ip", "10.9.0.10", "--ip", "fd00:9::ff:fe00:a01", "--host", "h1"},
		{"port", "web", "--network", "front", "--ip", "10.9.0.20", "--ip", "fd00:9::20", "--host", "h2"},
		{"port", "inside", "--network", "pods", "--mac", "02:00:00:00:0a:05", "--ip", "10.9.0.10", "--ip", "fd00:9::ff:fe00:a05"},
		{"port", "far", "--network", "pods", "--ip", "10.9.0.30", "--ip", "fd00:9::30", "--host", "h2"},
	} {
		s.weft(append(append([]string{"create"}, c...), "-p", "acme:p")...)
	}
	s.apply("kind: trunk\nmeta: {name: machine, parent: \"acme:p\"}\nspec: {port: \"acme:p:machine\"}\n---\n" +
		"kind: sub-port\nmeta: {name: inside, parent: \"acme:p:machine\"}\nspec: {port: \"acme:p:inside\", vlan: 5}\n")
}

// lease configures an interface as udhcpc's scripts do.
const lease = `#!/bin/sh
case $1 in bound|renew) ;; *) exit 0 ;; esac
ip -4 addr flush dev $interface
ip addr add $ip/$mask dev $interface
ip link set $interface mtu ${mtu:-1500}
ip route replace default via $router dev $interface
echo "search $search" > /etc/resolv.conf
for s in $dns; do echo "nameserver $s" >> /etc/resolv.conf; done
echo "lease of $ip"
`

const dhcp = "udhcpc -f -n -q -t 20 -T 1 -O mtu -O search -s /etc/lease -i "

// A virtual machine on a tap boots, gets its address, its routes, its MTU and
// its names from its own host, asks for metadata and reaches a container on
// another host, with TCP in full segments both ways; a container inside it has
// all that by a VLAN, in a network of its own; and a machine that starts anew
// is served without anybody plugging it again.
func TestVirtualMachine(t *testing.T) {
	s := start(t, "m", func(l *topology.Lab) {
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("shared\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		l.UseAgent(1, topology.AgentBuild{Program: filepath.Join(binaries, "weft-agent"), Arguments: []string{"--metadata-upstream", "http://127.0.0.1:8775", "--metadata-secret-file", secret}})
	})
	s.serve("h1", "127.0.0.1:8775", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "asked by %s", r.Header.Get("X-Forwarded-For"))
	})
	s.apply(objects)
	s.ports()
	s.container("web", "acme:p:web")
	s.container("far", "acme:p:far")
	s.serve("web", ":80", large)
	o := guest.MachineOptions{Programs: []string{filepath.Join(binaries, "weft-ask")}, Files: map[string]string{"etc/lease": lease}}
	m := s.boot(o)
	s.plugTap(machinePort)
	ctx, cancel := context.WithTimeout(t.Context(), bootTimeout)
	defer cancel()
	if err := m.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	s.serves(m)
	s.nests(m)
	m.Kill()
	again := s.boot(o)
	if err := again.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	s.serves(again)
}

// serves tries all that a host does for a machine.
func (s *site) serves(m *guest.Machine) {
	s.Helper()
	s.do(m, "ip link set eth0 up && "+dhcp+"eth0", "lease of 10.9.0.10")
	s.do(m, "ip -4 route", "default via 10.9.0.1")
	s.do(m, "ip link show eth0", "mtu 1450")
	s.do(m, "weft-ask resolve web", "10.9.0.20", "fd00:9::20")
	s.do(m, "weft-ask get http://169.254.169.254/who", "asked by 10.9.0.10")
	s.do(m, "until ip -6 addr show dev eth0 -tentative | grep -q fd00:9::ff:fe00:a01; do sleep 0.2; done; until ip -6 route | grep -q default; do sleep 0.2; done")
	for _, to := range []string{"10.9.0.20", "fd00:9::20"} {
		s.do(m, "ping -c 3 -i 0.2 -W 5 "+to, " 0% packet loss")
		host := net.JoinHostPort(to, "80")
		sum := fmt.Sprintf("%d bytes %x", big, sha256.Sum256(content()))
		s.do(m, "weft-ask get http://"+host+"/", sum)
		s.do(m, fmt.Sprintf("weft-ask post http://%s/ %d", host, big), sum)
	}
}

// nests makes a container in the machine, on a VLAN of its card.
func (s *site) nests(m *guest.Machine) {
	s.Helper()
	s.do(m, "ip netns add pod && ip link add link eth0 name eth0.5 address 02:00:00:00:0a:05 type vlan id 5 && ip link set eth0.5 netns pod && ip -n pod link set eth0.5 up")
	in := "ip netns exec pod "
	s.do(m, in+dhcp+"eth0.5", "lease of 10.9.0.10")
	s.do(m, in+"sh -c 'until ip -6 addr show dev eth0.5 -tentative | grep -q fd00:9::ff:fe00:a05; do sleep 0.2; done; until ip -6 route | grep -q default; do sleep 0.2; done'")
	s.do(m, in+"weft-ask resolve far", "10.9.0.30", "fd00:9::30")
	s.do(m, in+"weft-ask get http://169.254.169.254/who", "asked by 10.9.0.10")
	for _, to := range []string{"10.9.0.30", "fd00:9::30", "10.9.0.1", "fd00:9::1"} {
		s.do(m, in+"ping -c 3 -i 0.2 -W 5 "+to, " 0% packet loss")
	}
	s.fails(m, in+"ping -c 1 -W 1 10.9.0.20") // of the other network
	s.serve("far", ":80", large)
	s.do(m, in+"weft-ask get http://10.9.0.30/", fmt.Sprintf("%d bytes", big))
	s.do(m, in+fmt.Sprintf("weft-ask post http://[fd00:9::30]/ %d", big), fmt.Sprintf("%d bytes", big))
	// All of the chain is well, else the command fails.
	if out := s.weft("port", "inside", "-p", "acme:p"); !strings.Contains(out, tapName+".5") {
		s.Errorf("what is shown of the sub-port does not name its place:\n%s", out)
	}
	s.tracesTagged()
	s.do(m, "ping -c 2 -i 0.2 -W 5 10.9.0.20", " 0% packet loss") // the machine itself, as before
}

// tracesTagged asks what becomes of what the machine sends with a tag: what its container
// did above, in the container's network and not in the machine's, and of a tag nobody has.
func (s *site) tracesTagged() {
	s.Helper()
	for _, to := range []string{"10.9.0.30", "fd00:9::30", "acme:p:far"} {
		out := s.weft("trace", "--from", machinePort, "--from-vlan", "5", "--to", to, "--proto", "tcp", "--dport", "80")
		if !strings.Contains(out, "=> it arrives at acme:p:far") || !strings.Contains(out, "=> it arrives at acme:p:inside") {
			s.Errorf("what the container sends to %s, and its answer:\n%s", to, out)
		}
	}
	for vlan, to := range map[string]string{"5": "10.9.0.20", "6": "10.9.0.30"} {
		out, err := s.lab.Weft(s.Context(), "trace", "--from", machinePort, "--from-vlan", vlan, "--to", to)
		if err == nil || vlan == "6" && !strings.Contains(err.Error(), "VLAN 6") {
			s.Errorf("VLAN %s to %s: %v\n%s", vlan, to, err, out)
		}
	}
}

// bootFiles are told to what boots from the network, by what it says it is.
const bootFiles = `
kind: subnet
meta: {name: v4, parent: "acme:p:front"}
spec:
  cidr: 10.9.0.0/24
  dhcpOptions:
  - {option: tftp-server-address, value: 10.9.0.20}
  - {option: bootfile-name, value: any.0}
  - {option: bootfile-name, value: bios.0, clientArchitecture: bios}
  - {option: bootfile-name, value: chain.ipxe, clientArchitecture: bios, userClass: another}
  - {option: bootfile-name, value: x64.efi, clientArchitecture: uefi-x64}
`

// QEMU's own firmware boots from the network: our agent tells it its address,
// and the server and the file for a machine like it, which it then asks for.
func TestNetworkBoot(t *testing.T) {
	s := start(t, "p", func(*topology.Lab) {})
	s.apply(objects)
	s.apply(bootFiles)
	s.ports()
	s.container("web", "acme:p:web")
	var tftp net.PacketConn
	if err := namespace.Do(s.lab.Namespace("web"), func() (err error) { tftp, err = net.ListenPacket("udp", ":69"); return err }); err != nil {
		t.Fatal(err)
	}
	defer tftp.Close()
	m := s.boot(guest.MachineOptions{Network: true})
	s.plugTap(machinePort)
	if err := tftp.SetReadDeadline(time.Now().Add(bootTimeout)); err != nil {
		t.Fatal(err)
	}
	request := make([]byte, 512)
	n, from, err := tftp.ReadFrom(request)
	if err != nil {
		t.Fatalf("the machine asks for no file: %v\n%s", err, m.Console())
	}
	// RFC 1350: a read request is 1, the name, and a zero.
	if got := string(request[:n]); !strings.HasPrefix(got, "\x00\x01bios.0\x00") || !strings.HasPrefix(from.String(), "10.9.0.10:") {
		t.Errorf("%v asks for %q", from, got)
	}
}
