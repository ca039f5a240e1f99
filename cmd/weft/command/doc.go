// SPDX-License-Identifier: Apache-2.0

// Package command is the command line of Weft: each command reads its
// arguments, asks the API, and prints tables for people or JSON and YAML for
// programs. It decides nothing that the server does not also check.
package command
