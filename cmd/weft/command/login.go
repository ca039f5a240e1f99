// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const (
	// issuerTimeout bounds one request to an issuer.
	issuerTimeout = 15 * time.Second
	// loginTimeout bounds how long somebody may take to log in.
	loginTimeout = 10 * time.Minute
	// freshFor is how long a token must still be good to be used.
	freshFor = time.Minute
)

// loginOptions are the flags of login.
type loginOptions struct{ server, ca, issuer, issuerCA, tokenFile, name string }

func newLogin(s *session) *cobra.Command {
	var o loginOptions
	c := &cobra.Command{
		Use:   "login",
		Short: "Log in as a person, and keep the credentials in a context",
		Long: `Log in as a person at an OpenID Connect issuer that the controller accepts, with a
device code (RFC 8628): the browser may be on another machine. The token is kept in
the context, and a new one is got when it has expired, as long as the issuer allows.

--token-file logs in with a token that something else keeps in a file, and reads it
anew with every request. It may be an ID token or one of Weft's.`,
		Example: `  weft login --to https://weft.example:7443 --ca weft-ca.pem
  weft login --name job --token-file /run/secrets/weft-token`,
		GroupID: groupRest,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.login(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.server, "to", "", "`URL` of the API; that of the context in use when absent")
	f.StringVar(&o.ca, "ca", "", "`FILE` with the certificate authority of the server, in PEM; the context's when absent")
	f.StringVar(&o.issuer, "issuer", "", "`URL` of the issuer, where the controller accepts several")
	f.StringVar(&o.issuerCA, "issuer-ca", "", "`FILE` with the certificate authority of the issuer, in PEM; the system's when absent")
	f.StringVar(&o.tokenFile, "token-file", "", "`FILE` with a token, in place of logging in")
	f.StringVar(&o.name, "name", "", "`CONTEXT` to keep it in; the one in use when absent, or "+client.SingleContext)
	return c
}

func (s *session) login(ctx context.Context, o loginOptions) error {
	file, contexts, err := s.readContexts(true)
	if err != nil {
		return err
	}
	name := o.name
	for _, other := range []string{s.flags.context, contexts.Current, client.SingleContext} {
		if name == "" {
			name = other
		}
	}
	config, err := loginConfig(contexts, name, o)
	if err != nil {
		return err
	}
	if o.tokenFile != "" {
		if config.TokenFile, err = filepath.Abs(o.tokenFile); err != nil {
			return failure{what: fmt.Sprintf("--token-file: %v", err)}
		}
	} else if config, err = s.loginAt(ctx, config, o); err != nil {
		return err
	}
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer c.Close()
	who, err := c.WhoAmI(ctx) // before it is kept: it must be good for something
	if err != nil {
		return err
	}
	if contexts.Contexts == nil {
		contexts.Contexts = map[string]client.Config{}
	}
	contexts.Contexts[name] = config
	if contexts.Current == "" {
		contexts.Current = name
	}
	if err := writeContexts(file, contexts); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, "logged in to %s as %s, %s of %s, context %s\n", config.Server, who.Name, who.Role, who.Orchestrator, name)
	return err
}

// loginConfig is the context without its old credentials.
func loginConfig(contexts client.Contexts, name string, o loginOptions) (client.Config, error) {
	config, ok := contexts.Contexts[name]
	if !ok { // a new one for a controller that is known
		config = contexts.Contexts[contexts.Current]
	}
	if o.server != "" {
		config.Server = o.server
	}
	if config.Server == "" {
		return config, usagef("--to URL is required: there is no context to take it from")
	}
	if pin := client.TokenPin(config.Token); pin != "" && config.CA == "" && o.ca == "" {
		return config, failure{what: "the context knows the controller's authority only by its present token", hint: "run weft certificate renew first, or give --ca"}
	}
	config.Certificate, config.Key, config.Token, config.TokenFile, config.Login = "", "", "", "", nil
	if o.ca != "" {
		text, err := os.ReadFile(o.ca)
		if err != nil {
			return config, failure{what: fmt.Sprintf("--ca: %v", err)}
		}
		config.CA = string(text)
	}
	return config, nil
}

