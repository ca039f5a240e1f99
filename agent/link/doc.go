// SPDX-License-Identifier: Apache-2.0

// Package link makes, finds and removes network interfaces: the vxlan device,
// and the veth pairs of workloads in network namespaces. It attaches to
// interfaces that others made and never removes those.
//
// Everything it makes carries a mark from the moment of creation (the link
// group), and once it is complete an alias that says whose it is. What has no
// mark is not touched, whatever its name.
package link
