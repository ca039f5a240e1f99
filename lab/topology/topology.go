// SPDX-License-Identifier: Apache-2.0

// Package topology builds a whole Weft system on one machine: hosts, controller
// and workloads are network namespaces on an underlay, the processes in them
// are the real binaries.
//
// Everything it makes is found again by the id of the run alone: namespaces are
// named weft-<run>-…, all else (processes, logs, mounts, state) is in one
// directory. So Down works from another process, after a crash, and twice.
// Nothing is made in the root namespace but one listening socket on loopback,
// which the controller inherits, so that a person's CLI reaches its API.
package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"

	"github.com/weft-network/weft/lab/namespace"
)

// Bounds of a run. The id is part of names of namespaces and paths of unix
// sockets, which may be 108 bytes long; host addresses end in one byte.
const (
	maxHosts    = 100
	maxDirBytes = 60
)

var runPattern = regexp.MustCompile(`^[a-z0-9]{1,12}$`)

// marker is the file that says a directory is a lab's and may be removed.
const marker = "weft-lab.json"

// Family says which tunnel addresses the hosts announce.
type Family string

// The families of underlays.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
	Both Family = "both"
	// Elsewhere: the arguments of each host's AgentBuild name its addresses.
	Elsewhere Family = "elsewhere"
)

// Options describe a run.
type Options struct {
	Run         string `json:"run"`   // lower-case letters and digits
	Dir         string `json:"dir"`   // the run's own directory
	Bin         string `json:"bin"`   // folder with weft, weft-controller and weft-agent; empty for an underlay alone
	Hosts       int    `json:"hosts"` // named h1, h2, …
	UnderlayMTU int    `json:"underlayMTU"`
	Tunnel      Family `json:"tunnel"`
	APIPort     int    `json:"apiPort"` // on 127.0.0.1; 0 takes a free one
	// ControllerArguments come after the controller's others.
	ControllerArguments []string `json:"controllerArguments,omitempty"`
}

// Lab is a run.
type Lab struct {
	Options

	mu       sync.Mutex
	children map[string]*child
	builds   map[int]AgentBuild
}

// Addresses of the underlay, from the ranges for documentation: they are seen
// nowhere but inside the run's own namespaces.
var (
	underlay4 = netip.MustParsePrefix("192.0.2.0/24")
	underlay6 = netip.MustParsePrefix("2001:db8::/64")
)

const (
	controllerIndex = 1
	firstHostIndex  = 11
)

// Names of the interfaces of the underlay.
const (
	BridgeName = "fabric"
	UplinkName = "uplink"
)

// ErrExists says that the run is up already.
var ErrExists = errors.New("the run exists already")

// New makes the run's directory. ErrExists tells of an earlier one that was not
// taken down.
func New(o Options) (*Lab, error) {
	if o.UnderlayMTU == 0 {
		o.UnderlayMTU = 1600 // room for workloads with 1500 inside VXLAN over IPv6
	}
	if o.Tunnel == "" {
		o.Tunnel = IPv4
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	names, err := namespace.List(prefix(o.Run))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(o.Dir, marker)); err == nil || len(names) > 0 {
		return nil, fmt.Errorf("set up run %s in %s: %w", o.Run, o.Dir, ErrExists)
	}
	l := &Lab{Options: o, children: map[string]*child{}}
	for _, d := range []string{"", "logs", "processes"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("set up run %s: %w", o.Run, err)
		}
	}
	return l, l.save()
}

// Open returns a run that is up, made by another process.
func Open(dir string) (*Lab, error) {
	data, err := os.ReadFile(filepath.Join(dir, marker))
	if err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	l := &Lab{children: map[string]*child{}}
	if err := json.Unmarshal(data, &l.Options); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, marker), err)
	}
	return l, nil
}

