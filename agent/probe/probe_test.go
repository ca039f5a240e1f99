// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/health"
	"github.com/weft-network/weft/api"
)

// What tries of real servers come to.
func TestTries(t *testing.T) {
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/sick":
			w.WriteHeader(503)
		case r.URL.Path == "/made":
			w.WriteHeader(201)
		case r.URL.Path == "/named" && r.Host != "shop.example":
			w.WriteHeader(404)
		}
	})
	plain, secure := httptest.NewServer(serve), httptest.NewTLSServer(serve)
	secure.Config.ErrorLog = nil
	defer plain.Close()
	defer secure.Close()
	silent, closing := listener(t, func(net.Conn) {}), listener(t, func(c net.Conn) { c.Close() })
	talking := listener(t, func(c net.Conn) { _, _ = c.Write([]byte("220 mail\r\n")) })
	gone := listener(t, func(net.Conn) {})
	gone.Close()
	for _, c := range []struct {
		kind string
		at   net.Addr
		test api.HTTPTest
		want string
	}{
		{"tcp", silent.Addr(), api.HTTPTest{}, ""},
		{"tcp", gone.Addr(), api.HTTPTest{}, "connection refused"},
		{"http", plain.Listener.Addr(), api.HTTPTest{}, ""},
		{"http", plain.Listener.Addr(), api.HTTPTest{Path: "/sick"}, "HTTP 503, wants 200"},
		{"http", plain.Listener.Addr(), api.HTTPTest{Path: "/made", Codes: "200-204"}, ""},
		{"http", plain.Listener.Addr(), api.HTTPTest{Path: "/made", Codes: "200,202", Method: "HEAD"}, "HTTP 201, wants 200,202"},
		{"http", plain.Listener.Addr(), api.HTTPTest{Path: "/named", Host: "shop.example", Version: "1.1"}, ""},
		{"http", plain.Listener.Addr(), api.HTTPTest{Path: "/named", Version: "1.1"}, "HTTP 404, wants 200"},
		{"http", silent.Addr(), api.HTTPTest{}, "no answer within 300 ms"},
		{"http", closing.Addr(), api.HTTPTest{}, "connection closed before an answer|connection reset"},
		{"http", talking.Addr(), api.HTTPTest{}, "the answer is not HTTP"},
		{"https", secure.Listener.Addr(), api.HTTPTest{}, ""},
		{"https", secure.Listener.Addr(), api.HTTPTest{Path: "/sick"}, "HTTP 503, wants 200"},
		{"tls", secure.Listener.Addr(), api.HTTPTest{}, ""},
		{"tls", talking.Addr(), api.HTTPTest{}, "no TLS: "},
		{"tls", silent.Addr(), api.HTTPTest{}, "no answer within 300 ms"},
		{"sctp", silent.Addr(), api.HTTPTest{}, "this agent cannot try by sctp: upgrade it"},
	} {
		at := netip.MustParseAddrPort(c.at.String())
		probe := api.Probe{Type: c.kind, HTTP: &c.test}
		patience := time.Minute // nothing that answers may fail by load
		if strings.HasPrefix(c.want, "no answer") {
			patience = 300 * time.Millisecond
		}
		w := health.Wanted{Check: desired.Check{Type: c.kind, TransportPort: at.Port(), Address: at.Addr(), Timeout: patience, HTTP: probe.Test()}, Target: health.Target{Alias: at.Addr()}}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		got := Prober{}.Try(ctx, w)
		cancel()
		fits := false
		for _, want := range strings.Split(c.want, "|") {
			fits = fits || got.Why == want || strings.HasSuffix(want, ": ") && strings.HasPrefix(got.Why, want)
		}
		if !fits || got.Good != (c.want == "") {
			t.Errorf("%s %+v: %+v, want %q", c.kind, c.test, got, c.want)
		}
	}
}

// What the host itself lacks says nothing of the workload.
func TestUnmade(t *testing.T) {
	dial := func(e error) error { return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", e)} }
	for _, c := range []struct {
		err    error
		unmade bool
	}{
		{fmt.Errorf("open socket: %w", syscall.EMFILE), true}, {dial(syscall.EADDRNOTAVAIL), true}, {dial(syscall.EAGAIN), true}, {dial(syscall.EPERM), true},
		{dial(syscall.ECONNREFUSED), false}, {dial(syscall.EHOSTUNREACH), false}, {dial(syscall.ENETDOWN), false}, {dial(syscall.ETIMEDOUT), false}, {context.DeadlineExceeded, false},
	} {
		if got := failure(c.err, time.Second); got.Unmade != c.unmade || got.Good || got.Why == "" {
			t.Errorf("%v: %+v, want unmade %t", c.err, got, c.unmade)
		}
	}
}

// listener takes connections, does something with each, and holds them.
func listener(t *testing.T, then func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			then(c)
		}
	}()
	return l
}
