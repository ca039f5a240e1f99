// SPDX-License-Identifier: Apache-2.0

// Package exposition shows a process of Weft from outside: its metrics, and
// whether it lives and is ready, at a loopback address without credentials.
package exposition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// timeout ends a reader that does not take what it asked for.
	timeout = 30 * time.Second
	// atOnce bounds how many read the metrics at the same time: each reading
	// counts everything anew.
	atOnce = 4
)

// Export makes the metrics of the process's parts readable, with those of the
// Go runtime and of the process.
func Export(to *prometheus.Registry, version string, parts ...[]prometheus.Collector) {
	to.MustRegister(slices.Concat(parts...)...)
	to.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weft_build_info", Help: "1; the version is in the label.", ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return 1 }))
}

// Metrics answers with what is exported. If a part cannot be read, the others
// are still told.
func Metrics(from prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(from, promhttp.HandlerOpts{MaxRequestsInFlight: atOnce, ErrorHandling: promhttp.ContinueOnError})
}

// Check tells why the process is not as it should be, nil if it is. It must
// end when its context does.
type Check func(context.Context) error

// checkTimeout bounds a check, below the second that probes usually wait.
const checkTimeout = 900 * time.Millisecond

// Answer serves a check: 200 and "ok", or 503 and the reason as plain text.
func Answer(check Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		text := "ok"
		if err := check(ctx); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			text = err.Error()
		}
		_, _ = fmt.Fprintln(w, text) // the asker has gone; nobody is left to tell
	})
}

// Serve serves a handler without credentials on a loopback address, if there is
// one, and returns what ends that.
func Serve(address string, handler http.Handler, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("serve metrics: --metrics-listen %s is not a loopback address, and this listener asks for no credentials", address), l.Close())
	}
	s := &http.Server{Handler: handler, ReadTimeout: timeout, WriteTimeout: timeout, IdleTimeout: timeout}
	ended := make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("metrics are no longer served", "error", err)
		}
	}()
	log.Info("metrics", "address", l.Addr())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
		<-ended
	}, nil
}
