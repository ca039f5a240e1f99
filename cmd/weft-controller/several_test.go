// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/store/external"
)

// etcdMember runs an etcd with a listener on loopback and returns its URL.
func etcdMember(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	address := url.URL{Scheme: "http", Host: l.Addr().String()}
	l.Close()
	c := embed.NewConfig()
	c.Dir, c.LogLevel = t.TempDir(), "error"
	c.ListenPeerUrls, c.ListenClientUrls, c.AdvertiseClientUrls = nil, []url.URL{address}, []url.URL{address}
	e, err := embed.StartEtcd(c)
	check(t, err)
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return address.String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// process is a controller in this process.
type process struct {
	t    *testing.T
	dir  string
	stop context.CancelFunc
	done chan error
}

// start runs a controller on ports of its own; admin.yaml says which.
func start(t *testing.T, o options) *process {
	t.Helper()
	o.apiListen, o.streamListen = []string{"127.0.0.1:0"}, []string{"127.0.0.1:0"}
	o.pkiDir = filepath.Join(o.dataDir, "pki")
	ctx, cancel := context.WithCancel(t.Context())
	p := &process{t, o.dataDir, cancel, make(chan error, 1)}
	go func() { p.done <- run(ctx, o, slog.New(slog.DiscardHandler)) }()
	return p
}

func (p *process) end() {
	p.t.Helper()
	p.stop()
	if err := <-p.done; err != nil {
		p.t.Errorf("the controller ended with %v", err)
	}
}

// admin connects as administrator once the controller serves.
func (p *process) admin() *client.Client {
	p.t.Helper()
	deadline := time.After(30 * time.Second)
	for every := time.Tick(20 * time.Millisecond); ; {
		if text, err := os.ReadFile(filepath.Join(p.dir, "admin.yaml")); err == nil {
			config, err := client.ParseConfig(text)
			check(p.t, err)
			c, err := client.New(config)
			check(p.t, err)
			if _, err = c.WhoAmI(p.t.Context()); err == nil {
				p.t.Cleanup(c.Close)
				return c
			}
			c.Close()
		}
		select {
		case <-every:
		case err := <-p.done:
			p.t.Fatalf("the controller ended with %v", err)
		case <-deadline:
			p.t.Fatal("the controller does not serve")
		}
	}
}

// Two controllers serve one etcd: each sees at once what was written through
// the other, and with the same authority accepts its credentials. One without
// the authority, or with another, is told what to do.
func TestSeveralControllers(t *testing.T) {
	etcd := external.Config{Endpoints: []string{etcdMember(t)}}
	one := start(t, options{dataDir: t.TempDir(), etcd: etcd})
	a := one.admin()
	defer one.end()

	without := start(t, options{dataDir: t.TempDir(), etcd: etcd})
	if err := <-without.done; err == nil || !strings.Contains(err.Error(), "copy the pki directory") {
		t.Errorf("a controller without the authority: %v", err)
	}
	if _, err := os.Stat(filepath.Join(without.dir, "pki")); err == nil {
		t.Error("the refused controller made an authority, which would be in the way")
	}
	alone := start(t, options{dataDir: t.TempDir()})
	alone.admin()
	alone.end()
	other := start(t, options{dataDir: alone.dir, etcd: etcd})
	if err := <-other.done; err == nil || !strings.Contains(err.Error(), "copy the pki directory") {
		t.Errorf("a controller with another authority: %v", err)
	}

	dir := t.TempDir()
	check(t, os.CopyFS(filepath.Join(dir, "pki"), os.DirFS(filepath.Join(one.dir, "pki"))))
	two := start(t, options{dataDir: dir, etcd: etcd})
	defer two.end()
	b := two.admin()
	for round, c := range []*client.Client{a, b} {
		d := &api.Domain{Header: api.Header{Kind: api.KindDomain, Meta: api.Meta{Name: fmt.Sprintf("d%d", round)}}}
		_, err := c.Create(t.Context(), d)
		check(t, err)
		read := []*client.Client{b, a}[round]
		if _, err := read.Get(t.Context(), api.KindDomain, api.Ref{Name: d.Meta.Name}); err != nil {
			t.Errorf("what was written through one controller is not at the other: %v", err)
		}
	}
}
