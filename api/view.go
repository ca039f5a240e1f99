// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"net/netip"
)

// Route is one derived route of a network, as control computed it.
type Route struct {
	Network Ref          `json:"network" doc:"Network whose VRF holds the route."`
	Prefix  netip.Prefix `json:"prefix" doc:"Destination."`
	// NextHop says where packets go: "port <name> on <host>" or "gateway".
	NextHop string `json:"nextHop" doc:"Where packets go, in words."`
	Port    Ref    `json:"port,omitzero" doc:"Port the packets are for."`
	Host    Ref    `json:"host,omitzero" doc:"Host of the port."`
	MAC     MAC    `json:"mac,omitempty" doc:"Ethernet address of the destination."`
	// Origin is the object that made the route; OriginNetwork where it was made.
	OriginKind    Kind `json:"originKind" doc:"Kind of the object that made the route."`
	Origin        Ref  `json:"origin" doc:"The object that made the route."`
	OriginNetwork Ref  `json:"originNetwork" doc:"Network in which the route was made."`
	// LeakedBy is the network-policy that brought the route here; none for a
	// route of the network itself.
	LeakedBy Ref `json:"leakedBy,omitzero" doc:"network-policy that leaked the route into this network."`
}

// Table is rows for people, of any table of any host or process.
type Table struct {
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
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
)

// HostTables are the names of these tables.
func HostTables() []string {
	return []string{
		HostTableDrops, HostTableCounters, HostTablePorts, HostTableRoutes,
		HostTableNextHops, HostTableVNIs, HostTablePortAddresses, HostTableConnections, HostTableCapacity, HostTableDesired,
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
	Status string `json:"status" doc:"ok, pending, missing, or the error."`
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
