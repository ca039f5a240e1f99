// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// member runs an etcd with a client listener and returns its URL.
func member(t *testing.T, maxTxnOps uint) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := url.URL{Scheme: "http", Host: l.Addr().String()}
	l.Close()
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.MaxTxnOps = t.TempDir(), "error", maxTxnOps
	c.ListenPeerUrls, c.ListenClientUrls, c.AdvertiseClientUrls = nil, []url.URL{address}, []url.URL{address}
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(20 * time.Second):
		t.Fatal("etcd is not ready")
	}
	return address.String()
}

func connect(t *testing.T, timeout time.Duration, endpoints ...string) (*Cluster, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	e, err := Connect(ctx, Config{Endpoints: endpoints}, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Cleanup(e.Close)
	}
	return e, err
}

// The limit is what the member with the lowest one takes, and more than we ask
// for is not needed.
func TestLimitIsProbed(t *testing.T) {
	low, high := member(t, 300), member(t, 10_000)
	for _, c := range []struct {
		endpoints []string
		want      int
	}{
		{[]string{low}, 300},
		{[]string{high}, maxTxnOps},
		{[]string{high, low}, 300},
		{[]string{low, "http://127.0.0.1:1"}, 300}, // one member is down
	} {
		e, err := connect(t, 20*time.Second, c.endpoints...)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.MaxTxnOps(); got != c.want {
			t.Errorf("%v: %d operations, want %d", c.endpoints, got, c.want)
		}
	}
	if _, err := connect(t, 20*time.Second, member(t, 100)); err == nil || !strings.Contains(err.Error(), "raise its --max-txn-ops") {
		t.Errorf("a member that takes 100 operations: %v", err)
	}
}

func TestWrongConfigurationIsRefused(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Endpoints: []string{"192.0.2.1:2379"}}, "not of the form"},
		{Config{Endpoints: []string{"ftp://192.0.2.1:2379"}}, "not of the form"},
		{Config{Endpoints: []string{"http://192.0.2.1:2379"}}, "without TLS"},
		{Config{Endpoints: []string{"http://[2001:db8::1]:2379"}}, "without TLS"},
		{Config{Endpoints: []string{"https://192.0.2.1:2379"}}, "are required"},
		{Config{Endpoints: []string{"https://192.0.2.1:2379"}, CA: "none", Certificate: "c", Key: "k"}, "read its CA"},
	} {
		if _, err := Connect(t.Context(), c.config, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.config, err, c.want)
		}
	}
	if _, err := connect(t, 2*time.Second, "http://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody there: %v", err)
	}
}
