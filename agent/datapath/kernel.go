// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"maps"
	"math/rand/v2"

	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// Table is what is needed of one of the vRouter's tables.
type Table[K comparable, V any] interface {
	Put(K, V) error
	Delete(K) error // absence is success
	All() (map[K]V, error)
}

// Kernel is the vRouter's tables.
type Kernel struct {
	TunnelSources Table[vrouter.TunnelSource, struct{}]
	VNIs          Table[uint32, vrouter.VNI]
	PortAddresses Table[vrouter.PortAddress, struct{}]
	PortPrefixes  Table[vrouter.PortPrefix, vrouter.Permission]
	Ports         Table[int, vrouter.Port]
	SubPorts      Table[vrouter.SubPort, int]
	Limits        Table[int, vrouter.Limits]
	NextHops      Table[uint32, vrouter.NextHop]
	Groups        Table[uint32, vrouter.Group]
	Routes        Table[vrouter.RouteKey, vrouter.Route]
	Gaps          Table[vrouter.RouteKey, struct{}]
	Services      Table[vrouter.Service, uint16]
	Aliases       Table[uint32, int]
	MACs          Table[vrouter.MACKey, uint32]
	Floods        Table[uint32, vrouter.Flood]
	Receivers     Table[vrouter.Receiver, uint32]
	PolicyTables
	BalanceTables
	// Forget drops the counts of an interface that is no longer a port.
	Forget func(ifindex int) error
	// WaitForPackets returns when no packet is on its way that came before.
	WaitForPackets func() error
}

// PolicyTables are those of the vRouter's tables that say what ports ask.
type PolicyTables struct {
	PortPolicies   Table[int, vrouter.PortPolicy]
	Rulesets       Table[uint32, vrouter.RulesetValue]
	RemoteClasses  Table[vrouter.RemoteClassKey, vrouter.RemoteClass]
	RemoteRanges   Table[vrouter.RemoteRangeKey, vrouter.RemoteClass]
	ServiceClasses Table[vrouter.ServiceClassKey, vrouter.ServiceClass]
	ServicePages   Table[vrouter.ServicePageKey, vrouter.ServicePage]
	Verdicts       Table[vrouter.VerdictKey, rules.Verdict]
	Managed        Table[vrouter.RouteKey, struct{}]
}

// BalanceTables are those of virtual addresses.
type BalanceTables struct {
	Listeners   Table[vrouter.ListenerKey, vrouter.Listener]
	Choices     Table[uint32, vrouter.Choice]
	PoolMembers Table[vrouter.PoolMemberKey, vrouter.PoolMember]
	Mappings    Table[uint64, vrouter.Mapping]
	Floats      Table[vrouter.FloatKey, vrouter.Float]
	// RenewVRF makes the connections of a VRF look anew where they go.
	RenewVRF func(vrf uint32) error
	Rooms    vrouter.BalanceSizes // how large the tables are, of which tenants have shares; 0: not bounded
}

// KernelOf returns the tables of a loaded packet path.
func KernelOf(d *vrouter.Datapath) Kernel {
	return Kernel{
		TunnelSources: d.TunnelSources,
		VNIs:          d.VNIs,
		PortAddresses: d.PortAddresses,
		PortPrefixes:  d.PortPrefixes,
		Ports:         d.Ports,
		SubPorts:      d.SubPorts,
		Limits:        d.Limits,
		NextHops:      d.NextHops,
		Groups:        d.Groups,
		Routes:        d.Routes,
		Gaps:          d.Gaps,
		Services:      d.Services,
		Aliases:       d.Aliases,
		MACs:          d.MACs,
		Floods:        d.Floods,
		Receivers:     d.Receivers,
		PolicyTables:  PolicyTables{d.PortPolicies, d.Rulesets, d.RemoteClasses, d.RemoteRanges, d.ServiceClasses, d.ServicePages, d.Verdicts, d.Managed},
		BalanceTables: BalanceTables{d.Listeners, d.Choices, d.PoolMembers, d.Mappings, d.Floats, d.RenewVRF, d.BalanceRooms()},
		Forget:        d.Forget, WaitForPackets: d.WaitForPackets,
	}
}

// Memory is a Table in memory that fails like reconcile.Memory.
type Memory[K comparable, V any] struct {
	Rows   map[K]V
	Faults *rand.Rand
	// Check is called before each change, for tests of the order of changes.
	Check func(key K, value V, deleted bool)
	// Size bounds the rows; 0 does not.
	Size int
}

