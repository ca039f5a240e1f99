// SPDX-License-Identifier: Apache-2.0

// Package lossless counts what packets cost the changes of an agent's life:
// numbered datagrams and open TCP connections run, in both families, on one
// host and across hosts, while agents are restarted, killed and replaced by
// builds that lay their tables out otherwise, and while the controller is away.
package lossless
