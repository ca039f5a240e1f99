// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// patience bounds what is waited for; it is much longer than any limit here.
const patience = 20 * time.Second

// impatient is a server that gives slow clients up soon.
func impatient(t *testing.T) *world {
	return newWorldWith(t, fakeViews{}, func(s *Server) {
		s.http.ReadHeaderTimeout, s.http.ReadTimeout, s.http.IdleTimeout = 300*time.Millisecond, 600*time.Millisecond, time.Second
		s.limits.piece, s.limits.whole = 300*time.Millisecond, 2*time.Second
	})
}

// dial opens a connection of HTTP/1.1 as administrator, with a small window, so
// that what is not read is soon not sent either.
func (w *world) dial(t *testing.T) *tls.Conn {
	t.Helper()
	certificate, key, err := w.ca.IssueClient(api.Identity{Name: "admin", Orchestrator: "weft", Role: api.RoleAdmin})
	check(t, err)
	pair, err := tls.X509KeyPair(certificate, key)
	check(t, err)
	plain, err := net.Dial("tcp", strings.TrimPrefix(w.url, "https://"))
	check(t, err)
	check(t, plain.(*net.TCPConn).SetReadBuffer(4096))
	c := tls.Client(plain, &tls.Config{RootCAs: w.ca.Pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{pair}})
	check(t, c.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { c.Close() })
	return c
}

// ends waits until the other side has closed a connection.
func ends(t *testing.T, what string, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "i/o timeout") {
		t.Errorf("%s: the server still waits after %v", what, patience)
	}
}

// settles waits until something holds.
func settles(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		runtime.Gosched()
		<-time.After(5 * time.Millisecond)
	}
}

// A body that is too large is refused when it says so, or when it turns out.
func TestLargeBodiesAreRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	c := w.dial(t)
	_, err := fmt.Fprintf(c, "POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000000\r\n\r\n{")
	check(t, err)
	reply, err := http.ReadResponse(bufio.NewReader(c), nil) // nothing more is ever sent
	check(t, err)
	text, err := io.ReadAll(reply.Body)
	check(t, err)
	isError(t, "10 MB announced", reply.StatusCode, string(text), http.StatusRequestEntityTooLarge, api.CodeTooLarge, "larger than")
	ends(t, "after a body too large", c)

	certificate, key, err := w.ca.IssueClient(api.Identity{Name: "admin", Orchestrator: "weft", Role: api.RoleAdmin})
	check(t, err)
	pair, err := tls.X509KeyPair(certificate, key)
	check(t, err)
	for _, version2 := range []bool{false, true} {
		transport := w.transport(pair)
		transport.ForceAttemptHTTP2 = version2
		body := &counted10MB{}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v1/networks", body)
		check(t, err)
		reply, err := transport.RoundTrip(r)
		check(t, err)
		text, err := io.ReadAll(reply.Body)
		check(t, err)
		reply.Body.Close()
		isError(t, reply.Proto+", 10 MB not announced", reply.StatusCode, string(text), http.StatusRequestEntityTooLarge, api.CodeTooLarge, "larger than")
		if body.sent > 8<<20 {
			t.Errorf("%s: the server took %d bytes of a body it refuses", reply.Proto, body.sent)
		}
	}
	settles(t, "the room for bodies is given back", func() bool { return w.server.limits.memory.taken() == 0 })
}

// counted10MB is a body of 10 MB whose length is not known before.
type counted10MB struct{ sent int }

func (c *counted10MB) Read(p []byte) (int, error) {
	if c.sent >= 10_000_000 {
		return 0, io.EOF
	}
	n := copy(p, bytes.Repeat([]byte(" "), min(len(p), 64<<10)))
	c.sent += n
	return n, nil
}

