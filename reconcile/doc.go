// SPDX-License-Identifier: Apache-2.0

// Package reconcile makes something actual equal to something desired, row by
// row, and remembers for each row how far it has come.
//
// A Target knows three verbs: Update (idempotent), Delete (absent is success)
// and Owned (what is there and carries our mark). A Sync holds the desired
// rows of one kind, compares them with what the target has, retries what
// failed with growing pauses, and sweeps what nobody wants, but only after it
// was told that the desired rows are complete. It has no clock, lock or
// goroutine: time is an argument and its owner calls it from one goroutine.
package reconcile
