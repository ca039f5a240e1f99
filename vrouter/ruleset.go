// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/vrouter/rules"
)

// rulesetEntries are what a compiled ruleset is in the tables, but for its value.
type rulesetEntries struct {
	identities map[RemoteClassKey]RemoteClass
	ranges     map[RemoteRangeKey]RemoteClass
	services   map[ServiceClassKey]ServiceClass
	pages      map[ServicePageKey]ServicePage
	verdicts   map[VerdictKey]rules.Verdict
}

// entriesOf lays a compiled ruleset out, without its twin.
func entriesOf(c *rules.Compiled) (RulesetValue, rulesetEntries) {
	value := RulesetValue{
		Identities: len(c.Identities) > 0, Services: len(c.Services) > 0, SourcePorts: len(c.Sources) > 0,
		Outside: c.Outside, Identified: c.Identified,
	}
	if c.Audit != nil {
		value.Audit = c.Audit.ID
	}
	e := rulesetEntries{
		map[RemoteClassKey]RemoteClass{}, map[RemoteRangeKey]RemoteClass{}, map[ServiceClassKey]ServiceClass{}, map[ServicePageKey]ServicePage{}, map[VerdictKey]rules.Verdict{},
	}
	for _, i := range c.Identities {
		e.identities[RemoteClassKey{c.ID, i.Identity}] = RemoteClass{Class: i.Class, Any: i.Any}
	}
	for _, r := range c.Ranges {
		e.ranges[RemoteRangeKey{c.ID, r.Prefix}] = RemoteClass{Class: r.Class, Any: r.Any}
		value.Ranges4, value.Ranges6 = value.Ranges4 || r.Prefix.Addr().Is4(), value.Ranges6 || r.Prefix.Addr().Is6()
	}
	for _, list := range [][]rules.ServiceClass{c.Services, c.Sources} {
		for _, s := range list {
			e.services[ServiceClassKey{c.ID, s.Family, s.Protocol, s.Page}] = ServiceClass{Class: uint32(s.Class), Page: s.Table}
		}
	}
	for i, p := range c.Pages {
		e.pages[ServicePageKey{c.ID, uint32(i + 1)}] = p
	}
	for _, v := range c.Verdicts {
		e.verdicts[VerdictKey{c.ID, v.Remote, uint32(v.Service), uint32(v.Source)}] = v.Verdict
		value.NamesAnybody = value.NamesAnybody || v.Remote == 0
	}
	return value, e
}

// PutRuleset writes the entries of a compiled ruleset. Ports may ask it from
// then on; it is never changed. Repeating it is harmless.
//
// Errors: [ErrFull].
func (d *Datapath) PutRuleset(c *rules.Compiled) error {
	if c.Audit != nil {
		if err := d.PutRuleset(c.Audit); err != nil {
			return err
		}
	}
	value, e := entriesOf(c)
	err := putAll(d.RemoteClasses.Put, e.identities)
	err = errors.Join(err, putAll(d.RemoteRanges.Put, e.ranges))
	err = errors.Join(err, putAll(d.ServicePages.Put, e.pages))
	err = errors.Join(err, putAll(d.ServiceClasses.Put, e.services))
	err = errors.Join(err, putAll(d.Verdicts.Put, e.verdicts))
	if err == nil {
		err = d.Rulesets.Put(c.ID, value) // last: whoever finds it finds the rest
	}
	if err != nil {
		return fmt.Errorf("write ruleset %d: %w", c.ID, err)
	}
	return nil
}

func putAll[K comparable, V any](put func(K, V) error, entries map[K]V) error {
	for k, v := range entries {
		if err := put(k, v); err != nil {
			return err
		}
	}
	return nil
}

// KeepRulesets removes all entries of rulesets but those named, and of their
// twins. No port may ask what is removed any more. It waits first until no packet
// that came before is still on its way: memory of an entry may be used again.
func (d *Datapath) KeepRulesets(keep map[uint32]bool) error {
	keep = maps.Clone(keep)
	have, err := d.Rulesets.All()
	if err != nil {
		return err
	}
	for id, value := range have {
		if keep[id] && value.Audit != 0 {
			keep[value.Audit] = true
		}
	}
	if err := d.WaitForPackets(); err != nil {
		return fmt.Errorf("remove rulesets: %w", err)
	}
	return errors.Join(
		deleteAll(d.Rulesets, func(id uint32) bool { return keep[id] }),
		deleteAll(d.RemoteClasses, func(k RemoteClassKey) bool { return keep[k.Ruleset] }),
		deleteAll(d.RemoteRanges, func(k RemoteRangeKey) bool { return keep[k.Ruleset] }),
		deleteAll(d.ServiceClasses, func(k ServiceClassKey) bool { return keep[k.Ruleset] }),
		deleteAll(d.ServicePages, func(k ServicePageKey) bool { return keep[k.Ruleset] }),
		deleteAll(d.Verdicts, func(k VerdictKey) bool { return keep[k.Ruleset] }),
	)
}

func deleteAll[K comparable, V any](table interface {
	All() (map[K]V, error)
	Delete(K) error
}, keep func(K) bool) error {
	all, err := table.All()
	if err != nil {
		return err
	}
	for k := range all {
		if !keep(k) {
			if err := table.Delete(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// WaitForPackets returns when no packet is on its way that came before: what
// no table leads to any more is then nobody's. It takes less than a millisecond,
// or some ten where the kernel must not expedite it.
func (d *Datapath) WaitForPackets() error {
	return d.expedite.during(func() error {
		if membarrier() == nil {
			return nil
		}
		if err := waitByMap(); err != nil {
			return fmt.Errorf("wait for packets on their way: %w", err)
		}
		return nil
	})
}

// membarrierGlobal waits for a grace period of RCU, in which programs run.
// Kernels with nohz_full refuse it.
const membarrierGlobal = 1

func membarrier() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// waitByMap has the kernel wait as it does after each change of a map of maps,
// so that no program has the former one.
func waitByMap() error {
	inner := &ebpf.MapSpec{Name: "weft_wait", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{Name: "weft_waits", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner})
	if err != nil {
		return err
	}
	defer outer.Close()
	one, err := ebpf.NewMap(inner)
	if err != nil {
		return err
	}
	defer one.Close()
	return outer.Put(uint32(0), one)
}
