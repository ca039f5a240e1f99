// SPDX-License-Identifier: Apache-2.0

// Package vm tests Weft with real virtual machines: QEMU guests with Debian's
// kernel, attached by taps to the real agent.
package vm
