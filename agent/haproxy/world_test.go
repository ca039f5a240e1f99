// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/process"
	"github.com/weft-network/weft/api"
)

// hall is a network namespace with servers, clients and a runner of proxies.
type hall struct {
	t         *testing.T
	namespace string
	runner    *Runner
	root      string
}

var halls atomic.Int32

func newHall(t *testing.T) *hall {
	t.Helper()
	name := fmt.Sprintf("wh%d-%d", os.Getpid(), halls.Add(1))
	made := make(chan error)
	go func() { // on a thread that ends with it
		h, err := func() (netns.NsHandle, error) {
			lockThread()
			return netns.NewNamed(name)
		}()
		if err == nil {
			err = h.Close()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	w := &hall{t: t, namespace: "/run/netns/" + name, root: place(t).Dir + "/p"}
	t.Cleanup(func() {
		if err := netns.DeleteNamed(name); err != nil {
			t.Error(err)
		}
	})
	err := process.Inside(w.namespace, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		a, err := netlink.ParseAddr("fd00:c::1/128")
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		return netlink.AddrAdd(lo, a)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.runner = w.another()
	t.Cleanup(w.clear)
	return w
}

// another is a runner that has just begun.
func (w *hall) another() *Runner {
	w.t.Helper()
	r, err := NewRunner(w.root, "", Place{User: "haproxy"})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// clear ends all proxies, and sees that none is left.
func (w *hall) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	owned, err := w.runner.Owned(ctx)
	if err != nil {
		w.t.Error(err)
	}
	for id := range owned {
		if err := w.runner.Delete(ctx, id); err != nil {
			w.t.Error(err)
		}
	}
	if left, err := w.runner.processes(); err != nil || len(left) > 0 {
		w.t.Errorf("processes of proxies that are left: %v %v", left, err)
	}
}

// update has the proxy served.
func (w *hall) update(p Proxy) {
	w.t.Helper()
	if err := w.runner.Update(w.t.Context(), p.ID, Row{w.namespace, p}); err != nil {
		w.t.Fatal(err)
	}
}

// serve is a member at an address, which says its name and what it was sent.
func (w *hall) serve(at, name string) (stop func()) {
	w.t.Helper()
	var l net.Listener
	err := process.Inside(w.namespace, func() (err error) {
		l, err = net.Listen("tcp", at)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, q *http.Request) {
		out.Header().Set("X-Member", name)
		out.Header().Set("X-Saw", strings.Join(q.Header["X-Forwarded-For"], "|")+";"+q.Header.Get("X-Proto"))
		out.Header().Set("X-Session", q.Header.Get("Cookie"))
		if q.Header.Get("Cookie") == "" {
			out.Header().Set("Set-Cookie", "SESSION="+name)
		}
		if q.URL.Path == "/slow" {
			for i := range 50 {
				fmt.Fprintln(out, i)
				out.(http.Flusher).Flush()
				select {
				case <-q.Context().Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		}
		fmt.Fprintln(out, "end")
	})}
	go s.Serve(l)
	stop = func() { s.Close() }
	w.t.Cleanup(stop)
	return stop
}

// client speaks from the namespace; it follows no redirection, and trusts anybody: who shows which
// certificate is in the answer.
func (w *hall) client(keep bool) *http.Client {
	return &http.Client{Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: !keep, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: w.dial("")}}
}

// dial connects from the namespace, and from an address of it if one is given.
func (w *hall) dial(from string) func(context.Context, string, string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = process.Inside(w.namespace, func() (err error) {
			c, err = d.DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
}

// answer is what came of a request.
type answer struct {
	code        int
	head        http.Header
	certificate string
}

func get(ctx context.Context, c *http.Client, url string, change func(*http.Request)) (a answer, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return a, err
	}
	if change != nil {
		change(q)
	}
	reply, err := c.Do(q)
	if err != nil {
		return a, err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return a, err
	}
	if reply.StatusCode == http.StatusOK && !strings.HasSuffix(string(body), "end\n") {
		return a, fmt.Errorf("the answer ends with %q", body)
	}
	a = answer{code: reply.StatusCode, head: reply.Header}
	if reply.TLS != nil {
		a.certificate = reply.TLS.PeerCertificates[0].Subject.CommonName
	}
	return a, nil
}

// until waits for a fact.
func (w *hall) until(what string, holds func() bool) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			w.t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// shop is a load-balancer with two pools, the first with a member of each family.
func shop() Proxy {
	up := &api.Probe{Type: "http", Interval: 200, Timeout: 200, Rise: 1, Fall: 2}
	return Proxy{ID: id(1), Addresses: []netip.Addr{netip.MustParseAddr("127.0.1.1"), netip.IPv6Loopback()},
		Pools: []Pool{
			{ID: id(10), Protocol: "HTTP", Monitor: up, Members: []Member{
				{ID: id(20), Address: netip.MustParseAddr("127.0.2.1"), Port: 8080, Weight: 1}, {ID: id(21), Address: netip.MustParseAddr("fd00:c::1"), Port: 8080, Weight: 1}}},
			{ID: id(11), Protocol: "HTTP", Members: []Member{{ID: id(22), Address: netip.MustParseAddr("127.0.2.3"), Port: 8080, Weight: 1}}}},
		Listeners: []Listener{{ID: id(2), Protocol: "HTTP", Port: 80, Pool: id(10)}}}
}
