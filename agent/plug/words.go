// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/attachment"
)

// SocketName is the name of the socket in the run directory.
const SocketName = attachment.SocketName

// Request asks to plug (or, with Port alone, to unplug) a port.
type Request struct {
	Port string `json:"port"` // UUID or fully qualified name
	// Network is the UUID or fully qualified name of the port's network. While no
	// controller can be reached, a port that is new gets an address of it that is
	// reserved for this host.
	Network string `json:"network,omitempty"`
	link.Place
	// TimeoutSeconds bounds the wait for the port and its rows; 0 means DefaultTimeout.
	TimeoutSeconds int `json:"timeoutSeconds,omitempty"`
	// WaitSeconds bounds the wait, once traffic flows, for the other hosts that the
	// workload may talk to to know of it, from 0, which is none, to MaxTimeout.
	WaitSeconds int `json:"waitSeconds,omitempty"`

	holder *attachment.Key // of a container runtime
}

// Bounds of the wait of one request.
const (
	// DefaultTimeout is longer than a reconnect to another controller.
	DefaultTimeout = 30 * time.Second
	// MaxTimeout keeps forgotten requests from piling up.
	MaxTimeout = 5 * time.Minute
)

// DefaultIfname is the name of a workload's interface where none is given.
const DefaultIfname = "eth0"

// Answer describes a plugged port.
type Answer struct {
	Port      string   `json:"port"`
	Name      string   `json:"name"`
	Interface string   `json:"interface"` // on the host
	Ifname    string   `json:"ifname,omitempty"`
	MAC       string   `json:"mac"`
	Addresses []string `json:"addresses"` // with the subnet's prefix length
	Gateways  []string `json:"gateways,omitempty"`
	MTU       int      `json:"mtu"`
	VRF       uint32   `json:"vrf"`
	// Spread is which other hosts know of the workload, where it was waited for.
	Spread *Spread `json:"spread,omitempty"`
}

// Spread is how far the word of a workload has spread. A plug is a success whatever
// it says.
type Spread struct {
	// Known: all other hosts with routes to the workload know of it that are connected.
	Known bool `json:"known"`
	// Behind are those that do not, or are not connected.
	Behind  []BehindHost `json:"behind,omitempty"`
	Message string       `json:"message,omitempty"` // why nobody can tell
}

// String names the hosts that are behind, or says why nobody can tell.
func (s *Spread) String() string {
	words := make([]string, 0, len(s.Behind)+1)
	for _, b := range s.Behind {
		words = append(words, b.String())
	}
	if s.Message != "" {
		words = append(words, s.Message)
	}
	return strings.Join(words, ", ")
}

// BehindHost is a host that is not known to know of a workload.
type BehindHost struct {
	Host string `json:"host"`
	Why  string `json:"why"`
}

// String names the host with the reason.
func (b BehindHost) String() string { return b.Host + " (" + b.Why + ")" }

// Listed is a port of this host, plugged or bound.
type Listed struct {
	Port      string   `json:"port"`
	Name      string   `json:"name,omitempty"`
	State     string   `json:"state"`
	Message   string   `json:"message,omitempty"`
	Interface string   `json:"interface,omitempty"`
	Netns     string   `json:"netns,omitempty"`
	VRF       uint32   `json:"vrf,omitempty"`
	MAC       string   `json:"mac,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
}

// PortList is the answer to GET /v1/ports.
type PortList struct {
	Items []Listed `json:"items"`
}

// maxIfname is the longest name Linux gives an interface (IFNAMSIZ less its end).
const maxIfname = 15

// normalize fills in defaults and says what is wrong with a request to plug.
func (r *Request) normalize() error {
	switch {
	case r.Port == "":
		return api.Errorf(api.CodeInvalid, "plug: port is required: give its UUID or fully qualified name")
	case (r.Netns == "") == (r.Interface == ""):
		return api.Errorf(api.CodeInvalid, "plug port %s: give either a network namespace or an existing interface", r.Port)
	case r.Interface != "" && r.Ifname != "":
		return api.Errorf(api.CodeInvalid, "plug port %s: ifname is for network namespaces; an existing interface keeps its name", r.Port)
	}
	if most := int(MaxTimeout / time.Second); r.WaitSeconds < 0 || r.WaitSeconds > most {
		return api.Errorf(api.CodeInvalid, "plug port %s: wait for other hosts for 0 to %d seconds, not for %d", r.Port, most, r.WaitSeconds)
	}
	if r.Netns != "" && r.Ifname == "" {
		r.Ifname = DefaultIfname
	}
	if len(r.Ifname) > maxIfname || len(r.Interface) > maxIfname {
		return api.Errorf(api.CodeInvalid, "plug port %s: names of interfaces have at most %d bytes", r.Port, maxIfname)
	}
	if r.Netns != "" && !filepath.IsAbs(r.Netns) { // the agent's working directory is not the caller's
		return api.Errorf(api.CodeInvalid, "plug port %s: network namespace %s: give its path from / on, such as /run/netns/%s", r.Port, r.Netns, r.Netns)
	}
	if r.Ifname == "." || r.Ifname == ".." || strings.ContainsAny(r.Ifname, forbiddenInIfname) {
		return api.Errorf(api.CodeInvalid, "plug port %s: %q cannot be the name of an interface", r.Port, r.Ifname)
	}
	return nil
}

// forbiddenInIfname is what Linux refuses in the name of an interface.
const forbiddenInIfname = "/: \t\n\v\f\r\x00"

func (r *Request) timeout() time.Duration {
	if r.TimeoutSeconds <= 0 {
		return DefaultTimeout
	}
	return min(time.Duration(r.TimeoutSeconds)*time.Second, MaxTimeout)
}

// notBound is the refusal of a port that is no business of this host.
func notBound(ref string, waited time.Duration) error {
	return api.Errorf(api.CodeNotFound, "plug port %s: it is not bound to this host (waited %v): create a binding of the port to this host, active, and see that the agent is connected", ref, waited).
		About(api.KindPort, ref, "")
}

func notProgrammed(ref, why string) error {
	return api.Errorf(api.CodeTimeout, "plug port %s: its rows are not in the kernel yet: %s", ref, why).About(api.KindPort, ref, "")
}

// isCarried is the refusal of a sub-port, which comes and goes with another port.
func isCarried(ref string, row desired.Port) error {
	return api.Errorf(api.CodeConflict, "plug port %s: it is carried by port %s with VLAN %d: plug that", ref, row.Trunk, row.VLAN).About(api.KindPort, ref, "")
}

func inUse(ref, name, by string) error {
	return api.Errorf(api.CodeConflict, "plug port %s: interface %s belongs to port %s: unplug that first", ref, name, by).About(api.KindPort, ref, "")
}

func failed(verb, ref string, err error) error {
	return fmt.Errorf("%s port %s: %w", verb, ref, err)
}
