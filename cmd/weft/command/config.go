// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
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
	if err := s.refresh(context.Background(), s.flags.context); err != nil {
		return nil, err
	}
	c, err := client.New(s.config)
	if err != nil {
		return nil, fmt.Errorf("%w (configuration %s)", err, s.loaded)
	}
	s.client = c
	return c, nil
}

// load reads the context in use, or that of --context, and what flags change.
func (s *session) load() error {
	if s.loaded != "" {
		return nil
	}
	name, contexts, err := s.readContexts(false)
	if err != nil {
		return err
	}
	config, err := contexts.Use(s.flags.context)
	if err != nil {
		return failure{what: fmt.Sprintf("%s: %v", name, err), hint: "weft config get-contexts lists them, use-context picks one"}
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
