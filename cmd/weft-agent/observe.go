// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/metrics"
	"github.com/weft-network/weft/cmd/exposition"
)

// health is how the agent is, for probes.
type health struct {
	loop  metrics.Host
	local func() error // which of the host's own services are not served
	ready atomic.Bool  // a controller has delivered everything once and all of it was tried
}

// live tells whether the goroutine that owns the tables answers.
func (h *health) live(ctx context.Context) error {
	if err := h.loop.Do(ctx, func(*host.Core) {}); err != nil {
		return fmt.Errorf("the agent's loop does not answer: %w", err)
	}
	return nil
}

// errStarting says what a starting agent waits for.
var errStarting = errors.New("no controller has delivered everything yet; ports delivered before carry traffic")

// isReady tells whether new ports can be plugged and find the services of their
// host. An agent that has lost its
// controllers stays ready: what it has goes on.
func (h *health) isReady(ctx context.Context) error {
	if err := h.live(ctx); err != nil {
		return err
	}
	if !h.ready.Load() {
		return errStarting
	}
	return h.local()
}

// observe serves metrics and health at a loopback address, if there is one.
func observe(address string, maxPorts int, statistics metrics.Statistics, loop metrics.Host, answers metrics.Answers, h *health, log *slog.Logger, more ...prometheus.Collector) (stop func(), err error) {
	registry := prometheus.NewRegistry()
	exposition.Export(registry, version, append(more, metrics.New(statistics, loop, answers, maxPorts)))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", exposition.Metrics(registry))
	mux.Handle("GET /livez", exposition.Answer(h.live))
	mux.Handle("GET /readyz", exposition.Answer(h.isReady))
	return exposition.Serve(address, mux, log)
}
