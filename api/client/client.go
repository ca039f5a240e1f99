// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/trust"
)

// Bounds of every request.
const (
	// requestTimeout is one request with its answer, unless the caller's
	// context ends sooner. The server's own bounds are below it.
	requestTimeout = 30 * time.Second
	// dialTimeout is short: the controller is in the same data centre.
	dialTimeout = 5 * time.Second
	// maxBody holds about half a million objects in one list.
	maxBody = 512 << 20
	// maxErrorBody is far above any error we send; a proxy may send more.
	maxErrorBody = 1 << 20
	// idleTimeout frees connections that nobody uses.
	idleTimeout = 90 * time.Second
	// pingAfter and pingTimeout notice a dead connection below a silent watch.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

// Client makes requests to one API server.
type Client struct {
	base  *url.URL
	token string
	// tokenFile, if set, holds the token in its place.
	tokenFile string
	http      *http.Client
}

// New prepares a client; it connects with the first request.
func New(config Config) (*Client, error) {
	base, err := config.baseURL()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := config.tlsConfig(base.Hostname())
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:               nil, // the API is inside the data centre; an environment's web proxy is not on the way
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     idleTimeout,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	return &Client{
		base:  base,
		token: strings.TrimSpace(config.Token), tokenFile: config.TokenFile,
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Server returns the base URL.
func (c *Client) Server() string { return c.base.String() }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request.
type call struct {
	what   string // "get network a:b:c", for errors
	method string
	path   []string // below /v1, not escaped
	query  url.Values
	body   any
	media  string // of the body; JSON when empty
}

// do makes a request and decodes the answer into out, unless out is nil.
func (c *Client) do(ctx context.Context, q call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	response, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxErrorBody))
		return c.transportError(ctx, q, err)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return c.transportError(ctx, q, err)
	}
	if len(data) > maxBody {
		return api.Errorf(api.CodeTooLarge, "%s: the answer is larger than %d bytes: ask for less, e.g. by parent", q.what, maxBody)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return api.Errorf(api.CodeInternal, "%s: the server's answer is not what this client expects: %v", q.what, err)
	}
	return nil
}

// send makes a request and returns the response, if it is a success.
func (c *Client) send(ctx context.Context, q call) (*http.Response, error) {
	request, err := c.request(ctx, q)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.transportError(ctx, q, err)
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, statusError(q, response)
}

// request builds the HTTP request.
func (c *Client) request(ctx context.Context, q call) (*http.Request, error) {
	var body io.Reader
	if q.body != nil {
		data, err := json.Marshal(q.body)
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "%s: encode request: %v", q.what, err)
		}
		body = bytes.NewReader(data)
	}
	u := *c.base
	u.Path, u.RawPath = joinPath(q.path)
	u.RawQuery = q.query.Encode()
	request, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "%s: %v", q.what, err)
	}
	request.Header.Set("Accept", "application/json")
	if q.body != nil {
		media := q.media
		if media == "" {
			media = "application/json"
		}
		request.Header.Set("Content-Type", media)
	}
	token, err := c.bearer()
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, nil
}

// joinPath returns a path below /v1, plain and escaped.
func joinPath(elements []string) (plain, escaped string) {
	plain, escaped = "/v1", "/v1"
	for _, e := range elements {
		plain += "/" + e
		escaped += "/" + url.PathEscape(e)
	}
	return plain, escaped
}

// statusError reads the error a server sent. Something that is not an
// api.Error comes from a proxy, or is not Weft at all.
func statusError(q call, response *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBody))
	var e api.Error
	if json.Unmarshal(data, &e) == nil && e.Code != "" && e.Message != "" {
		return &e
	}
	return api.Errorf(codeOfStatus(response.StatusCode), "%s: the server at %s answers %s, not in the form of Weft's API", q.what, response.Request.URL.Host, response.Status)
}

// codeOfStatus is the code nearest to an HTTP status.
func codeOfStatus(status int) api.Code {
	switch status {
	case http.StatusUnauthorized:
		return api.CodeUnauthenticated
	case http.StatusForbidden:
		return api.CodeForbidden
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return api.CodeNotFound
	case http.StatusConflict:
		return api.CodeConflict
	case http.StatusGone:
		return api.CodeGone
	case http.StatusPreconditionFailed:
		return api.CodePrecondition
	case http.StatusRequestEntityTooLarge:
		return api.CodeTooLarge
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return api.CodeUnavailable
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return api.CodeTimeout
	}
	if status/100 == 4 {
		return api.CodeInvalid
	}
	return api.CodeInternal
}

// transportError puts what went wrong below HTTP into words. An end that the
// caller asked for stays context.Canceled.
func (c *Client) transportError(ctx context.Context, q call, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	unknown := ""
	var dial *net.OpError
	if q.method != http.MethodGet && !(errors.As(err, &dial) && dial.Op == "dial") {
		unknown = "; whether the change was made is not known: read before repeating"
	}
	var timeout net.Error
	switch text := err.Error(); {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return api.Errorf(api.CodeTimeout, "%s: %s does not answer in time%s", q.what, c.base.Host, unknown)
	case strings.Contains(text, "remote error: tls"):
		return api.Errorf(api.CodeUnauthenticated, "%s: %s refuses our certificate: %v", q.what, c.base.Host, err)
	case strings.Contains(text, "x509:"), errors.Is(err, trust.ErrStranger):
		return api.Errorf(api.CodeUnavailable, "%s: cannot trust %s: %v", q.what, c.base.Host, err)
	default:
		return api.Errorf(api.CodeUnavailable, "%s: cannot reach %s: %v%s", q.what, c.base.Host, err, unknown)
	}
}