func (m *Memory[K, V]) fault() (before, after error) {
	if m.Faults == nil || m.Faults.Float64() >= reconcile.FaultProbability {
		return nil, nil
	}
	if m.Faults.IntN(2) == 0 {
		return reconcile.ErrInjected, nil
	}
	return nil, reconcile.ErrInjected
}

// Put implements Table.
func (m *Memory[K, V]) Put(key K, value V) error {
	before, after := m.fault()
	if before != nil {
		return before
	}
	if _, there := m.Rows[key]; !there && m.Size > 0 && len(m.Rows) >= m.Size {
		return vrouter.ErrFull
	}
	if m.Check != nil {
		m.Check(key, value, false)
	}
	m.Rows[key] = value
	return after
}

// Delete implements Table.
func (m *Memory[K, V]) Delete(key K) error {
	before, after := m.fault()
	if before != nil {
		return before
	}
	if m.Check != nil {
		var none V
		m.Check(key, none, true)
	}
	delete(m.Rows, key)
	return after
}

// All implements Table.
func (m *Memory[K, V]) All() (map[K]V, error) { return maps.Clone(m.Rows), nil }

// MemoryKernel is the tables in memory.
type MemoryKernel struct {
	TunnelSources *Memory[vrouter.TunnelSource, struct{}]
	VNIs          *Memory[uint32, vrouter.VNI]
	PortAddresses *Memory[vrouter.PortAddress, struct{}]
	PortPrefixes  *Memory[vrouter.PortPrefix, vrouter.Permission]
	Ports         *Memory[int, vrouter.Port]
	SubPorts      *Memory[vrouter.SubPort, int]
	NextHops      *Memory[uint32, vrouter.NextHop]
	Groups        *Memory[uint32, vrouter.Group]
	Routes        *Memory[vrouter.RouteKey, vrouter.Route]
	Gaps          *Memory[vrouter.RouteKey, struct{}]
	Services      *Memory[vrouter.Service, uint16]
	Aliases       *Memory[uint32, int]
	MACs          *Memory[vrouter.MACKey, uint32]
	Limits        *Memory[int, vrouter.Limits]
	Floods        *Memory[uint32, vrouter.Flood]
	Receivers     *Memory[vrouter.Receiver, uint32]
	MemoryPolicy
	MemoryBalance
	// Wait is called where a kernel would wait for packets; nil does nothing.
	Wait func() error
}

// MemoryPolicy is the tables of policy in memory.
type MemoryPolicy struct {
	PortPolicies   *Memory[int, vrouter.PortPolicy]
	Rulesets       *Memory[uint32, vrouter.RulesetValue]
	RemoteClasses  *Memory[vrouter.RemoteClassKey, vrouter.RemoteClass]
	RemoteRanges   *Memory[vrouter.RemoteRangeKey, vrouter.RemoteClass]
	ServiceClasses *Memory[vrouter.ServiceClassKey, vrouter.ServiceClass]
	ServicePages   *Memory[vrouter.ServicePageKey, vrouter.ServicePage]
	Verdicts       *Memory[vrouter.VerdictKey, rules.Verdict]
	Managed        *Memory[vrouter.RouteKey, struct{}]
}

// MemoryBalance is the tables of virtual addresses in memory.
type MemoryBalance struct {
	Listeners   *Memory[vrouter.ListenerKey, vrouter.Listener]
	Choices     *Memory[uint32, vrouter.Choice]
	PoolMembers *Memory[vrouter.PoolMemberKey, vrouter.PoolMember]
	Mappings    *Memory[uint64, vrouter.Mapping]
	Floats      *Memory[vrouter.FloatKey, vrouter.Float]
	Renewed     map[uint32]int // VRFs, how often
	Rooms       vrouter.BalanceSizes
}

func newMemoryBalance(f *rand.Rand) MemoryBalance {
	return MemoryBalance{
		newMemory[vrouter.ListenerKey, vrouter.Listener](f), newMemory[uint32, vrouter.Choice](f),
		newMemory[vrouter.PoolMemberKey, vrouter.PoolMember](f), newMemory[uint64, vrouter.Mapping](f), newMemory[vrouter.FloatKey, vrouter.Float](f), map[uint32]int{}, vrouter.BalanceSizes{},
	}
}

