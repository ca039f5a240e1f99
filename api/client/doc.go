// SPDX-License-Identifier: Apache-2.0

// Package client speaks Weft's REST API: a request in, an object or an
// *api.Error out.
//
// Reads and writes are bounded in time. Nothing is repeated behind the
// caller's back, because a write that timed out may have happened; only Watch
// connects again, from the revision it has reached. A Client may be used by
// several goroutines.
package client
