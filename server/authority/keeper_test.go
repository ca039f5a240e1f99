// SPDX-License-Identifier: Apache-2.0

package authority_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/server/authority"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/embedded"
)

// controller is one controller's authority.
type controller struct {
	ca          *pki.CA
	keeper      *authority.Keeper
	authorities *store.Authorities
}

// rotating is some controllers that replace their authority, of which old made
// certificates before.
type rotating struct {
	t     *testing.T
	ahead atomic.Int64 // of the controllers' clocks
	all   []*controller
	dir   string // of the first one's authority
	old   string
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newRotating makes n controllers. They are replacing after replace.
func newRotating(t *testing.T, n int) *rotating {
	t.Helper()
	etcd, err := embedded.Start(t.Context(), t.TempDir())
	check(t, err)
	t.Cleanup(etcd.Close)
	r := &rotating{t: t}
	now := func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }
	for i := range n {
		dir := t.TempDir()
		if i > 0 {
			check(t, os.CopyFS(dir, os.DirFS(r.dir)))
		} else {
			r.dir = dir
		}
		ca, err := pki.Open(dir, now)
		check(t, err)
		name := fmt.Sprint("c", i)
		shared := store.NewAuthorities(etcd.Client(), name)
		k, err := authority.Open(t.Context(), authority.Options{
			CA: ca, Authorities: shared, Name: name, Now: now, Log: slog.New(slog.DiscardHandler),
			Adopted: func(context.Context) {}, Hosts: func() []api.Ref { return nil },
		})
		check(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { k.Run(ctx) })
		t.Cleanup(func() { cancel(); wait.Wait() })
		r.all = append(r.all, &controller{ca, k, shared})
	}
	r.old = r.all[0].ca.Hash()
	return r
}

// until waits until what ok says.
func (r *rotating) until(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	for every := time.Tick(10 * time.Millisecond); !ok(); {
		select {
		case <-every:
		case <-deadline:
			r.t.Fatalf("it did not come to this: %s", what)
		}
	}
}

func (r *rotating) replace() {
	r.t.Helper()
	r.until("all controllers are registered", func() bool {
		s, err := r.all[0].keeper.Show(r.t.Context())
		return err == nil && len(s.Controllers) == len(r.all)
	})
	_, err := r.all[0].keeper.Rotate(r.t.Context())
	check(r.t, err)
	r.until("all controllers make certificates by the new authority", func() bool {
		return !slices.ContainsFunc(r.all, func(c *controller) bool { return c.ca.State().Issuing == r.old })
	})
}

// certificate is one that the first controller makes now.
func (r *rotating) certificate(make func(api.Identity) (certificate, key []byte, err error)) (api.Identity, *x509.Certificate) {
	r.t.Helper()
	who := api.Identity{Name: "someone", Orchestrator: "weft", Role: api.RoleAdmin}
	text, _, err := make(who)
	check(r.t, err)
	cert, err := pki.Decode(string(text))
	check(r.t, err)
	return who, cert
}

// pending is how many clients would be locked out, as the first controller sees it.
func (r *rotating) pending() (n int) {
	r.t.Helper()
	s, err := r.all[0].keeper.Show(r.t.Context())
	check(r.t, err)
	for _, h := range s.Pending {
		if h.Kind == api.HolderClient {
			n++
		}
	}
	return n
}

// A certificate of the old authority that was replaced, and is in use
// nevertheless, is noted again wherever it is used: its user would be locked out.
func TestReplacedCertificateInUse(t *testing.T) {
	r := newRotating(t, 2)
	ctx := t.Context()
	who, cert := r.certificate(r.all[0].ca.IssueClient)
	r.replace()
	here, there := r.all[0].keeper, r.all[1].keeper
	there.Saw(ctx, who, cert, r.old)
	if n := r.pending(); n != 1 {
		t.Fatalf("%d are pending after it was used, want 1", n)
	}
	here.Forget(ctx, pki.Serial(cert))
	if n := r.pending(); n != 0 {
		t.Fatalf("%d are pending after it was replaced, want 0", n)
	}
	here.Saw(ctx, who, cert, r.old)
	if n := r.pending(); n != 1 {
		t.Errorf("%d are pending after it was used again at the controller that replaced it, want 1", n)
	}
	here.Forget(ctx, pki.Serial(cert))
	r.ahead.Add(int64(2 * time.Minute))
	there.Saw(ctx, who, cert, r.old)
	if n := r.pending(); n != 1 {
		t.Errorf("%d are pending after it was used again at the other controller, want 1", n)
	}
}

// As above, at the very moment at which it is replaced.
func TestCertificateInUseWhileItIsReplaced(t *testing.T) {
	r := newRotating(t, 1)
	who, cert := r.certificate(r.all[0].ca.IssueClient)
	r.replace()
	k := r.all[0].keeper
	for round := range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				for ctx.Err() == nil {
					k.Saw(t.Context(), who, cert, r.old)
				}
			})
		}
		k.Forget(t.Context(), pki.Serial(cert))
		cancel()
		users.Wait()
		k.Saw(t.Context(), who, cert, r.old)
		if n := r.pending(); n != 1 {
			t.Fatalf("round %d: %d are pending after it was used, want 1", round, n)
		}
	}
}

// Controllers ask each other with certificates of which nobody else has the
// key: one that was made a moment before the authority changed locks out nobody.
func TestCertificateOfAQuestionIsNotNoted(t *testing.T) {
	r := newRotating(t, 1)
	who, cert := r.certificate(r.all[0].ca.IssueBrief)
	if _, err := r.all[0].ca.Verify([]*x509.Certificate{cert}); err != nil || time.Until(cert.NotAfter) > time.Hour {
		t.Errorf("good until %v: %v", cert.NotAfter, err)
	}
	r.replace()
	r.all[0].keeper.Saw(t.Context(), who, cert, r.old)
	if n := r.pending(); n != 0 {
		t.Errorf("%d are pending, want 0", n)
	}
}

// To look at the state of all does not change what this controller has adopted.
func TestLookingChangesNothing(t *testing.T) {
	r := newRotating(t, 1)
	c := r.all[0]
	// One that is cut off when the other goes on.
	dir := t.TempDir()
	check(t, os.CopyFS(dir, os.DirFS(r.dir)))
	behind, err := pki.Open(dir, time.Now)
	check(t, err)
	r.replace()
	k, err := authority.Open(t.Context(), authority.Options{CA: behind, Authorities: c.authorities, Now: time.Now, Hosts: func() []api.Ref { return nil }, Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	before := behind.State()
	before.Trusted = slices.Clone(before.Trusted)
	_, err = c.keeper.Finish(t.Context(), true)
	check(t, err)
	if s, err := k.Show(t.Context()); err != nil || len(s.Authorities) != 1 {
		t.Errorf("%d authorities, %v", len(s.Authorities), err)
	}
	if after := behind.State(); !reflect.DeepEqual(after, before) {
		t.Errorf("looking made\n%+v\nof\n%+v", after, before)
	}
}
