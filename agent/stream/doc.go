// SPDX-License-Identifier: Apache-2.0

// Package stream keeps the agent's conversation with the controllers going:
// one stream at a time to any of them, opened with what the host has, deltas
// in, acknowledgements, reports and tables out.
package stream