// loginAt asks the person to log in and fills the tokens in.
func (s *session) loginAt(ctx context.Context, config client.Config, o loginOptions) (client.Config, error) {
	at, err := issuerOf(ctx, config, o.issuer)
	if err != nil {
		return config, err
	}
	config.Login = &client.Login{Issuer: at.Issuer, ClientID: at.ClientID}
	if o.issuerCA != "" {
		text, err := os.ReadFile(o.issuerCA)
		if err != nil {
			return config, failure{what: fmt.Sprintf("--issuer-ca: %v", err)}
		}
		config.Login.CA = string(text)
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	ctx, flow, err := flowOf(ctx, config.Login, at.Scopes)
	if err != nil {
		return config, err
	}
	if flow.Endpoint.DeviceAuthURL == "" {
		return config, failure{what: fmt.Sprintf("the issuer %s has no device codes", at.Issuer), hint: "get a token by other means and use --token-file"}
	}
	device, err := flow.DeviceAuth(ctx)
	if err != nil {
		return config, failure{what: fmt.Sprintf("log in at %s: %v", at.Issuer, err)}
	}
	if device.VerificationURIComplete != "" {
		fmt.Fprintf(s.Err, "open %s\nand check that it shows the code %s\n", device.VerificationURIComplete, device.UserCode)
	} else {
		fmt.Fprintf(s.Err, "open %s\nand enter the code %s\n", device.VerificationURI, device.UserCode)
	}
	token, err := flow.DeviceAccessToken(ctx, device)
	if err != nil {
		return config, failure{what: fmt.Sprintf("log in at %s: %v", at.Issuer, err)}
	}
	return taken(config, token)
}

// taken puts what an issuer gave into a configuration.
func taken(config client.Config, token *oauth2.Token) (client.Config, error) {
	id, _ := token.Extra("id_token").(string)
	if id == "" {
		return config, failure{what: fmt.Sprintf("log in at %s: it gives no ID token", config.Login.Issuer), hint: "is the scope openid allowed for this client?"}
	}
	login := *config.Login
	if token.RefreshToken != "" {
		login.RefreshToken = token.RefreshToken
	}
	config.Token, config.Login = id, &login
	return config, nil
}

// issuerOf picks the issuer to log in at, of those the controller accepts.
func issuerOf(ctx context.Context, config client.Config, wanted string) (api.LoginIssuer, error) {
	c, err := client.New(config)
	if err != nil {
		return api.LoginIssuer{}, err
	}
	defer c.Close()
	all, err := c.LoginIssuers(ctx)
	if err != nil {
		return api.LoginIssuer{}, err
	}
	var names []string
	for _, i := range all {
		if i.Issuer == wanted || wanted == "" && len(all) == 1 {
			return i, nil
		}
		names = append(names, i.Issuer)
	}
	switch {
	case len(all) == 0:
		return api.LoginIssuer{}, failure{what: fmt.Sprintf("the controller at %s accepts no OpenID Connect issuer", config.Server), hint: "its --oidc-config names them; or use --token-file"}
	case wanted == "":
		return api.LoginIssuer{}, usagef("the controller accepts several issuers: pick one with --issuer: %s", strings.Join(names, ", "))
	}
	return api.LoginIssuer{}, failure{what: fmt.Sprintf("the controller does not accept the issuer %s; it accepts %s", wanted, strings.Join(names, ", "))}
}

// flowOf reads an issuer's description. The context that it returns carries how
// to reach the issuer.
func flowOf(ctx context.Context, l *client.Login, scopes []string) (context.Context, *oauth2.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if l.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(l.CA)) {
			return ctx, nil, failure{what: "the issuer's CA is not a certificate in PEM"}
		}
	}
	transport := &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	ctx = oidc.ClientContext(ctx, &http.Client{Timeout: issuerTimeout, Transport: transport})
	provider, err := oidc.NewProvider(ctx, l.Issuer)
	if err != nil {
		return ctx, nil, failure{what: fmt.Sprintf("log in at %s: %v", l.Issuer, err)}
	}
	return ctx, &oauth2.Config{ClientID: l.ClientID, Endpoint: provider.Endpoint(), Scopes: scopes}, nil
}

// refresh gets a new token for the context in use if its own has expired, or is
// about to, and keeps it.
func (s *session) refresh(ctx context.Context, name string) error {
	if s.config.Login == nil || s.config.Login.RefreshToken == "" || time.Until(expiry(s.config.Token)) > freshFor {
		return nil
	}
	ctx, flow, err := flowOf(ctx, s.config.Login, nil)
	if err != nil {
		return err
	}
	token, err := flow.TokenSource(ctx, &oauth2.Token{RefreshToken: s.config.Login.RefreshToken}).Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return failure{what: fmt.Sprintf("the login at %s has ended: %v", s.config.Login.Issuer, err), hint: "log in again: weft login"}
	}
	if err != nil {
		return failure{what: fmt.Sprintf("refresh the token at %s: %v", s.config.Login.Issuer, err)}
	}
	if s.config, err = taken(s.config, token); err != nil {
		return err
	}
	file, contexts, err := s.readContexts(false)
	if err != nil {
		return err
	}
	if name == "" {
		name = contexts.Current
	}
	kept := contexts.Contexts[name]
	kept.Token, kept.Login = s.config.Token, s.config.Login
	contexts.Contexts[name] = kept
	return writeContexts(file, contexts)
}

// expiry reads when an ID token expires; it is the server who verifies it. What
// does not say it has expired.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expiry float64 `json:"exp"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return time.Time{}
	}
	return time.Unix(int64(claims.Expiry), 0)
}
