// SPDX-License-Identifier: Apache-2.0

// Package authority replaces certificate authorities while everything runs. Its
// keepers, one a controller, agree through etcd on which are accepted, and note
// who has a certificate of which.
//
// A rotation goes introduced, replacing, steady. A new authority is introduced
// beside the old one; when every running controller accepts it, it certifies
// hosts and clients; and when these have renewed, the old one is dropped. Until
// then the old one certifies the controllers, so nobody is ever shown an
// authority that he could not have learned of.
package authority

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
)

const (
	// stepEvery is how often a keeper looks without having been told to: well
	// within the lease under which it is registered.
	stepEvery = 10 * time.Second
	// retryAfter is when it looks again after it failed.
	retryAfter = time.Second
	// tendEvery is how often Options.Adopted is called without a change, for
	// what is to be renewed for its age.
	tendEvery = time.Hour
	// noteAgain is how long a certificate that is in use counts as noted: another
	// controller may have forgotten it, as replaced by one of its users.
	noteAgain = time.Minute
)

// Options are what a keeper needs.
type Options struct {
	CA *pki.CA
	// Authorities is this controller's part in etcd, Name its name there.
	Authorities *store.Authorities
	Name        string
	// Hosts lists the hosts that there are.
	Hosts func() []api.Ref
	// Adopted is called after every change of the authorities, and once an
	// hour, by one goroutine.
	Adopted func(ctx context.Context)
	Now     func() time.Time
	Log     *slog.Logger
}

// Keeper is one controller's part.
type Keeper struct {
	options Options
	log     *slog.Logger
	poke    chan struct{} // holds at most one token

	mu    sync.Mutex           // guards everything that follows
	err   error                // why the last step failed
	noted map[string]time.Time // when certificates were noted in this rotation, by key
}

// Open makes a keeper after bringing the authority of this controller to the
// state that etcd holds.
func Open(ctx context.Context, o Options) (*Keeper, error) {
	k := &Keeper{options: o, log: o.Log, poke: make(chan struct{}, 1), noted: map[string]time.Time{}}
	if err := k.adopt(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// adopt takes over the state that etcd holds, if it is another.
func (k *Keeper) adopt(ctx context.Context) error {
	var s pki.State
	revision, err := k.options.Authorities.State(ctx, &s)
	if err != nil || revision == 0 || s.Generation == k.options.CA.State().Generation {
		return err
	}
	if err := k.options.CA.Adopt(s); err != nil {
		return err
	}
	k.mu.Lock()
	k.noted = map[string]time.Time{}
	k.mu.Unlock()
	k.log.Info("certificate authorities", "phase", phase(s), "generation", s.Generation, "serving", s.Serving, "issuing", s.Issuing)
	return nil
}

// Run follows the state until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	changes := k.options.Authorities.Changes(ctx)
	ticker := time.NewTicker(stepEvery)
	defer ticker.Stop()
	generation, tended := k.options.CA.State().Generation, k.options.Now()
	for {
		err := k.step(ctx)
		k.mu.Lock()
		k.err = err
		k.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			k.log.Warn("certificate authorities are not as they shall be, will try again", "error", err)
		}
		now := k.options.Now()
		if g := k.options.CA.State().Generation; g != generation || now.Sub(tended) > tendEvery {
			generation, tended = g, now
			k.options.Adopted(ctx)
		}
		select {
		case <-ctx.Done():
			if err := k.options.Authorities.Leave(context.WithoutCancel(ctx)); err != nil {
				k.log.Debug("the end of this controller is noticed later", "error", err)
			}
			return
		case <-ticker.C:
		case <-after(err):
		case <-changes:
		case <-k.poke:
		}
	}
}

// after delivers when to look again after a failure; nil says nothing.
func after(err error) <-chan time.Time {
	if err == nil {
		return nil
	}
	return time.After(retryAfter)
}

// step adopts what there is, says so, and goes on when all have.
func (k *Keeper) step(ctx context.Context) error {
	if err := k.adopt(ctx); err != nil {
		return err
	}
	have := k.options.CA.State().Generation
	if err := k.options.Authorities.Register(ctx, have); err != nil {
		return err
	}
	var s pki.State
	revision, err := k.options.Authorities.State(ctx, &s)
	if err != nil || revision == 0 || phase(s) != api.AuthorityIntroduced {
		return err
	}
	controllers, err := k.options.Authorities.Controllers(ctx)
	if err != nil {
		return err
	}
	for _, g := range controllers {
		if g < s.Generation {
			return nil // it will tell, or cease to be
		}
	}
	next := s.Switched(k.options.Now())
	if _, err := k.options.Authorities.SetState(ctx, next, next.Serving, revision); err != nil {
		return err
	}
	return k.adopt(ctx)
}

// Err is why this controller's authorities are not as etcd says, or nil.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

