// SPDX-License-Identifier: Apache-2.0

package main

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
	// metricsTimeout ends a reader of metrics that does not take them.
	metricsTimeout = 30 * time.Second
	// metricsAtOnce bounds how many read them at the same time: each reading
	// counts all objects.
	metricsAtOnce = 4
)

// export makes the metrics of the process's parts readable, with those of the
// Go runtime and of the process.
func export(to *prometheus.Registry, parts ...[]prometheus.Collector) {
	to.MustRegister(slices.Concat(parts...)...)
	to.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weft_build_info", Help: "1; the version is in the label.", ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return 1 }))
}

func metricsHandler(from *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(from, promhttp.HandlerOpts{MaxRequestsInFlight: metricsAtOnce})
}

// serveMetrics serves the metrics without credentials on a loopback address,
// if there is one, and returns what ends that.
func serveMetrics(address string, from *prometheus.Registry, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("serve metrics: --metrics-listen %s is not a loopback address, and this listener asks for no credentials: read /metrics of the API from elsewhere", address), l.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metricsHandler(from))
	s := &http.Server{Handler: mux, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout, IdleTimeout: metricsTimeout}
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
