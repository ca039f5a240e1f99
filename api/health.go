// SPDX-License-Identifier: Apache-2.0

package api

// What Health.Status may be.
const (
	HealthOK   = "ok"
	HealthFull = "full" // etcd takes no writes
	// HealthNotWriting: the disk hangs, or etcd has no leader.
	HealthNotWriting = "not-writing"
	HealthReady      = "ready"
	HealthNotReady   = "not-ready"
)

// Health is how a controller is.
type Health struct {
	Status   string              `json:"status" doc:"ok or full; ready or not-ready."`
	Revision int64               `json:"revision,omitempty" doc:"Store revision, for Weft's own credentials only."`
	Checks   []HealthCheckResult `json:"checks,omitempty" doc:"Of readiness."`
}

// HealthCheckResult is one thing that must hold.
type HealthCheckResult struct {
	Name    string `json:"name" doc:"store: etcd answers; derived: it is known what hosts must have; authorities: the certificate authorities are those that all controllers have."`
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty" doc:"Why not, for Weft's own credentials only."`
}
