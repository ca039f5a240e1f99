// SPDX-License-Identifier: Apache-2.0

// Package desired holds what a controller wants of this host: the rows of the
// stream, decoded, with the version they are of. It refuses what is older than
// what it has, and keeps itself in a file so that a host without a controller
// still knows its ports.
package desired
