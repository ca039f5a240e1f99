// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weft-network/weft/cmd/exposition"
	"github.com/weft-network/weft/server/audit"
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

func (a *account) handler() http.Handler {
	return exposition.Metrics(prometheus.Gatherers{a.registry, prometheus.GathererFunc(ofDisk)})
}

// export makes the metrics of the parts readable, also at an address without
// credentials if there is one.
func (a *account) export(address string, parts ...[]prometheus.Collector) error {
	exposition.Export(a.registry, version, parts...)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.handler())
	stop, err := exposition.Serve(address, mux, a.log)
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

// ofDisk are the metrics of the disk under an etcd in this process, which
// registers them for itself. Without one they count nothing and are left out.
func ofDisk() ([]*dto.MetricFamily, error) {
	all, err := prometheus.DefaultGatherer.Gather()
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool {
		return !strings.HasPrefix(f.GetName(), "etcd_disk_") || f.GetMetric()[0].GetHistogram().GetSampleCount() == 0
	}), err
}
