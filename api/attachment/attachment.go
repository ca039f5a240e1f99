// SPDX-License-Identifier: Apache-2.0

// Package attachment is what a container runtime's plugin and the agent of its host
// say to each other, and how both find the port of a workload's interface without
// asking a controller.
package attachment

import (
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"github.com/weft-network/weft/api"
)

// SocketName is the name of the agent's socket in its run directory.
const SocketName = "agent.sock"

// Key is what a runtime calls one interface of one container: what it gives to take
// the interface away again.
type Key struct {
	Container string `json:"container"`
	Ifname    string `json:"ifname"` // in the container
	// Config is the name of the runtime's configuration that asked.
	Config string `json:"config,omitempty"`
}

// Same tells whether two keys are of one interface.
func (k Key) Same(o Key) bool { return k.Container == o.Container && k.Ifname == o.Ifname }

// Request asks to attach a container's interface to a port.
type Request struct {
	Key
	Port string `json:"port"` // UUID or fully qualified name
	// Network is the UUID or fully qualified name of the port's network: while no
	// controller can be reached, a new port gets an address of it that is reserved
	// for the host.
	Network string `json:"network,omitempty"`
	Netns   string `json:"netns"` // path of the container's network namespace
	// TimeoutSeconds bounds the wait for the port and its rows; 0 leaves it to the agent.
	TimeoutSeconds int `json:"timeoutSeconds,omitempty"`
}

// Address is an address of a port.
type Address struct {
	Prefix  netip.Prefix `json:"prefix"` // with the subnet's length
	Gateway netip.Addr   `json:"gateway,omitzero"`
}

// Answer describes an attached interface.
type Answer struct {
	Port      string    `json:"port"`
	Name      string    `json:"name"`
	Interface string    `json:"interface"` // on the host
	MAC       string    `json:"mac"`       // in the container
	MTU       int       `json:"mtu"`
	Addresses []Address `json:"addresses"`
}

// Collection asks to take away what a configuration attached and its runtime does not
// know any more.
type Collection struct {
	Config string `json:"config"`
	Valid  []Key  `json:"valid"` // these stay
}

// Collected is what was taken away.
type Collected struct {
	Removed []Key `json:"removed"`
}

// State is how ready a host is for workloads.
type State string

// The states of a host.
const (
	Ready       State = "ready"
	Unavailable State = "unavailable" // it does not know its networks yet
	// Limited is Unavailable, and workloads are there already that may lack what changed.
	Limited State = "limited"
)

// Readiness is how ready a host is for workloads.
type Readiness struct {
	State   State  `json:"state"`
	Message string `json:"message,omitempty"`
}

// ports is the UUID in whose space those of workloads' ports are.
var ports = uuid.MustParse("5f0f0f6a-6b1d-5c53-9f3e-3d7f8b1c4e21")

// Port is the UUID of the port of a workload's interface. Whoever makes ports for the
// workloads of an orchestrator gives them this UUID, and who connects the workload on
// its host finds the port by it: the cluster's name is the orchestrator's instance, as
// both are configured; the workload is what the orchestrator itself calls the one
// instance that is started, never to be used again.
func Port(cluster, workload, ifname string) (string, error) {
	for _, part := range []string{cluster, workload, ifname} {
		if part == "" || strings.ContainsAny(part, "/\x00") { // it could be read as another triple
			return "", api.Errorf(api.CodeInvalid, "find the port of interface %q of workload %q in cluster %q: none of the three may be empty or contain a slash", ifname, workload, cluster)
		}
	}
	return uuid.NewSHA1(ports, []byte(cluster+"/"+workload+"/"+ifname)).String(), nil
}
