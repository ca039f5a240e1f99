// SPDX-License-Identifier: Apache-2.0

// Package underlay tests, with a real controller and real agents, how packets
// travel between hosts: encapsulations, families, several uplinks, and gateways
// that are no hosts.
package underlay
