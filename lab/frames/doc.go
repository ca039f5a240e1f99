// SPDX-License-Identifier: Apache-2.0

// Package frames tries networks of layer 2 on whole systems: real controller
// and agents, workloads with addresses that Weft does not know.
package frames
