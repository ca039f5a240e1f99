// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/weft-network/weft/server/audit"
)

const (
	// metricsTimeout ends a reader of metrics that does not take them.
	metricsTimeout = 30 * time.Second
	// metricsAtOnce bounds how many read them at the same time: each reading
	// counts all objects.
	metricsAtOnce = 4
)

// account is how the controller accounts for what it does: the audit and the
// metrics.
type account struct {
	audit    *audit.Log
	registry *prometheus.Registry
	log      *slog.Logger
	stop     func()
}

func openAccount(dataDir string, log *slog.Logger) (*account, error) {
	kept, err := audit.Open(filepath.Join(dataDir, "audit"))
	if err != nil {
		return nil, err
	}
	return &account{audit: kept, registry: prometheus.NewRegistry(), log: log, stop: func() {}}, nil
}

func (a *account) handler() http.Handler { return metricsHandler(a.registry) }

// export makes the metrics of the parts readable, also at an address without
// credentials if there is one.
func (a *account) export(address string, parts ...[]prometheus.Collector) error {
	export(a.registry, parts...)
	stop, err := serveMetrics(address, a.registry, a.log)
	if err == nil {
		a.stop = stop
	}
	return err
}

func (a *account) close() {
	a.stop()
	if err := a.audit.Close(); err != nil {
		a.log.Warn("the audit did not end cleanly", "error", err)
	}
}

// export makes the metrics of the process's parts readable, with those of the
// Go runtime and of the process.
func export(to *prometheus.Registry, parts ...[]prometheus.Collector) {
	to.MustRegister(slices.Concat(parts...)...)
	to.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weft_build_info", Help: "1; the version is in the label.", ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return 1 }))
}

func metricsHandler(from *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{from, prometheus.GathererFunc(ofDisk)}, promhttp.HandlerOpts{MaxRequestsInFlight: metricsAtOnce})
}

// ofDisk are the metrics of the disk under an etcd in this process, which
// registers them for itself. Without one they count nothing and are left out.
func ofDisk() ([]*dto.MetricFamily, error) {
	all, err := prometheus.DefaultGatherer.Gather()
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool {
		return !strings.HasPrefix(f.GetName(), "etcd_disk_") || f.GetMetric()[0].GetHistogram().GetSampleCount() == 0
	}), err
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
