// SPDX-License-Identifier: Apache-2.0

// Package datapath brings the desired rows into the vRouter's tables.
//
// Compute is a pure function from desired rows, the attached interfaces and
// the underlay to the contents every table should have. Programmer makes the
// tables so, one reconciler a table, in an order that never lets a route lead
// to a next hop that is not there, nor a port send before its addresses are
// known. Next hops are named by what they are; the ids the kernel needs are
// given here, never twice within a run, and found again after a restart.
package datapath
