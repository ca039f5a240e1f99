// SPDX-License-Identifier: Apache-2.0

// Package policy tries policy with real packets: the real programs on three
// hosts, random objects applied by the API, thousands of attempts between
// workloads, and a plain model of doc/policy.md that says what each must see.
package policy
