// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Route is one derived route of a network, as control computed it.
type Route struct {
	Network Ref          `json:"network" doc:"Network whose VRF holds the route."`
	Prefix  netip.Prefix `json:"prefix" doc:"Destination."`
	// NextHop says where packets go: "port <name> on <host>" (with "via
	// <address>" before it where a static route names one), "gateway" or "discard".
	NextHop string `json:"nextHop" doc:"Where packets go, in words."`
	State   string `json:"state" enum:"primary,secondary,infeasible" doc:"primary: made in this network; secondary: leaked into it; infeasible: a static route that leads nowhere."`
	// Equal is set for a further next hop of the prefix.
	Equal  bool   `json:"equal,omitempty" doc:"A further next hop of the prefix; hosts use the one that is not equal."`
	Reason string `json:"reason,omitempty" doc:"Why the route is infeasible."`
	Port   Ref    `json:"port,omitzero" doc:"Port the packets are for."`
	Host   Ref    `json:"host,omitzero" doc:"Host of the port."`
	MAC    MAC    `json:"mac,omitempty" doc:"Ethernet address of the destination."`
	// Members are who serves a virtual address.
	Members []RouteMember `json:"members,omitempty" doc:"Of a virtual address: who serves it, by name."`
	// Tunnel is how other hosts reach the next hop; absent where it is on the
	// host that was asked about, or every host is it.
	Tunnel          *RouteTunnel `json:"tunnel,omitempty" doc:"How packets travel to the host of the next hop; absent where they need not."`
	LocalPreference int          `json:"localPreference" doc:"Local preference (RFC 4271): 200 for what a workload or the gateway answers for, 100 for static routes; 0 for an infeasible one."`
	LastModified    time.Time    `json:"lastModified,omitzero" doc:"When what the route follows from last changed: its origin, the binding of its port, what leaked it."`
	// Origin is the object that made the route; OriginNetwork where it was made.
	OriginKind    Kind `json:"originKind" doc:"Kind of the object that made the route."`
	Origin        Ref  `json:"origin" doc:"The object that made the route."`
	OriginNetwork Ref  `json:"originNetwork" doc:"Network in which the route was made."`
	// LeakedBy is what brought the route here; none for a route of the network itself.
	LeakedByKind Kind `json:"leakedByKind,omitempty" doc:"network-policy or route-target."`
	LeakedBy     Ref  `json:"leakedBy,omitzero" doc:"What leaked the route into this network."`
}

// RouteMember is one of those that serve a virtual address.
type RouteMember struct {
	Member Ref    `json:"member" doc:"The member."`
	Port   Ref    `json:"port" doc:"Port of its workload."`
	Host   Ref    `json:"host" doc:"Host of the port."`
	State  string `json:"state" enum:"active,backup,draining,down" doc:"Whether new connections go to it."`
	Weight int    `json:"weight" doc:"Its share of them."`
}

// The states of a route.
const (
	RoutePrimary    = "primary"
	RouteSecondary  = "secondary"
	RouteInfeasible = "infeasible"
)

// RouteTunnel is the tunnel to the host of a next hop.
type RouteTunnel struct {
	Addresses     []netip.Addr `json:"addresses" doc:"Tunnel addresses of the host, as it told them."`
	Encapsulation []string     `json:"encapsulation" doc:"Ways to travel, the best first."`
	Label         uint32       `json:"label" doc:"VNI or label that packets carry: that of the network the route was made in, or of a gateway outside."`
}

// RouteCounts counts routes as routers do.
type RouteCounts struct {
	Destinations, Routes, Primary, Secondary, Infeasible int
}

// CountRoutes counts routes by their state, and the prefixes that have one
// which is feasible or not.
func CountRoutes(routes []Route) RouteCounts {
	c := RouteCounts{Routes: len(routes)}
	prefixes := map[netip.Prefix]bool{}
	for _, r := range routes {
		prefixes[r.Prefix] = true
		switch r.State {
		case RoutePrimary:
			c.Primary++
		case RouteSecondary:
			c.Secondary++
		case RouteInfeasible:
			c.Infeasible++
		}
	}
	c.Destinations = len(prefixes)
	return c
}

// String says "2 destinations, 2 routes (1 primary, 1 secondary, 0 infeasible)".
func (c RouteCounts) String() string {
	return fmt.Sprintf("%d destinations, %d routes (%d primary, %d secondary, %d infeasible)", c.Destinations, c.Routes, c.Primary, c.Secondary, c.Infeasible)
}

// Table is rows for people, of any table of any host or process.
type Table struct {
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
	// LeftOut is how many rows there are beyond these: the table was too large.
	LeftOut int `json:"leftOut,omitempty" doc:"Rows that there are beyond these: the table was too large to send whole."`
}

