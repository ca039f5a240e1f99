// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/weft-network/weft/api"
)

const (
	// fetchTimeout bounds one request to an issuer.
	fetchTimeout = 5 * time.Second
	// fetchesMax is how often an issuer is asked in fetchesTime: whoever sends
	// tokens with made-up keys must not make us besiege it.
	fetchesMax  = 5
	fetchesTime = 10 * time.Second
	// learnAgain is how long an issuer that does not answer is left alone.
	learnAgain = 2 * time.Second
	// tokenMax bounds a token; with many groups they are some kilobytes.
	tokenMax = 32 << 10
)

// People knows the people of some issuers.
type People struct {
	issuers []*issuer
	now     func() time.Time
}

// issuer is one, with what was learned of it.
type issuer struct {
	Issuer
	client *http.Client
	now    func() time.Time

	mu       sync.Mutex // guards what follows, and is held while it is learned
	verifier *oidc.IDTokenVerifier
	failed   time.Time // when it could not be learned
	err      error     // why
}

// New makes people known; their issuers are asked for their keys when the first
// of them comes. now is the clock.
func New(c Config, now func() time.Time) *People {
	p := &People{now: now}
	for _, i := range c.Issuers {
		transport := &http.Transport{
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: i.roots},
			TLSHandshakeTimeout: fetchTimeout, ResponseHeaderTimeout: fetchTimeout, IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment,
		}
		p.issuers = append(p.issuers, &issuer{Issuer: i, now: now, client: &http.Client{Timeout: fetchTimeout, Transport: &seldom{next: transport}}})
	}
	return p
}

// Issuers are what somebody must know to log in.
func (p *People) Issuers() []api.LoginIssuer {
	all := []api.LoginIssuer{}
	for _, i := range p.issuers {
		all = append(all, api.LoginIssuer{Issuer: i.Issuer.Issuer, ClientID: i.ClientID, Scopes: i.Scopes})
	}
	return all
}

// IsToken tells whether a bearer token looks like an ID token: three parts, of
// which the first is the JSON of a header (RFC 7519).
func IsToken(text string) bool {
	header, rest, ok := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.DecodeString(header)
	return ok && err == nil && json.Valid(raw) && strings.Count(rest, ".") == 1
}

// Authenticate returns whom a token stands for, as the mappings say. The
// references of the scope are not complete: they have names only.
func (p *People) Authenticate(ctx context.Context, text string) (api.Identity, error) {
	refuse := func(format string, args ...any) (api.Identity, error) {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "the ID token is refused: "+format, args...)
	}
	if len(text) > tokenMax {
		return refuse("it is longer than %d bytes", tokenMax)
	}
	by, err := claimedIssuer(text)
	if err != nil {
		return refuse("%v", err)
	}
	var from *issuer
	for _, i := range p.issuers {
		if i.Issuer.Issuer == by {
			from = i
		}
	}
	if from == nil {
		return refuse("its issuer %q is none of those that are configured", by)
	}
	verifier, err := from.learn(ctx)
	if err != nil {
		return api.Identity{}, from.away(err)
	}
	token, err := verifier.Verify(ctx, text)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return refuse("it expired at %s: log in again (weft login)", expired.Expiry.UTC().Format(time.RFC3339))
	case err != nil && strings.Contains(err.Error(), "fetching keys"):
		return api.Identity{}, from.away(err)
	case err != nil:
		return refuse("%v", strings.TrimPrefix(err.Error(), "oidc: "))
	}
	return from.identity(token)
}

// away says that an issuer cannot be asked, which is nobody's fault who sends a token.
func (i *issuer) away(err error) error {
	return api.Errorf(api.CodeUnavailable, "the ID token cannot be checked: the issuer %s does not tell its keys: %v: try again later, or use another credential", i.Issuer.Issuer, err)
}

// claimedIssuer reads who a token says has made it, before that is verified.
func claimedIssuer(text string) (string, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return "", errors.New("it does not have three parts")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", errors.New("its claims are not in base64url")
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return "", errors.New("its claims are not JSON")
	}
	return claims.Issuer, nil
}

// learn returns the verifier of an issuer after reading its description, once.
// The verifier remembers keys, and asks for new ones when it meets one that it
// does not know: an issuer that is away hinders nobody whose key was seen.
func (i *issuer) learn(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verifier != nil {
		return i.verifier, nil
	}
	if i.err != nil && time.Since(i.failed) < learnAgain {
		return nil, i.err // others wait for the lock: not each of them shall wait for the issuer
	}
	// What is learned outlives the request.
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), i.client)
	provider, err := oidc.NewProvider(ctx, i.Issuer.Issuer)
	if i.err, i.failed = err, time.Now(); err != nil {
		return nil, err
	}
	i.verifier = provider.VerifierContext(ctx, &oidc.Config{ClientID: i.Audience, Now: i.now})
	return i.verifier, nil
}

// identity is what the mappings say of a token that is good.
func (i *issuer) identity(token *oidc.IDToken) (api.Identity, error) {
	claims := map[string]any{}
	if err := token.Claims(&claims); err != nil {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "the ID token is refused: %v", err)
	}
	user, _ := claims[i.UsernameClaim].(string)
	if user == "" || len(user) > api.MaxNameBytes {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "the ID token is refused: it has no usable claim %q, which names the user", i.UsernameClaim)
	}
	if verified, _ := claims["email_verified"].(bool); i.UsernameClaim == "email" && !verified {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "the ID token is refused: the issuer has not verified the address %s", user)
	}
	groups := texts(claims[i.GroupsClaim])
	for _, m := range i.Mappings {
		if !m.fits(user, groups) {
			continue
		}
		who := api.Identity{Name: i.UsernamePrefix + user, Role: m.Role, Orchestrator: m.Orchestrator, Scope: m.scope()}
		if who.Orchestrator == "" {
			who.Orchestrator = api.AdministratorsName
		}
		return who, nil
	}
	return api.Identity{}, api.Errorf(api.CodeForbidden, "%s is known to %s, but neither the user nor any of %d groups has a role here: ask an administrator of Weft", user, i.Issuer.Issuer, len(groups))
}

// scope is what a mapping narrows to; its references have names only.
func (m Mapping) scope() *api.Scope {
	if m.Domain == "" && len(m.Projects) == 0 {
		return nil
	}
	s := &api.Scope{Domain: api.Ref{Name: m.Domain}}
	for _, p := range m.Projects {
		s.Projects = append(s.Projects, api.Ref{Name: p})
	}
	return s
}

// texts reads a claim that is a text or a list of them.
func texts(claim any) (all []string) {
	switch c := claim.(type) {
	case string:
		return []string{c}
	case []any:
		for _, one := range c {
			if text, ok := one.(string); ok {
				all = append(all, text)
			}
		}
	}
	return all
}

// seldom bounds how often an issuer is asked.
type seldom struct {
	next http.RoundTripper

	mu   sync.Mutex // guards what follows
	last []time.Time
}

func (s *seldom) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	now := time.Now()
	for len(s.last) > 0 && now.Sub(s.last[0]) > fetchesTime {
		s.last = s.last[1:]
	}
	if len(s.last) >= fetchesMax {
		s.mu.Unlock()
		return nil, fmt.Errorf("it was asked %d times in %v", fetchesMax, fetchesTime)
	}
	s.last = append(s.last, now)
	s.mu.Unlock()
	return s.next.RoundTrip(r)
}
