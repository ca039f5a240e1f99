// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	agentjoin "github.com/weft-network/weft/agent/join"
	agentstream "github.com/weft-network/weft/agent/stream"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/store/external"
)

// realAgent is an agent with the real identity and the real stream; only its
// kernel is in memory.
type realAgent struct {
	dir, name  string
	credential *agentjoin.Credential
	stop       func()
}

func joinToken(t *testing.T, admin *client.Client, request api.TokenRequest) string {
	t.Helper()
	request.Role = api.RoleJoin
	token, err := admin.CreateToken(t.Context(), request)
	check(t, err)
	return token.Secret
}

// startRealAgent joins as a host with a token and opens its stream; streams, if any,
// are in place of those it is told.
func startRealAgent(t *testing.T, n int, controller, token string, now func() time.Time, streams ...string) *realAgent {
	t.Helper()
	a := &realAgent{dir: t.TempDir(), name: fmt.Sprintf("h%d", n)}
	id, err := agentjoin.Join(t.Context(), agentjoin.Request{
		Name: a.name, Controller: controller, Token: token, MTU: 1500,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})},
	})
	check(t, err)
	check(t, id.Save(a.dir))
	a.run(t, now, streams...)
	return a
}

// run opens the stream with the identity of the agent's directory.
func (a *realAgent) run(t *testing.T, now func() time.Time, streams ...string) {
	t.Helper()
	id, err := agentjoin.Load(a.dir)
	check(t, err)
	a.credential = agentjoin.NewCredential(id, a.dir, now)
	if streams == nil {
		streams = id.Streams
	}
	log := slog.New(slog.DiscardHandler)
	core := host.NewCore(desired.New(), datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1500}, datapath.Local{}, datapath.NewProgrammer(datapath.NewMemoryKernel(nil).Kernel()))
	core.Start()
	loop := host.NewLoop(core, func([]byte) error { return nil }, log)
	table := func(context.Context, string) (api.Table, error) {
		return api.Table{Columns: []string{"A"}, Rows: [][]string{{a.name}}}, nil
	}
	c := agentstream.New(agentstream.Options{Addresses: streams, Credential: a.credential, AgentVersion: "v", TendEvery: 100 * time.Millisecond}, loop, table, log)
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { loop.Run(ctx) })
	wait.Go(func() { c.Run(ctx) })
	a.stop = func() { cancel(); wait.Wait() }
	t.Cleanup(a.stop)
}

// leaf is the certificate that the agent has on disk.
func (a *realAgent) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(a.dir, "host.crt"))
	check(t, err)
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	return cert
}

// answers says whether a host's agent is connected to a controller.
func answers(ctx context.Context, c *client.Client, name string) error {
	_, err := c.HostTable(ctx, api.Ref{Name: name}, api.HostTableDrops)
	return err
}

// writing writes without a pause until stop, which returns how often it did;
// the first write that fails fails the test. use gives it another client, and
// returns when the one before is used no more.
func writing(t *testing.T, with *client.Client) (use func(*client.Client), stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	done, others, count := make(chan struct{}), make(chan *client.Client), 0
	go func() {
		defer close(done)
		for c := with; ctx.Err() == nil; {
			select {
			case c = <-others:
			default:
			}
			d, err := c.Create(t.Context(), &api.Domain{Header: api.Header{Kind: api.KindDomain, Meta: api.Meta{Name: fmt.Sprintf("w%d", count)}}})
			if err == nil {
				err = c.Delete(t.Context(), api.KindDomain, api.RefTo(d), 0)
			}
			if err != nil {
				if t.Context().Err() == nil { // else the test has failed elsewhere
					t.Errorf("write %d failed: %v", count, err)
				}
				return
			}
			count++
		}
	}()
	stop = sync.OnceValue(func() int { cancel(); <-done; return count })
	t.Cleanup(func() { stop() })
	use = func(c *client.Client) {
		select {
		case others <- c:
		case <-done:
		}
	}
	return use, stop
}

// config is the administrators' configuration of a controller.
func (p *process) config() client.Config {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "admin.yaml"))
	check(p.t, err)
	config, err := client.ParseConfig(text)
	check(p.t, err)
	return config
}

func dial(t *testing.T, config client.Config) *client.Client {
	t.Helper()
	c, err := client.New(config)
	check(t, err)
	t.Cleanup(c.Close)
	return c
}

// renewed is a client with a new certificate, and its configuration.
func renewed(t *testing.T, with *client.Client, config client.Config) (*client.Client, client.Config) {
	t.Helper()
	reply, key, err := with.RenewCertificate(t.Context())
	check(t, err)
	config.Certificate, config.Key, config.CA = reply.Certificate, key, reply.CA
	return dial(t, config), config
}

