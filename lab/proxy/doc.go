// SPDX-License-Identifier: Apache-2.0

// Package proxy tries load-balancers of provider haproxy on the real programs: pairs of HAProxy on
// three hosts, HTTP and HTTPS, what is routed by host and path, members, processes and hosts that
// die, reloads under load, and what an object says of what is wrong with it.
package proxy
