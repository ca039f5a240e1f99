// SPDX-License-Identifier: Apache-2.0

// Package hoststream is the wire form of what one host must have: the messages
// between a controller and an agent, generated from hoststream.proto.
package hoststream

//go:generate sh generate.sh
