// SPDX-License-Identifier: Apache-2.0

// Package api holds the nouns of Weft: one Go type per kind with a spec (what
// its one writer wants) and a status (what the system reports), their wire
// form in JSON, and the rules that one object alone can break.
//
// Rules that need a second object (does the subnet contain this address, is
// that name taken) live in package store, which commits them together with
// the write. The package has no I/O, clock or lock.
package api