func (o Options) check() error {
	if os.Geteuid() != 0 {
		return errors.New("set up a lab: network namespaces and eBPF need root; run it as root")
	}
	if !runPattern.MatchString(o.Run) {
		return fmt.Errorf("set up a lab: run id %q is not 1 to 12 lower-case letters and digits", o.Run)
	}
	if o.Hosts < 1 || o.Hosts > maxHosts {
		return fmt.Errorf("set up run %s: %d hosts are not between 1 and %d", o.Run, o.Hosts, maxHosts)
	}
	if !filepath.IsAbs(o.Dir) || len(o.Dir) > maxDirBytes {
		return fmt.Errorf("set up run %s: directory %q is not an absolute path of at most %d bytes (it holds unix sockets)", o.Run, o.Dir, maxDirBytes)
	}
	if o.Bin == "" {
		return nil // an underlay alone, without Weft
	}
	for _, b := range []string{"weft", "weft-controller", "weft-agent"} {
		if _, err := os.Stat(filepath.Join(o.Bin, b)); err != nil {
			return fmt.Errorf("set up run %s: %w; build the programs first", o.Run, err)
		}
	}
	return nil
}

func (l *Lab) save() error {
	data, err := json.MarshalIndent(l.Options, "", "  ")
	if err != nil {
		return fmt.Errorf("encode options of run %s: %w", l.Run, err)
	}
	if err := os.WriteFile(filepath.Join(l.Dir, marker), data, 0o600); err != nil {
		return fmt.Errorf("save options of run %s: %w", l.Run, err)
	}
	return nil
}

func prefix(run string) string { return "weft-" + run + "-" }

// Namespace returns the full name of one of the run's namespaces: a host
// ("h1"), "controller", "underlay", or a workload.
func (l *Lab) Namespace(name string) string { return prefix(l.Run) + name }

// HostName is the name of the n-th host, from 1.
func HostName(n int) string { return fmt.Sprintf("h%d", n) }

// HostAddresses returns the n-th host's addresses in the underlay.
func HostAddresses(n int) (v4, v6 netip.Addr) { return underlayAddress(firstHostIndex + n - 1) }

// ControllerAddresses returns the controller's addresses in the underlay.
func ControllerAddresses() (v4, v6 netip.Addr) { return underlayAddress(controllerIndex) }

func underlayAddress(index int) (v4, v6 netip.Addr) {
	a, b := underlay4.Addr().As4(), underlay6.Addr().As16()
	a[3], b[15] = byte(index), byte(index)
	return netip.AddrFrom4(a), netip.AddrFrom16(b)
}

// tunnelAddresses are what the n-th host announces.
func (l *Lab) tunnelAddresses(n int) []netip.Addr {
	v4, v6 := HostAddresses(n)
	switch l.Tunnel {
	case IPv4:
		return []netip.Addr{v4}
	case IPv6:
		return []netip.Addr{v6}
	case Elsewhere:
		return nil
	}
	return []netip.Addr{v4, v6}
}

// WireUnderlay makes the underlay's bridge, the namespaces of controller and
// hosts, and the links between them.
func (l *Lab) WireUnderlay() error {
	under := l.Namespace("underlay")
	if err := namespace.Create(under); err != nil {
		return err
	}
	if err := namespace.Bridge(under, BridgeName, l.UnderlayMTU); err != nil {
		return err
	}
	if err := l.wire("controller", controllerIndex); err != nil {
		return err
	}
	ports := []string{"controller"}
	for n := 1; n <= l.Hosts; n++ {
		if err := l.wire(HostName(n), firstHostIndex+n-1); err != nil {
			return err
		}
		ports = append(ports, HostName(n))
	}
	return namespace.WaitUp(under, ports...)
}

func (l *Lab) wire(name string, index int) error {
	ns := l.Namespace(name)
	if err := namespace.Create(ns); err != nil {
		return err
	}
	v4, v6 := underlayAddress(index)
	return namespace.Veth(
		namespace.End{Namespace: l.Namespace("underlay"), Name: name, Bridge: BridgeName},
		namespace.End{Namespace: ns, Name: UplinkName, GRO: true, Addresses: []netip.Prefix{
			netip.PrefixFrom(v4, underlay4.Bits()), netip.PrefixFrom(v6, underlay6.Bits()),
		}}, l.UnderlayMTU)
}

// baseName is the folder for runs below the system's folder for temporary files.
const baseName = "weft-lab"

// RunDir is the directory of a run by default: below base, or below the
// system's folder for temporary files when base is empty.
func RunDir(base, run string) string {
	if base == "" {
		base = filepath.Join(os.TempDir(), baseName)
	}
	return filepath.Join(base, run)
}

// FreePort returns the wanted port of loopback, or 0 (any) when it is in use.
func FreePort(wanted int) int {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(wanted)))
	if err != nil {
		return 0
	}
	l.Close()
	return wanted
}
