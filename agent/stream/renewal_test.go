// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/api/hoststream"
)

// renewing is a credential that is renewed once: while the connection to the
// second controller is on its way with what it was before, if slow, or when
// told.
type renewing struct {
	before, after *tls.Config
	slow          bool
	due, done     chan struct{}

	mu    sync.Mutex // guards what follows
	asked int
}

func (r *renewing) TLS(string) (*tls.Config, error) {
	r.mu.Lock()
	r.asked++
	n := r.asked
	r.mu.Unlock()
	select {
	case <-r.done:
		return r.after, nil
	default:
	}
	if n == 2 && r.slow {
		close(r.due)
		<-r.done
	}
	return r.before, nil
}

func (r *renewing) Tend(ctx context.Context, _ hoststream.HostStreamClient) (bool, error) {
	select {
	case <-r.done:
		return false, nil
	default:
	}
	select {
	case <-r.due:
		close(r.done)
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// A host with a new certificate uses it for both its streams, also where one
// was on its way with the old one.
func TestBothStreamsUseTheNewCertificate(t *testing.T) {
	for what, slow := range map[string]bool{"both are open": false, "one is on its way": true} {
		t.Run(what, func(t *testing.T) {
			first, second := identityOf(t, 1), identityOf(t, 2)
			server, after := first.Clone(), first.Clone()
			server.ClientCAs = x509.NewCertPool()
			for _, c := range []*tls.Config{first, second} {
				cert, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
				if err != nil {
					t.Fatal(err)
				}
				server.ClientCAs.AddCert(cert)
			}
			after.Certificates = second.Certificates
			who := &renewing{before: first, after: after, slow: slow, due: make(chan struct{}), done: make(chan struct{})}
			c := newClusterAs(t, 2, 2, server, who)
			s, _ := c.next()
			c.settle(s, 7, "a")
			if !slow {
				if x := c.warm(s); !x.shows(1) {
					t.Error("the stream in reserve is not of the first certificate")
				}
				close(who.due)
			}
			again, h := c.next()
			if again.at != s.at || again.serial() != 2 {
				t.Errorf("after the renewal the agent says hello to %s with certificate %d, was at %s", again.at.name, again.serial(), s.at.name)
			}
			c.whole(h, 7, "a")
			other := c.all[0]
			if other == again.at {
				other = c.all[1]
			}
			deadline := time.After(patience)
			for every := time.Tick(10 * time.Millisecond); !other.shows(2) || other.shows(1); {
				select {
				case <-every:
				case <-deadline:
					t.Fatalf("in reserve with certificate 1: %t, 2: %t", other.shows(1), other.shows(2))
				}
			}
		})
	}
}

// shows tells that a stream is held in reserve with a certificate.
func (c *controller) shows(serial int64) bool {
	_, ok := c.shown.Load(serial)
	return ok
}

// Controllers that know no Resume, no ping and no standby serve as well: they
// are not taken for ones that hang, and when one dies the other takes over.
func TestControllersThatAreOlder(t *testing.T) {
	c := newCluster(t, 2, 2)
	for _, x := range c.all {
		x.old.Store(true)
	}
	s, _ := c.next()
	c.settle(s, 7, "a")
	select {
	case <-s.Context().Done():
		t.Error("the agent left a controller that is well")
	case <-time.After(10 * beat):
	}
	c.kill[s.at]()
	next, h := c.next()
	if next.at == s.at || next.reserved.Load() {
		t.Errorf("next is %s, was in reserve %t", next.at.name, next.reserved.Load())
	}
	c.whole(h, 7, "a")
	c.settle(next, 8, "b")
}
