// SPDX-License-Identifier: Apache-2.0

// Package host is the agent's one state: what a controller wants, which ports
// are plugged, and how far the tables are. Core has it and decides; Loop owns
// a Core, gives it the time, and lets others in one at a time.
package host
