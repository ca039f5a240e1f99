// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/yaml"
)

// Contexts is a file with several configurations by name, of which one is in
// use. A file that holds one configuration is read as one context.
type Contexts struct {
	Current  string            `json:"current,omitempty"`
	Contexts map[string]Config `json:"contexts"`
}

// SingleContext is the name of the configuration of a file that holds just one.
const SingleContext = "default"

// ParseContexts reads either form of a client configuration file.
func ParseContexts(data []byte) (Contexts, error) {
	var probe map[string]any
	if err := yaml.Unmarshal(data, &probe); err != nil {
		return Contexts{}, fmt.Errorf("read client configuration: %w", err)
	}
	if _, several := probe["contexts"]; !several {
		config, err := ParseConfig(data)
		return Contexts{Current: SingleContext, Contexts: map[string]Config{SingleContext: config}}, err
	}
	var c Contexts
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return c, fmt.Errorf("read client configuration: %w", err)
	}
	return c, nil
}

// Use returns the configuration of a name, or of the one in use if that is "".
func (c Contexts) Use(name string) (Config, error) {
	if name == "" {
		name = c.Current
	}
	config, ok := c.Contexts[name]
	switch {
	case ok:
		return config, nil
	case name == "":
		return config, fmt.Errorf("no context is in use; there are %v", c.Names())
	}
	return config, fmt.Errorf("there is no context %q; there are %v", name, c.Names())
}

// Names lists the contexts.
func (c Contexts) Names() []string { return slices.Sorted(maps.Keys(c.Contexts)) }
