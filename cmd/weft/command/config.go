// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/weft-network/weft/api/client"
)

// connect loads the configuration, once, and prepares the client.
func (s *session) connect() (*client.Client, error) {
	if s.client != nil {
		return s.client, nil
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	c, err := client.New(s.config)
	if err != nil {
		return nil, fmt.Errorf("%w (configuration %s)", err, s.loaded)
	}
	s.client = c
	return c, nil
}

// load reads the configuration file: the one of --config, else the one the
// environment names, else the user's own.
func (s *session) load() error {
	if s.loaded != "" {
		return nil
	}
	name := s.HomeConfig
	if s.ConfigFile != "" {
		name = s.ConfigFile
	}
	if s.flags.config != "" {
		name = s.flags.config
	}
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failure{
			what: fmt.Sprintf("no client configuration: %s does not exist", name),
			hint: "name one with --config or $WEFT_CONFIG; a controller writes its administrators' to admin.yaml in its data directory",
		}
	case err != nil:
		return failure{what: fmt.Sprintf("read client configuration: %v", err)}
	}
	config, err := client.ParseConfig(data)
	if err != nil {
		return failure{what: fmt.Sprintf("%s: %v", name, err), hint: "want YAML with server, ca, certificate and key, or server and token"}
	}
	if s.flags.server != "" {
		config.Server = s.flags.server
	}
	s.config, s.loaded = config, name
	s.project = DefaultProject
	if config.Project != "" {
		s.project = config.Project
	}
	if s.flags.project != "" {
		s.project = s.flags.project
	}
	return s.checkProject()
}

// checkProject completes a project given without its domain.
func (s *session) checkProject() error {
	if !strings.Contains(s.project, ":") {
		domain, _, _ := strings.Cut(DefaultProject, ":")
		s.project = domain + ":" + s.project
	}
	if strings.Count(s.project, ":") != 1 {
		return usagef("--project %q: want DOMAIN:PROJECT", s.project)
	}
	return nil
}
