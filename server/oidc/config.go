// SPDX-License-Identifier: Apache-2.0

// Package oidc knows people by the ID tokens of OpenID Connect issuers, and
// says by a table of groups what they may ask.
package oidc

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
)

// Config is the file that says who may log in.
type Config struct {
	Issuers []Issuer `json:"issuers"`
}

// Issuer is one of those whose tokens are accepted.
type Issuer struct {
	// Issuer is its URL, exactly as its tokens have it.
	Issuer string `json:"issuer"`
	// Audience is what tokens must be for; usually the client id.
	Audience string `json:"audience"`
	// ClientID and Scopes are what weft login uses; the audience, and openid,
	// profile, email, groups and offline_access, when absent.
	ClientID string   `json:"clientID,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
	// CAFile holds the authorities of the issuer's own certificate, in PEM; the
	// system's when absent.
	CAFile string `json:"caFile,omitempty"`
	// UsernameClaim names a person in the audit and in whoami: sub when absent.
	// email counts only when the issuer has verified it.
	UsernameClaim  string `json:"usernameClaim,omitempty"`
	UsernamePrefix string `json:"usernamePrefix,omitempty"`
	// GroupsClaim is a list of texts, or one text: groups when absent.
	GroupsClaim string `json:"groupsClaim,omitempty"`
	// Mappings say who may ask what. The first that fits counts.
	Mappings []Mapping `json:"mappings"`

	roots *x509.CertPool // nil: the system's
}

// Mapping gives a role to a group or a user.
type Mapping struct {
	// Group or User, as the issuer says it; a User without the prefix. "*" as
	// the group is everybody.
	Group string `json:"group,omitempty"`
	User  string `json:"user,omitempty"`
	// Role is admin, member or reader.
	Role api.Role `json:"role"`
	// Orchestrator is whom it is a role of: Weft itself when absent.
	Orchestrator string `json:"orchestrator,omitempty"`
	// Domain, or Projects, narrow it; by fully qualified name.
	Domain   string   `json:"domain,omitempty"`
	Projects []string `json:"projects,omitempty"`
}

// projectsMax is as many projects as a credential may be narrowed to.
const projectsMax = 64

// Read reads a configuration file.
func Read(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the OIDC configuration: %w", err)
	}
	var c Config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return c, fmt.Errorf("read the OIDC configuration %s: %w", path, err)
	}
	if err := c.complete(); err != nil {
		return c, fmt.Errorf("read the OIDC configuration %s: %w", path, err)
	}
	return c, nil
}

// complete fills what is absent and refuses what is wrong.
func (c *Config) complete() error {
	if len(c.Issuers) == 0 {
		return fmt.Errorf("issuers: at least one is required")
	}
	seen := map[string]bool{}
	for n := range c.Issuers {
		i := &c.Issuers[n]
		if err := i.complete(); err != nil {
			return fmt.Errorf("issuers[%d]%w", n, err)
		}
		if seen[i.Issuer] {
			return fmt.Errorf("issuers[%d].issuer: %s is there twice", n, i.Issuer)
		}
		seen[i.Issuer] = true
	}
	return nil
}

func (i *Issuer) complete() error {
	u, err := url.Parse(i.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf(".issuer: %q is not of the form https://host", i.Issuer)
	}
	if i.Audience == "" {
		return fmt.Errorf(".audience: is required: a token for another service must not be good here")
	}
	for field, value := range map[*string]string{&i.ClientID: i.Audience, &i.UsernameClaim: "sub", &i.GroupsClaim: "groups"} {
		if *field == "" {
			*field = value
		}
	}
	if len(i.Scopes) == 0 {
		i.Scopes = []string{"openid", "profile", "email", "groups", "offline_access"}
	}
	if !slices.Contains(i.Scopes, "openid") {
		return fmt.Errorf(".scopes: openid is required")
	}
	if len(i.Mappings) == 0 {
		return fmt.Errorf(".mappings: at least one is required: without, nobody may ask anything")
	}
	for n, m := range i.Mappings {
		if err := m.check(); err != nil {
			return fmt.Errorf(".mappings[%d]%w", n, err)
		}
	}
	return i.readRoots()
}

func (i *Issuer) readRoots() error {
	if i.CAFile == "" {
		return nil
	}
	text, err := os.ReadFile(i.CAFile)
	if err != nil {
		return fmt.Errorf(".caFile: %w", err)
	}
	i.roots = x509.NewCertPool()
	if !i.roots.AppendCertsFromPEM(text) {
		return fmt.Errorf(".caFile: %s holds no certificate in PEM", i.CAFile)
	}
	return nil
}

func (m Mapping) check() error {
	switch {
	case (m.Group == "") == (m.User == ""):
		return fmt.Errorf(": want a group or a user")
	case m.Role != api.RoleAdmin && m.Role != api.RoleMember && m.Role != api.RoleReader:
		return fmt.Errorf(".role: %q is not one of admin, member, reader", m.Role)
	case m.Domain != "" && len(m.Projects) > 0:
		return fmt.Errorf(": want a domain or projects, not both")
	case len(m.Projects) > projectsMax:
		return fmt.Errorf(".projects: %d, at most %d: name a domain", len(m.Projects), projectsMax)
	}
	for _, p := range m.Projects {
		if strings.Count(p, ":") != 1 {
			return fmt.Errorf(".projects: %q is not of the form domain:project", p)
		}
	}
	return nil
}

// fits tells whether a mapping is for somebody.
func (m Mapping) fits(user string, groups []string) bool {
	return m.User != "" && m.User == user || m.Group == "*" || m.Group != "" && slices.Contains(groups, m.Group)
}
