// SPDX-License-Identifier: Apache-2.0

package routing

// Reads are the kinds that Update takes notice of.
var Reads = reads