// Who sends a handshake, a header or a body slowly on purpose is cut off.
func TestSlowSendersAreCutOff(t *testing.T) {
	w := impatient(t)
	plain, err := net.Dial("tcp", strings.TrimPrefix(w.url, "https://"))
	check(t, err)
	defer plain.Close()
	check(t, plain.SetDeadline(time.Now().Add(patience)))
	ends(t, "no handshake", plain)

	c := w.dial(t)
	_, err = fmt.Fprintf(c, "GET /v1/networks HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	check(t, err)
	ends(t, "half a header", c)

	c = w.dial(t)
	_, err = fmt.Fprintf(c, "POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	check(t, err)
	reply, err := http.ReadResponse(bufio.NewReader(c), nil)
	check(t, err)
	text, err := io.ReadAll(reply.Body)
	check(t, err)
	isError(t, "half a body", reply.StatusCode, string(text), http.StatusGatewayTimeout, api.CodeTimeout, "the body did not come")
	ends(t, "half a body", c)

	c = w.dial(t)
	check(t, c.Handshake())
	ends(t, "nothing asked", c)
	settles(t, "all connections are gone", func() bool { return w.server.limits.connections.taken() == 0 })
}

// fat makes objects that fill a connection's window.
func (w *world) fat(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		labels := map[string]string{}
		for l := range api.MaxLabels {
			labels[fmt.Sprintf("l%d", l)] = strings.Repeat("x", api.MaxLabelBytes)
		}
		o := network(fmt.Sprintf("fat-%d", i))
		o.Meta.Labels = labels
		_, err := client.Create(t.Context(), w.admin, o)
		check(t, err)
	}
}

// Who does not read a watch or a list is cut off, what was kept for it is given
// back, and it is counted.
func TestReadersThatDoNotReadAreCutOff(t *testing.T) {
	w := impatient(t)
	w.fat(t, 400) // 7 MB, more than sockets hold
	for _, path := range []string{"/v1/watch", "/v1/networks"} {
		c := w.dial(t)
		_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		check(t, err)
		what := "a reply was broken off\" error=\"the reader does not take it in time\" path=" + path
		settles(t, path+" is given up", func() bool { return w.audit.has(what) })
		settles(t, path+" gives back what it holds", func() bool {
			return w.server.limits.memory.taken() == 0 && w.server.limits.watches.taken() == 0
		})
		if _, err := client.Get[*api.Network](t.Context(), w.admin, api.Ref{Name: "default-domain:default-project:fat-0"}); err != nil {
			t.Errorf("beside a reader of %s that does not read: %v", path, err)
		}
	}
}

// Connections have a bound, in all and from one address.
func TestConnectionsAreBounded(t *testing.T) {
	const most = 20
	w := newWorldWith(t, fakeViews{}, func(s *Server) { s.limits.connections = newGate("connections", 100, most, 0) })
	var open []net.Conn
	for range most {
		c := w.dial(t)
		check(t, c.Handshake())
		open = append(open, c)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "https://"))
	check(t, err)
	defer c.Close()
	check(t, c.SetDeadline(time.Now().Add(patience)))
	ends(t, "one too many", c)
	check(t, open[0].Close())
	settles(t, "a place is free again", func() bool { return w.server.limits.connections.taken() < most })
	check(t, w.dial(t).Handshake())
}

// One sender leaves room for others, and what is given back can be taken again.
func TestGate(t *testing.T) {
	g := newGate("things", 5, 3, 10*time.Millisecond)
	leave, err := g.enter(t.Context(), "a", 100) // as much as one may have
	check(t, err)
	_, err = g.enter(t.Context(), "a", 1)
	hasCode(t, "more than one may have", err, api.CodeUnavailable)
	leaveB, err := g.enter(t.Context(), "b", 2)
	check(t, err)
	_, err = g.enter(t.Context(), "c", 1)
	hasCode(t, "more than there is", err, api.CodeUnavailable)
	g.wait = patience
	got := make(chan error, 1)
	go func() {
		leave, err := g.enter(context.Background(), "c", 3)
		if err == nil {
			leave()
		}
		got <- err
	}()
	leave()
	leave() // once is enough
	check(t, <-got)
	leaveB()
	if n := g.taken(); n != 0 {
		t.Errorf("%d are held by nobody", n)
	}
}

// Requests that their sender gives up at once, in great number, leave nothing.
func TestRequestsGivenUp(t *testing.T) {
	w := newWorld(t)
	before := runtime.NumGoroutine()
	certificate, key, err := w.ca.IssueClient(api.Identity{Name: "admin", Orchestrator: "weft", Role: api.RoleAdmin})
	check(t, err)
	pair, err := tls.X509KeyPair(certificate, key)
	check(t, err)
	transport := w.transport(pair)
	transport.ForceAttemptHTTP2 = true
	done := make(chan struct{}, 1000)
	for n := range cap(done) {
		path := []string{"/v1/networks?minRevision=999999", "/v1/watch", "/v1/ports"}[n%3]
		go func() { // ends with its request
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n%20)*time.Millisecond)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
			if err == nil {
				var reply *http.Response
				if reply, err = transport.RoundTrip(r); err == nil {
					_, _ = io.Copy(io.Discard, reply.Body) // until it is given up
					reply.Body.Close()
				}
			}
			done <- struct{}{}
		}()
	}
	for range cap(done) {
		<-done
	}
	transport.CloseIdleConnections()
	settles(t, "watches and room are given back", func() bool {
		return w.server.limits.watches.taken() == 0 && w.server.limits.memory.taken() == 0
	})
	settles(t, "goroutines have ended", func() bool { return runtime.NumGoroutine() < before+50 })
	if _, err := w.admin.WhoAmI(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A body takes the room that it says it needs: many small ones at once are not
// turned away for what the largest would need.
func TestSmallBodiesTakeLittleRoom(t *testing.T) {
	const all = bodyMax>>20 + 2
	w := newWorldWith(t, fakeViews{}, func(s *Server) { s.limits.memory = newGate("MiB", all, all, time.Second) })
	leave, err := w.server.limits.memory.enter(t.Context(), "somebody else", all-1)
	check(t, err)
	defer leave()
	_, err = client.Create(t.Context(), w.admin, network("small"))
	check(t, err)
}
