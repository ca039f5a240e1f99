// SPDX-License-Identifier: Apache-2.0

// Package stream keeps the agent's conversation with the controllers going:
// one stream in use to any of them, opened with what the host has, deltas in,
// acknowledgements, reports and tables out; and one in reserve to another, that
// takes over when the first ends or hangs.
package stream
