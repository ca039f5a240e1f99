// SPDX-License-Identifier: Apache-2.0

// Package hostroute joins this host's own routing with the workloads that are
// in the underlay, or that the host sees.
//
// It reads how the host routes, so that the packet path can send a workload's
// packets straight out of the right interface, and keeps a route in the host's
// main table for each such workload: of this host to weft0, and of other hosts
// that are neighbours to them. A route of ours is one with our protocol number;
// no other is touched, nor replaced by one of ours.
package hostroute