func (m *MemoryBalance) renew(vrf uint32) error {
	m.Renewed[vrf]++
	return nil
}

func newMemory[K comparable, V any](faults *rand.Rand) *Memory[K, V] {
	return &Memory[K, V]{Rows: map[K]V{}, Faults: faults}
}

func newMemoryPolicy(f *rand.Rand) MemoryPolicy {
	return MemoryPolicy{
		newMemory[int, vrouter.PortPolicy](f), newMemory[uint32, vrouter.RulesetValue](f),
		newMemory[vrouter.RemoteClassKey, vrouter.RemoteClass](f), newMemory[vrouter.RemoteRangeKey, vrouter.RemoteClass](f),
		newMemory[vrouter.ServiceClassKey, vrouter.ServiceClass](f), newMemory[vrouter.ServicePageKey, vrouter.ServicePage](f),
		newMemory[vrouter.VerdictKey, rules.Verdict](f), newMemory[vrouter.RouteKey, struct{}](f),
	}
}

// NewMemoryKernel returns empty tables; faults may be nil.
func NewMemoryKernel(faults *rand.Rand) *MemoryKernel {
	return &MemoryKernel{
		TunnelSources: &Memory[vrouter.TunnelSource, struct{}]{Rows: map[vrouter.TunnelSource]struct{}{}, Faults: faults},
		VNIs:          &Memory[uint32, vrouter.VNI]{Rows: map[uint32]vrouter.VNI{}, Faults: faults},
		PortAddresses: &Memory[vrouter.PortAddress, struct{}]{Rows: map[vrouter.PortAddress]struct{}{}, Faults: faults},
		PortPrefixes:  &Memory[vrouter.PortPrefix, vrouter.Permission]{Rows: map[vrouter.PortPrefix]vrouter.Permission{}, Faults: faults},
		Ports:         &Memory[int, vrouter.Port]{Rows: map[int]vrouter.Port{}, Faults: faults},
		SubPorts:      &Memory[vrouter.SubPort, int]{Rows: map[vrouter.SubPort]int{}, Faults: faults},
		Limits:        newMemory[int, vrouter.Limits](faults),
		Groups:        &Memory[uint32, vrouter.Group]{Rows: map[uint32]vrouter.Group{}, Faults: faults},
		NextHops:      &Memory[uint32, vrouter.NextHop]{Rows: map[uint32]vrouter.NextHop{}, Faults: faults},
		Routes:        &Memory[vrouter.RouteKey, vrouter.Route]{Rows: map[vrouter.RouteKey]vrouter.Route{}, Faults: faults},
		Gaps:          newMemory[vrouter.RouteKey, struct{}](faults),
		Services:      &Memory[vrouter.Service, uint16]{Rows: map[vrouter.Service]uint16{}, Faults: faults},
		Aliases:       &Memory[uint32, int]{Rows: map[uint32]int{}, Faults: faults},
		MACs:          &Memory[vrouter.MACKey, uint32]{Rows: map[vrouter.MACKey]uint32{}, Faults: faults},
		Floods:        &Memory[uint32, vrouter.Flood]{Rows: map[uint32]vrouter.Flood{}, Faults: faults},
		Receivers:     &Memory[vrouter.Receiver, uint32]{Rows: map[vrouter.Receiver]uint32{}, Faults: faults},
		MemoryPolicy:  newMemoryPolicy(faults),
		MemoryBalance: newMemoryBalance(faults),
	}
}

// Kernel returns the tables as the Programmer takes them.
func (m *MemoryKernel) Kernel() Kernel {
	return Kernel{m.TunnelSources, m.VNIs, m.PortAddresses, m.PortPrefixes, m.Ports, m.SubPorts, m.Limits, m.NextHops, m.Groups, m.Routes, m.Gaps, m.Services, m.Aliases, m.MACs, m.Floods, m.Receivers,
		PolicyTables{m.PortPolicies, m.Rulesets, m.RemoteClasses, m.RemoteRanges, m.ServiceClasses, m.ServicePages, m.Verdicts, m.Managed},
		BalanceTables{m.Listeners, m.Choices, m.PoolMembers, m.Mappings, m.Floats, m.MemoryBalance.renew, m.Rooms},
		func(int) error { return nil }, m.wait}
}

func (m *MemoryKernel) wait() error {
	if m.Wait == nil {
		return nil
	}
	return m.Wait()
}