func phase(s pki.State) string {
	switch {
	case s.Next() == "":
		return api.AuthoritySteady
	case s.Issuing == s.Serving:
		return api.AuthorityIntroduced
	}
	return api.AuthorityReplacing
}

// state reads what is true for all controllers.
func (k *Keeper) state(ctx context.Context) (pki.State, int64, error) {
	var s pki.State // decoding into the CA's own would write what it shares with it
	revision, err := k.options.Authorities.State(ctx, &s)
	if revision == 0 {
		s = k.options.CA.State()
	}
	return s, revision, err
}

// Show tells how the authorities are, and who has not renewed.
func (k *Keeper) Show(ctx context.Context) (api.AuthorityState, error) {
	s, _, err := k.state(ctx)
	if err != nil {
		return api.AuthorityState{}, err
	}
	return k.show(ctx, s)
}

func (k *Keeper) show(ctx context.Context, s pki.State) (api.AuthorityState, error) {
	view := api.AuthorityState{Phase: phase(s), Since: s.Since, Controllers: []api.AuthorityController{}}
	for _, a := range s.Trusted {
		info := api.AuthorityInfo{Hash: a.Hash, Serving: a.Hash == s.Serving, Issuing: a.Hash == s.Issuing, Certificate: a.Certificate}
		cert, err := pki.Decode(a.Certificate)
		if err != nil {
			return view, err
		}
		info.NotAfter = cert.NotAfter
		view.Authorities = append(view.Authorities, info)
	}
	controllers, err := k.options.Authorities.Controllers(ctx)
	if err != nil {
		return view, err
	}
	for _, name := range sortedKeys(controllers) {
		view.Controllers = append(view.Controllers, api.AuthorityController{Name: name, Current: controllers[name] >= s.Generation})
	}
	if view.Phase != api.AuthoritySteady {
		view.Pending, err = k.pending(ctx, s, view.Controllers)
	}
	return view, err
}

// What errors are about; there is one authority, which is no object of the store.
const errorKind, errorObject = "authority", "certificate-authority"

// Rotate introduces a new authority.
func (k *Keeper) Rotate(ctx context.Context) (api.AuthorityState, error) {
	s, revision, err := k.state(ctx)
	if err != nil {
		return api.AuthorityState{}, err
	}
	if phase(s) != api.AuthoritySteady {
		return api.AuthorityState{}, api.Errorf(api.CodeConflict, "rotate the certificate authority: a rotation is going on (%s): weft authority show tells how far it is, weft authority finish ends it", phase(s)).About(errorKind, errorObject, "")
	}
	if err := k.adopt(ctx); err != nil {
		return api.AuthorityState{}, err
	}
	next, err := k.options.CA.Introduce()
	if err != nil {
		return api.AuthorityState{}, err
	}
	return k.change(ctx, "rotate", next, revision)
}

// Finish drops the old authority. Whoever has not renewed is named and nothing
// is done, unless forced.
func (k *Keeper) Finish(ctx context.Context, force bool) (api.AuthorityState, error) {
	s, revision, err := k.state(ctx)
	if err != nil {
		return api.AuthorityState{}, err
	}
	fail := func(format string, args ...any) (api.AuthorityState, error) {
		return api.AuthorityState{}, api.Errorf(api.CodeConflict, "finish the rotation of the certificate authority: "+format, args...).About(errorKind, errorObject, "")
	}
	switch phase(s) {
	case api.AuthoritySteady:
		return fail("none is going on: weft authority rotate begins one")
	case api.AuthorityIntroduced:
		return fail("not all controllers accept the new authority yet, and nobody has a certificate of it: weft authority show tells which")
	}
	view, err := k.show(ctx, s)
	if err != nil {
		return view, err
	}
	if n := len(view.Pending); n > 0 && !force {
		return fail("%d would be locked out: %s; wait, renew them (weft certificate renew), delete them, or force it", n, names(view.Pending))
	}
	view, err = k.change(ctx, "finish the rotation of", s.Finished(k.options.Now()), revision)
	if err == nil {
		k.sweep(ctx)
	}
	return view, err
}

// change writes a state that follows from the one of a revision.
func (k *Keeper) change(ctx context.Context, verb string, next pki.State, revision int64) (api.AuthorityState, error) {
	done, err := k.options.Authorities.SetState(ctx, next, next.Serving, revision)
	if err != nil {
		return api.AuthorityState{}, err
	}
	if !done {
		return api.AuthorityState{}, api.Errorf(api.CodeConflict, "%s the certificate authority: somebody else changed it at the same moment: look, and try again", verb).About(errorKind, errorObject, "")
	}
	select {
	case k.poke <- struct{}{}:
	default:
	}
	return k.show(ctx, next)
}

// decodeHolder reads a stored note.
func decodeHolder(text []byte) (h api.CertificateHolder, err error) {
	if err = json.Unmarshal(text, &h); err != nil {
		err = fmt.Errorf("decode a noted certificate: %w", err)
	}
	return h, err
}
