// SPDX-License-Identifier: Apache-2.0

// Package failover tries addresses that move between ports on the real
// programs: keepalived, active-active pairs, health-checks, BFD with FRR, and what workloads choose by SLAAC.
package failover
