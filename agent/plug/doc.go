// SPDX-License-Identifier: Apache-2.0

// Package plug connects workloads: it turns "port P is in namespace N" into an
// interface, a record that outlives the agent, and an entry in the host's
// state, and serves that on a unix socket to whoever starts workloads.
package plug
