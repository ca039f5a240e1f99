// SPDX-License-Identifier: Apache-2.0

// Package haproxy has load-balancers that read HTTP served by HAProxy: what a
// load-balancer says is rendered as HAProxy's configuration by a pure function
// (Render), and a process for each load-balancer is started in a network namespace,
// kept, and reloaded without losing a connection (Runner).
//
// Words of users are data in the configuration and never words of HAProxy's own: each is
// quoted, is checked to be what its place takes, and has its percent signs doubled where
// HAProxy would read a format. What HAProxy refuses all the same is left out, with its message
// as the fault of the object whose line it was, so that the rest is served.
package haproxy

import (
	"net/netip"

	"github.com/weft-network/weft/api"
)

// Proxy is one load-balancer as its proxies serve it. Objects are told by their UUIDs.
type Proxy struct {
	ID        string
	Addresses []netip.Addr // the virtual addresses
	Listeners []Listener
	Pools     []Pool
	// Certificates are files in PEM by the names that listeners and pools say: certificates
	// with their keys, and those of authorities.
	Certificates map[string][]byte
}

// Listener is one transport port of the addresses.
type Listener struct {
	ID              string
	Protocol        string // TCP, HTTP, HTTPS (passed on unread), TERMINATED_HTTPS, PROMETHEUS
	Port            uint16
	Pool            string // that serves what no rule sends elsewhere; empty: nobody
	ConnectionLimit int    // 0: that of the process
	Sources         []netip.Prefix
	Timeouts        api.ListenerTimeouts
	InsertHeaders   map[string]string
	TLS             *api.ListenerTLS
	Rules           []Rule // in their order
}

// Rule sends some requests of a listener elsewhere.
type Rule struct {
	ID           string
	Requests     []api.RequestMatch
	Action       string // pool, redirect, reject
	Pool         string
	URL, Prefix  string
	RedirectCode int
}

// Pool is members that do the same.
type Pool struct {
	ID        string
	Protocol  string // TCP, HTTP, HTTPS, PROXY, PROXYV2
	Algorithm string
	Affinity  *api.Affinity
	TLS       *api.PoolTLS
	Monitor   *api.Probe // nil: members are not tried
	Members   []Member
}

// Member is one of a pool.
type Member struct {
	ID      string
	Address netip.Addr // invalid: it has none
	Port    uint16
	Weight  int
	State   string // active, draining, not-ready
	Backup  bool
	// What is tried in its place, if anything.
	MonitorAddress netip.Addr
	MonitorPort    uint16
}

// Fault is why an object serves less than it says.
type Fault struct {
	ID      string // of the object
	Reason  string
	Message string
	Partly  bool // it serves, but not all
}

// The reasons of faults.
const (
	Unfit         = "unfit"          // cannot be done with what it says
	NoCertificate = "no-certificate" // that is named
	NoPool        = "no-pool"
	NoAddress     = "no-address"
	TooMany       = "too-many"
	Refused       = "refused" // by HAProxy, in its words
)

// Bounds of one load-balancer, so that none takes a host's memory.
const (
	maxConnections = 10_000 // if a process may have two files for each, and some more
	maxListeners   = 100
	maxServers     = 5_000 // members, once for each listener that has them
	maxRules       = 500   // of a listener
	maxConditions  = 32    // of a rule: HAProxy takes 64 words in a line
)

// connections is how many at a time there are room for: two files for each, and besides those of
// listeners, of members that are tried, and of the process itself.
func (p Place) connections() int {
	if p.Files == 0 {
		return maxConnections
	}
	return max(min((p.Files-p.Files/4)/2, maxConnections), 1)
}

// Place is where a load-balancer's files are, and as whom its workers run.
type Place struct {
	Dir   string // absolute, without spaces; short, for it has sockets
	User  string // with the group of that name; empty: as who starts it
	Jail  string // that workers change their root to; empty: none
	Procs int    // threads; 0: one
	Files int    // that a process may have open; 0: enough
}
