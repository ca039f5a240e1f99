// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-network/weft/api/attachment"
)

// What holds where the configuration does not say otherwise.
const (
	defaultSocket  = "/run/weft/" + attachment.SocketName
	defaultCluster = "k8s"
	defaultTimeout = 30 * time.Second
)

// config is the plugin's part of a runtime's configuration, with what the runtime added.
type config struct {
	types.PluginConf
	// Cluster is the name of the orchestrator's instance, as its adapter has it.
	Cluster string `json:"cluster"`
	// Network is where a new workload gets a reserved address while no controller can
	// be reached.
	Network string `json:"network"`
	Socket  string `json:"socket"`
	// TimeoutSeconds bounds how long a container waits for its port.
	TimeoutSeconds int `json:"timeoutSeconds"`

	RuntimeConfig    map[string]json.RawMessage `json:"runtimeConfig"`
	ValidAttachments json.RawMessage            `json:"cni.dev/valid-attachments"`
}

func readConfig(data []byte) (*config, error) {
	c := &config{Cluster: defaultCluster, Socket: defaultSocket}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("read the configuration: %v", err), "")
	}
	switch {
	case c.IPAM.Type != "":
		return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("the configuration has ipam %q: take it out, addresses are those of the port", c.IPAM.Type), "")
	case c.TimeoutSeconds < 0:
		return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("timeoutSeconds is %d: give at least 1, or leave it out for %d", c.TimeoutSeconds, int(defaultTimeout/time.Second)), "")
	}
	return c, nil
}

// refuseCapabilities refuses what a runtime asks for that only intent can give: to do
// without would make a promise that nobody keeps.
func (c *config) refuseCapabilities() error {
	for _, name := range slices.Sorted(maps.Keys(c.RuntimeConfig)) {
		switch value := strings.TrimSpace(string(c.RuntimeConfig[name])); value {
		case "null", "[]", "{}", `""`: // runtimes say so when nothing is asked
		default:
			return types.NewError(types.ErrUnsupportedField, fmt.Sprintf("the runtime asks for %s: take that out of the configuration's capabilities: %s", name, instead(name)), "")
		}
	}
	return nil
}

// instead says who does what a capability is for.
func instead(capability string) string {
	switch capability {
	case "bandwidth":
		return "a port's limits are its qos-policy"
	case "portMappings":
		return "give the capability to the plugin portmap, after this one in the list"
	case "ips", "mac":
		return "addresses are those of the port"
	default:
		return "this plugin does not have it"
	}
}

func (c *config) timeout() time.Duration {
	if c.TimeoutSeconds == 0 {
		return defaultTimeout
	}
	return time.Duration(c.TimeoutSeconds) * time.Second
}

// arguments are what a runtime says of the container, as NAME=VALUE;...
func arguments(text string) map[string]string {
	all := map[string]string{}
	for _, one := range strings.Split(text, ";") {
		if name, value, ok := strings.Cut(one, "="); ok {
			all[name] = value
		}
	}
	return all
}

// The arguments that say which port a container is for.
const (
	argumentPort = "WEFT_PORT"   // UUID or fully qualified name
	argumentUID  = "K8S_POD_UID" // what the orchestrator calls the workload
)

// port is the port that a container's interface is to have.
func (c *config) port(text, ifname string) (string, error) {
	given := arguments(text)
	if port := given[argumentPort]; port != "" {
		return port, nil
	}
	if given[argumentUID] == "" {
		return "", types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_ARGS says neither %s nor %s: which port is the container for?", argumentUID, argumentPort), "")
	}
	port, err := attachment.Port(c.Cluster, given[argumentUID], ifname)
	if err != nil {
		return "", types.NewError(types.ErrInvalidEnvironmentVariables, err.Error(), "")
	}
	return port, nil
}
