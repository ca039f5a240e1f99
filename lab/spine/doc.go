// SPDX-License-Identifier: Apache-2.0

// Package spine tests the whole system: the real programs, real eBPF and real
// packets, from the API to the workloads of three hosts. It needs root.
package spine
