// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-network/weft/lab/namespace"
)

// The ports at which members listen; those of listeners are others.
const (
	httpPort = 8080
	udpPort  = 5353
)

// server says who it is and whom it sees, by HTTP and UDP.
type server struct {
	http *http.Server
	udp  *net.UDPConn
	wait sync.WaitGroup

	draining      atomic.Bool  // each answer is the last one of its conversation
	conversations atomic.Int64 // of HTTP
}

// serve starts a server inside a namespace.
func serve(ns, name string) (*server, error) {
	s := &server{}
	s.http = &http.Server{ReadHeaderTimeout: time.Minute, ConnState: s.count, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		fmt.Fprintf(w, "%s %s", name, r.RemoteAddr) // a lost answer shows at the client
	})}
	var tcp net.Listener
	err := namespace.Do(ns, func() (err error) {
		if tcp, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", httpPort)); err != nil {
			return err
		}
		s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv6Unspecified(), udpPort)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve in %s: %w", ns, err)
	}
	s.wait.Go(func() { _ = s.http.Serve(tcp) }) // until it is closed
	s.wait.Go(func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := s.udp.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
				_, _ = s.udp.WriteToUDPAddrPort([]byte(name+" "+from.String()), from)
			}
		}
	})
	return s, nil
}

func (s *server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conversations.Add(1)
	case http.StateClosed:
		s.conversations.Add(-1)
	}
}

// drain ends conversations as they ask.
func (s *server) drain() { s.draining.Store(true) }

func (s *server) close() {
	_ = s.http.Close()
	s.udp.Close()
	s.wait.Wait()
}

// answer is who answered, and whom they saw.
type answer struct {
	who    string
	client netip.AddrPort
}

func answerOf(text string) (a answer, err error) {
	who, at, ok := strings.Cut(text, " ")
	if a.who = who; !ok {
		return a, fmt.Errorf("answer %q is none", text)
	}
	a.client, err = netip.ParseAddrPort(at)
	a.client = netip.AddrPortFrom(a.client.Addr().Unmap(), a.client.Port())
	return a, err
}

// dialer connects from inside a namespace.
func dialer(ns string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = namespace.Do(ns, func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
}

// browser is an HTTP client in a namespace; keep: with one conversation for all
// its requests, as long as that lives.
func browser(ns string, keep bool, patience time.Duration) *http.Client {
	dial := dialer(ns)
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: !keep, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, patience) // the transport's goes on after the request
		defer cancel()
		return dial(ctx, network, address)
	}}}
}

// get asks by HTTP.
func get(c *http.Client, at netip.AddrPort) (a answer, err error) {
	var local string
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { local = fmt.Sprintf("%v reused %t", i.Conn.LocalAddr(), i.Reused) }}
	q, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), "GET", "http://"+at.String()+"/", nil)
	if err != nil {
		return a, err
	}
	r, err := c.Do(q)
	if err != nil {
		return a, fmt.Errorf("%w: connection from %s", err, cmp.Or(local, "none"))
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return a, err
	}
	return answerOf(string(text))
}

// ask asks by UDP from a port of its own, again if nobody answers.
func ask(ns string, at netip.AddrPort, patience time.Duration) (a answer, err error) {
	c, err := dialer(ns)(context.Background(), "udp", at.String())
	if err != nil {
		return a, err
	}
	defer c.Close()
	buf := make([]byte, 256)
	for until := time.Now().Add(patience); ; {
		if _, err = c.Write([]byte("who?")); err == nil {
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			var n int
			if n, err = c.Read(buf); err == nil {
				return answerOf(string(buf[:n]))
			}
		}
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Now().After(until) {
			return a, err
		}
	}
}
