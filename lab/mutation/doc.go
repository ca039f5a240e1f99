// SPDX-License-Identifier: Apache-2.0

// Package mutation asks how much the tests of the packet path would notice:
// it changes the C of vrouter/bpf in one small place at a time, builds the
// objects that contain the place, and runs the tests of vrouter on them. A
// change that no test notices has survived, and is either a hole in the tests
// or has a reason in doc/mutation.md.
//
// Nothing in the tree changes: sources are copied to a temporary directory,
// and the test program, built once, reads its objects from there.
package mutation