// rotation is a Weft with two controllers, and one that was stopped, three
// hosts, and an administrator who does not renew by herself.
type rotation struct {
	t              *testing.T
	etcd           external.Config
	one, two, away *process
	admin          *client.Client // with the certificate of before
	before         client.Config
	secret         string         // a token of an administrator
	token          *client.Client // with it, at two
	agents         []*realAgent
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{t: t, etcd: external.Config{Endpoints: []string{etcdMember(t)}}}
	r.one = start(t, options{dataDir: t.TempDir(), etcd: r.etcd})
	r.admin = r.one.admin()
	t.Cleanup(r.one.end)
	copied := func() *process {
		dir := t.TempDir()
		check(t, os.CopyFS(filepath.Join(dir, "pki"), os.DirFS(filepath.Join(r.one.dir, "pki"))))
		p := start(t, options{dataDir: dir, etcd: r.etcd})
		p.admin()
		return p
	}
	r.two, r.away = copied(), copied()
	t.Cleanup(r.two.end)
	r.away.end()
	r.before = r.one.config()
	token, err := r.admin.CreateToken(t.Context(), api.TokenRequest{Name: "t", Role: api.RoleAdmin})
	check(t, err)
	r.secret = token.Secret
	r.token = dial(t, client.Config{Server: r.two.config().Server, Token: token.Secret})
	for n := 1; n <= 3; n++ {
		token := joinToken(t, r.admin, api.TokenRequest{Name: "x"})
		r.agents = append(r.agents, startRealAgent(t, n, r.at(n).config().Server, token, time.Now))
	}
	r.connected("after joining")
	return r
}

// at is the controller that host n is connected to.
func (r *rotation) at(n int) *process { return []*process{r.one, r.two}[n%2] }

func (r *rotation) connected(what string) {
	r.t.Helper()
	for n, a := range r.agents {
		c := dial(r.t, client.Config{Server: r.at(n + 1).config().Server, CA: r.one.config().CA, Token: r.secret})
		eventually(r.t, what+": host "+a.name, func() error { return answers(r.t.Context(), c, a.name) })
	}
}

// shows waits until the state of the authorities is as it should be.
func (r *rotation) shows(what string, is func(api.AuthorityState) bool) {
	r.t.Helper()
	eventually(r.t, what, func() error {
		s, err := r.token.Authority(r.t.Context())
		if err != nil || is(s) {
			return err
		}
		return fmt.Errorf("%+v", s)
	})
}

// begin introduces a new authority and waits until only the writer is left.
func (r *rotation) begin() {
	t := r.t
	t.Helper()
	state, err := r.admin.RotateAuthority(t.Context())
	check(t, err)
	if state.Phase != api.AuthorityIntroduced && state.Phase != api.AuthorityReplacing || len(state.Authorities) != 2 {
		t.Errorf("after rotate: %+v", state)
	}
	if _, err := r.admin.RotateAuthority(t.Context()); err == nil || !strings.Contains(err.Error(), "a rotation is going on") {
		t.Errorf("a second rotation at once: %v", err)
	}
	r.shows("both controllers have it, all hosts have renewed, the old writer is noted", func(s api.AuthorityState) bool {
		return s.Phase == api.AuthorityReplacing && len(s.Controllers) == 2 && len(s.Pending) == 1 && s.Pending[0].Kind == api.HolderClient
	})
	_, err = r.token.FinishAuthority(t.Context(), false)
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Code != api.CodeConflict || !strings.Contains(err.Error(), "client admin of weft") {
		t.Errorf("finished while a client would be locked out: %v", err)
	}
}

