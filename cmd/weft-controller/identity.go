// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/server/authority"
	"github.com/weft-network/weft/server/oidc"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
)

// leastLife of a certificate: a host must have time to renew it more than once.
const leastLife = time.Hour

// identity is how others know this controller, and it them.
type identity struct {
	ca          *pki.CA
	certificate *pki.ServerCertificate
	keeper      *authority.Keeper
	adminConfig string
	server      string // URL in adminConfig
	log         *slog.Logger

	objects atomic.Pointer[store.Store] // nil before run
	recheck atomic.Pointer[func()]
}

// identify reads or makes the certificate authority, the controller's own
// certificate, and the client configuration of its administrators.
func identify(ctx context.Context, o options, db *database, apiListeners, streamListeners []net.Listener, log *slog.Logger) (*identity, error) {
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	i := &identity{adminConfig: filepath.Join(o.dataDir, "admin.yaml"), server: "https://" + reachable(apiListeners[0].Addr()), log: log}
	if err := i.open(ctx, o, db, addresses(apiListeners)[0]); err != nil {
		return nil, err
	}
	all := append(append([]net.Listener{}, apiListeners...), streamListeners...)
	var err error
	if i.certificate, err = i.ca.ServerCertificate(certificateNames(o.advertise, all)); err != nil {
		return nil, err
	}
	return i, i.ca.WriteAdminConfig(i.adminConfig, i.server)
}

// open reads the certificate authorities of a directory, or makes one if this
// is the first controller of all, and makes sure that all have the same. One
// that was away while an authority was replaced catches up.
func (i *identity) open(ctx context.Context, o options, db *database, name string) error {
	known, err := store.Authority(ctx, db.client)
	if err != nil {
		return err
	}
	if known != "" && !pki.Has(o.pkiDir) {
		return fmt.Errorf("open certificate authority: %s holds none, and that of this etcd has the SHA-256 %s: copy the pki directory of another controller, or of the one the backup is from, to %s; a new authority would be unknown to all hosts", o.pkiDir, known, o.pkiDir)
	}
	if i.ca, err = pki.Open(o.pkiDir, now(o)); err != nil {
		return err
	}
	i.ca.Live(pki.Lives{Server: o.certificateLife, Client: o.certificateLife, Host: o.certificateLife})
	name += "/" + uuid.NewString()[:8]
	i.keeper, err = authority.Open(ctx, authority.Options{
		CA: i.ca, Authorities: store.NewAuthorities(db.client, name), Name: name,
		Hosts: i.hosts, Adopted: i.adopted, Now: now(o), Log: i.log,
	})
	if err != nil {
		return err
	}
	return store.ClaimAuthority(ctx, db.client, i.ca.Hash())
}

// now is the clock of certificates.
func now(o options) func() time.Time {
	if o.now != nil {
		return o.now
	}
	return time.Now
}

// run keeps to the state of the authorities until stop is called. recheck is
// called when they have changed.
func (i *identity) run(ctx context.Context, objects *store.Store, recheck func()) (stop func()) {
	i.objects.Store(objects)
	i.recheck.Store(&recheck)
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { i.keeper.Run(ctx) })
	return func() { cancel(); wait.Wait() }
}

// hosts lists the hosts that there are.
func (i *identity) hosts() (all []api.Ref) {
	if objects := i.objects.Load(); objects != nil {
		for _, h := range api.ListOf[*api.Host](objects.Latest(), api.KindHost) {
			all = append(all, api.RefTo(h))
		}
	}
	return all
}

// adopted brings up to date what depends on the authorities, or grows old.
func (i *identity) adopted(ctx context.Context) {
	before := i.adminSerial()
	if err := i.ca.WriteAdminConfig(i.adminConfig, i.server); err != nil {
		i.log.Error("the administrators' configuration is not renewed", "file", i.adminConfig, "error", err)
	} else if before != "" && before != i.adminSerial() {
		i.keeper.Forget(ctx, before)
	}
	if recheck := i.recheck.Load(); recheck != nil {
		(*recheck)()
	}
}

// adminSerial is that of the certificate in the administrators' configuration.
func (i *identity) adminSerial() string {
	data, err := os.ReadFile(i.adminConfig)
	if err != nil {
		return ""
	}
	config, err := client.ParseConfig(data)
	if err != nil {
		return ""
	}
	cert, err := pki.Decode(config.Certificate)
	if err != nil {
		return ""
	}
	return pki.Serial(cert)
}

// Trusted, Certify and Accepts are what the stream to the hosts asks.
func (i *identity) Trusted() (bundle []byte, issuing string) { return i.keeper.Bundle() }

func (i *identity) Certify(ctx context.Context, csr string, host api.Ref) (string, error) {
	made, err := i.keeper.CertifyHost(ctx, csr, host)
	return made.Certificate, err
}

func (i *identity) Accepts(chain []*x509.Certificate) bool {
	_, ok := i.ca.Accepts(chain)
	return ok
}

// openPeople reads who is known by ID tokens; nil for nobody.
func openPeople(o options) (*oidc.People, error) {
	if o.oidcConfig == "" {
		return nil, nil
	}
	config, err := oidc.Read(o.oidcConfig)
	if err != nil {
		return nil, err
	}
	return oidc.New(config, now(o)), nil
}
