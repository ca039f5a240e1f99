// SPDX-License-Identifier: Apache-2.0

// Package balance tries native load-balancers on the real programs: real clients
// of HTTP, UDP and SCTP on three hosts, members that are drained, fail, die with
// their host or are replaced under load, and agents that restart.
package balance