// finish drops the old authority.
func (r *rotation) finish(fresh *client.Client) {
	t := r.t
	t.Helper()
	// The writer's last request with the old certificate may have come after the
	// new one was made, and has been noted: the old one is renewed again.
	eventually(t, "finish", func() error {
		_, err := fresh.FinishAuthority(t.Context(), false)
		if err != nil {
			renewed(t, dial(t, r.before), r.before)
		}
		return err
	})
	r.shows("steady everywhere", func(s api.AuthorityState) bool {
		return s.Phase == api.AuthoritySteady && len(s.Controllers) == 2 && s.Controllers[0].Current && s.Controllers[1].Current &&
			s.Authorities[0].Certificate != r.before.CA
	})
	r.connected("after the old authority was dropped")
	old, err := x509.ParseCertificate(pemBytes(t, r.before.CA))
	check(t, err)
	for _, a := range r.agents {
		if a.leaf(t).CheckSignatureFrom(old) == nil {
			t.Errorf("host %s still has a certificate of the old authority", a.name)
		}
	}
	eventually(t, "the old certificate is refused, on a connection that is open", func() error {
		var refused *api.Error
		if _, err := r.admin.WhoAmI(t.Context()); !errors.As(err, &refused) || refused.Code != api.CodeUnauthenticated {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

// Every certificate of a Weft with several controllers is replaced, and their
// authority, while clients write and hosts are connected: no write fails, no
// host needs a token, tokens of before go on, and who was away catches up.
func TestRotateEverything(t *testing.T) {
	r := newRotation(t)
	oldToken, err := r.admin.CreateToken(t.Context(), api.TokenRequest{Name: "reader", Role: api.RoleReader})
	check(t, err)
	oldJoin := joinToken(t, r.admin, api.TokenRequest{Name: "y"})
	use, stop := writing(t, dial(t, r.before))
	r.begin()
	fresh, config := renewed(t, dial(t, r.before), r.before)
	use(fresh)
	if !strings.HasPrefix(config.CA, r.before.CA) || config.CA == r.before.CA {
		t.Error("the renewed client was not told of both authorities")
	}
	r.finish(fresh)
	for what, c := range map[string]client.Config{
		"a token that names the old authority":                {Token: oldToken.Secret},
		"a client that knows the old authority's certificate": {Token: oldToken.Secret, CA: r.before.CA},
		"a client that knows both":                            {Token: oldToken.Secret, CA: config.CA},
		"a client that knows the new one's certificate alone": {Token: oldToken.Secret, CA: r.one.config().CA},
	} {
		c.Server = r.before.Server
		if _, err := dial(t, c).WhoAmI(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	late := startRealAgent(t, 9, r.before.Server, oldJoin, time.Now)
	eventually(t, "a host that joined with an old token", func() error { return answers(t.Context(), fresh, late.name) })

	// The controller that was away has only the old authority, and catches up.
	back := start(t, options{dataDir: r.away.dir, etcd: r.etcd})
	defer back.end()
	if _, err := back.admin().Authority(t.Context()); err != nil {
		t.Errorf("the controller that was away: %v", err)
	}
	if n := stop(); n < 10 {
		t.Errorf("only %d writes were made meanwhile", n)
	}
}

// hand is a clock that tests move.
type hand struct{ ahead atomic.Int64 }

func (h *hand) now() time.Time          { return time.Now().Add(time.Duration(h.ahead.Load())) }
func (h *hand) forward(d time.Duration) { h.ahead.Add(int64(d)) }

// Certificates of a controller and its hosts are renewed when they grow old,
// with new keys, without a restart or a token.
func TestCertificatesRenewThemselves(t *testing.T) {
	clock := &hand{}
	c := start(t, options{dataDir: t.TempDir(), now: clock.now, certificateLife: 30 * 24 * time.Hour})
	defer c.end()
	admin := c.admin()
	a := startRealAgent(t, 1, admin.Server(), joinToken(t, admin, api.TokenRequest{Name: "x"}), clock.now)
	eventually(t, "connected", func() error { return answers(t.Context(), admin, "h1") })
	served := func() *x509.Certificate {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(admin.Server(), "https://"), &tls.Config{InsecureSkipVerify: true})
		check(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	host, server := a.leaf(t), served()
	clock.forward(15 * 24 * time.Hour)
	if !served().Equal(server) {
		t.Error("the controller's certificate was renewed at half of its life")
	}
	clock.forward(6 * 24 * time.Hour)
	eventually(t, "a new certificate of the host", func() error {
		if now := a.leaf(t); now.Equal(host) || now.PublicKey.(*ecdsa.PublicKey).Equal(host.PublicKey) {
			return errors.New("still the old one, or its key")
		}
		return nil
	})
	if now := served(); now.Equal(server) || now.PublicKey.(*ecdsa.PublicKey).Equal(server.PublicKey) {
		t.Error("the controller's certificate was not renewed in the last third of its life")
	}
	a.stop()
	a.run(t, clock.now) // what is on disk is good, and is one pair
	eventually(t, "connected with what was kept", func() error { return answers(t.Context(), admin, "h1") })
	h, err := client.Get[*api.Host](t.Context(), admin, api.Ref{Name: "h1"})
	check(t, err)
	check(t, admin.Delete(t.Context(), api.KindHost, api.RefTo(h), 0))
	clock.forward(25 * 24 * time.Hour)
	kept := a.leaf(t)
	eventually(t, "the deleted host is gone", func() error {
		if err := answers(t.Context(), admin, "h1"); err == nil {
			return errors.New("it answers")
		}
		return nil
	})
	if !a.leaf(t).Equal(kept) {
		t.Error("a deleted host got a new certificate")
	}
}

func pemBytes(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatal("not PEM")
	}
	return block.Bytes
}