// The tables every host can print; `weft get --host` and `weft drops` show them.
const (
	HostTableDrops         = "drops"
	HostTableCounters      = "counters"
	HostTablePorts         = "ports"
	HostTableRoutes        = "routes"
	HostTableNextHops      = "next-hops"
	HostTableVNIs          = "vnis"
	HostTablePortAddresses = "port-addresses"
	HostTableConnections   = "connections"
	HostTableCapacity      = "capacity"
	HostTableDesired       = "desired"
	HostTableLeases        = "leases"
	HostTableAliases       = "aliases"
	HostTableMACs          = "macs"
	HostTableReceivers     = "receivers"
	HostTablePolicy        = "policy"
	HostTableRules         = "rules"
	HostTableLimits        = "limits" // what ports may send and get, and what came of it
)

// RulesWithoutRoom is the RULE of that row of the table rules which counts for all
// rules whose own counts found no room on the host; it is there when it counts.
const RulesWithoutRoom = "rules for whose counts the host has no room"

// HostTablePortConnections is asked with ?port=UUID by the host that the port went
// to: its connections, as far as another host can know them.
const HostTablePortConnections = "port-connections"

// HostTables are the names of these tables.
func HostTables() []string {
	return []string{
		HostTableDrops, HostTableCounters, HostTablePorts, HostTableRoutes,
		HostTableNextHops, HostTableVNIs, HostTablePortAddresses, HostTableConnections, HostTableCapacity, HostTableDesired,
		HostTableLeases, HostTableAliases, HostTableMACs, HostTableReceivers, HostTablePolicy, HostTableRules, HostTableLimits,
	}
}

// StoreState is how etcd is.
type StoreState struct {
	Revision  int64         `json:"revision"`
	Epoch     uint64        `json:"epoch" doc:"Rises when the store is restored from a backup."`
	MaxTxnOps int           `json:"maxTxnOps" doc:"How many operations one transaction may have."`
	Full      bool          `json:"full" doc:"Nothing can be written until there is room."`
	Members   []StoreMember `json:"members"`
}

// StoreMember is one member of etcd.
type StoreMember struct {
	Endpoint   string `json:"endpoint,omitempty" doc:"Where it is; absent for the one in the controller itself."`
	Version    string `json:"version,omitempty"`
	Leader     bool   `json:"leader"`
	Full       bool   `json:"full"`
	SizeBytes  int64  `json:"sizeBytes" doc:"What the database takes on disk."`
	InUseBytes int64  `json:"inUseBytes" doc:"What of it holds something; the rest is given back by defragmentation."`
	QuotaBytes int64  `json:"quotaBytes" doc:"At this size etcd takes no more writes."`
	Error      string `json:"error,omitempty" doc:"What the member reports, or why it does not."`
}

// Stage is a level of the one-way flow of facts.
type Stage string

// The stages, in the order in which facts flow.
const (
	StageIntent  Stage = "intent"
	StageDerived Stage = "derived"
	StageDesired Stage = "desired"
	StageKernel  Stage = "kernel"
)

// WhyRow is one row of the chain from an object's intent to the kernel.
type WhyRow struct {
	Stage  Stage  `json:"stage"`
	Where  string `json:"where" doc:"Process or host that holds the row."`
	What   string `json:"what" doc:"Kind and key of the row."`
	Detail string `json:"detail,omitempty" doc:"The row itself, in words."`
	Status string `json:"status" doc:"ok, pending, missing, not-visible (to these credentials, or gone), or the error."`
}

// Event is one change in a watch.
type Event struct {
	// Type is put, delete or bookmark (nothing changed, but everything up to
	// Revision has been sent).
	Type     string `json:"type" enum:"put,delete,bookmark"`
	Revision int64  `json:"revision"`
	Kind     Kind   `json:"kind,omitempty"`
	// Object is the object after a put and before a delete. For who watches a
	// selection, an object that leaves it is a delete, one that enters a put.
	Object Object `json:"object,omitempty"`
	// Was is the object before the change, nil if there was none. It is not
	// sent; what selects events looks at both.
	Was Object `json:"-"`
}

// UnmarshalJSON decodes the object to the Go type of its kind. Fields that the
// reader does not know are ignored: the writer may be newer.
func (e *Event) UnmarshalJSON(data []byte) error {
	type plain Event // without this method
	raw := struct {
		*plain
		Object json.RawMessage `json:"object"`
	}{plain: (*plain)(e)}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	e.Object = nil
	if len(raw.Object) == 0 || string(raw.Object) == "null" {
		return nil
	}
	o, err := Decode(raw.Object, false)
	if err != nil {
		return err
	}
	e.Object = o
	return nil
}

// The types of watch events.
const (
	EventPut      = "put"
	EventDelete   = "delete"
	EventBookmark = "bookmark"
)

// Operation is one change of a transaction.
type Operation struct {
	// Op is create, update (replace the spec) or delete.
	Op     string `json:"op" enum:"create,update,delete"`
	Object Object `json:"object"`
}

// The operations of a transaction.
const (
	OpCreate = "create"
	OpUpdate = "update"
	OpDelete = "delete"
)
