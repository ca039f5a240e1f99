// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/exposition"
	"github.com/weft-network/weft/cmd/exposition/documented"
	"github.com/weft-network/weft/control"
	"github.com/weft-network/weft/server"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/embedded"
)

var update = flag.Bool("update", false, "rewrite doc/metrics.md; commit only changes you can explain")

const metricsDoc = "../../doc/metrics.md"

// exported is everything a controller exports, each metric with a value.
func exported(t *testing.T) (*prometheus.Registry, []prometheus.Collector) {
	t.Helper()
	etcd, err := embedded.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	log := slog.New(slog.DiscardHandler)
	objects, err := store.Open(t.Context(), etcd.Client(), store.Options{MaxTxnOps: embedded.MaxTxnOps, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(objects.Close)
	who := api.Identity{Name: "admin", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	domain := &api.Domain{Header: api.Header{Kind: api.KindDomain, Meta: api.Meta{Name: "d"}}}
	for range 2 { // the second is refused
		_, _ = objects.Commit(t.Context(), who, []api.Operation{{Op: api.OpCreate, Object: domain}}, store.CommitOptions{})
	}
	rest := server.New(server.Options{Store: objects, Log: log})
	for _, path := range []string{"/healthz", "/v1/domains"} {
		rest.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	hosts := control.New(control.Options{Intent: objects, Status: objects, TLS: &tls.Config{}, Log: log})
	t.Cleanup(hosts.Stop)
	registry := prometheus.NewRegistry()
	parts := slices.Concat(objects.Metrics(), hosts.Metrics(), rest.Metrics())
	exposition.Export(registry, version, parts)
	return registry, parts
}

// TestMetricsAreDocumented: doc/metrics.md lists exactly what is exported.
func TestMetricsAreDocumented(t *testing.T) {
	registry, parts := exported(t)
	documented.Compare(t, metricsDoc, "weft-controller", registry, parts, *update)
}

// What happened can be read, on a loopback address and nowhere else.
func TestMetricsAreServed(t *testing.T) {
	registry, _ := exported(t)
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		if stop, err := exposition.Serve(address, exposition.Metrics(registry), slog.New(slog.DiscardHandler)); err == nil {
			stop()
			t.Errorf("metrics are served on %s", address)
		}
	}
	var log strings.Builder
	stop, err := exposition.Serve("127.0.0.1:0", exposition.Metrics(registry), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(log.String())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reply.Body)
	reply.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`weft_store_commits_total{outcome="committed"} 1`, `weft_store_commits_total{outcome="conflict"} 1`,
		`weft_store_objects{kind="domain"} 2`, `weft_store_lag_revisions 0`, `weft_stream_sessions 0`,
		`weft_api_requests_total{code="done",operation="health"} 1`, `weft_api_requests_total{code="unauthenticated",operation="list-domains"} 1`,
		`weft_store_commit_seconds_count 1`, "go_goroutines",
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	stop()
}
