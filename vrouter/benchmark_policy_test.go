// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/vrouter/rules"
)

// manyRules is how many rules a port may ask and see no difference.
const manyRules = 10_000

// policyVariant is what the ports of the first VRF are asked. All are tried in
// turn on one host: of several hosts the one that was loaded first is a fifth
// slower.
type policyVariant struct {
	word      string
	rulesets  [rules.Directions]uint32 // 0: nothing is asked
	recording Recording
}

// policyVariants puts the rulesets of some variants.
func policyVariants(b *testing.B, d *Datapath) []policyVariant {
	b.Helper()
	put := func(count int) (ids [rules.Directions]uint32) {
		for direction, from := range [rules.Directions][]rules.Identity{{identityOfLocal, identityOfDistant}, {identityOfPort}} {
			c := compiled(benchmarkRuleset(count, from))
			check(b, d.PutRuleset(c))
			ids[direction] = c.ID
		}
		return ids
	}
	one, many := put(1), put(manyRules)
	return []policyVariant{
		{word: "off"}, {word: "one", rulesets: one}, {word: "many", rulesets: many},
		{word: "recorded", rulesets: many, recording: Recording{First: true, Counts: true, Interval: time.Millisecond, Burst: 1000}},
	}
}

// Who the workloads of the conversations are.
const (
	identityOfPort rules.Identity = 2 + iota
	identityOfLocal
	identityOfDistant
)

// benchmarkRuleset is rules for one direction, of which only the last is met: that some
// workloads may. Half of the others name workloads, half addresses, each of them a port.
func benchmarkRuleset(count int, met []rules.Identity) rules.Ruleset {
	r := rules.Ruleset{Outside: rules.Deny, Identified: rules.Deny}
	udp := func(first, last int) []rules.Service {
		return []rules.Service{{Protocol: rules.UDP, Ports: &rules.Range{First: uint16(first), Last: uint16(last)}}}
	}
	for i := range count - 1 {
		rule := rules.Rule{Number: uint32(1 + i), Action: rules.Pass, Services: udp(5000+i, 5000+i)}
		if i%2 == 0 {
			rule.Remote, rule.Identities = rules.Workloads, []rules.Identity{rules.Identity(1000 + i)}
		} else {
			six := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 9, 14: byte(i >> 8), 15: byte(i)})
			rule.Remote, rule.Ranges = rules.Addresses, []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32), netip.PrefixFrom(six, 128)}
		}
		r.Rules = append(r.Rules, rule)
	}
	r.Rules = append(r.Rules, rules.Rule{Number: uint32(count), Action: rules.Pass, Remote: rules.Workloads, Identities: met, Services: udp(0, 1<<15)})
	return r
}

// policyWorld is the tenants' world with identities.
func policyWorld() *Oracle {
	o := tenants()
	for key, route := range o.Routes {
		switch route.NextHop {
		case 1:
			route.Identity = identityOfPort
		case 2:
			route.Identity = identityOfLocal
		case 11:
			route.Identity = identityOfDistant
		}
		o.Routes[key] = route
	}
	return o
}

// ask makes the ports of the first VRF ask what a variant says.
func (v *policyVariant) ask(b *testing.B, d *Datapath) {
	b.Helper()
	for ifindex, identity := range map[int]rules.Identity{1: identityOfPort, 2: identityOfLocal} {
		p, port := PortPolicy{Identity: identity}, tenants().Ports[ifindex]
		for direction, id := range v.rulesets {
			p.Rulesets[direction][rules.SecurityGroup] = id
			port.Policed = id != 0
		}
		check(b, d.PortPolicies.Put(ifindex, p))
		check(b, d.Ports.Put(ifindex, port))
	}
	check(b, d.SetRecording(v.recording))
}

// inTurn runs chunks of frames under each variant in turn, and reports the middle
// of each one's times.
func inTurn(b *testing.B, d *Datapath, variants []policyVariant, run func(count int) (each time.Duration, err error)) map[string]float64 {
	b.Helper()
	all, middle := map[string][]time.Duration{}, map[string]float64{}
	b.ResetTimer()
	for left := b.N; left > 0; left -= chunk {
		for i := range variants {
			v := &variants[(i+left/chunk)%len(variants)]
			v.ask(b, d)
			_, err := run(100) // what is there already is asked anew
			check(b, err)
			each, err := run(min(left, chunk))
			check(b, err)
			all[v.word] = append(all[v.word], each)
		}
	}
	tenth := map[string]time.Duration{} // nearly undisturbed
	for word, times := range all {
		slices.Sort(times)
		tenth[word] = times[len(times)/10]
		middle[word] = float64(times[len(times)/2].Nanoseconds())
		b.ReportMetric(middle[word], word+"-ns")
	}
	b.ReportMetric(float64(tenth["one"]-tenth["off"]), "p10-one-more-ns")
	b.ReportMetric(0, "ns/op") // of all of them together
	return middle
}

// BenchmarkPolicy is what policy costs a frame of a connection that is there,
// and one that begins one, among 100,000 routes of each family: nothing asked,
// one rule, and 10,000, without and with records of conversations.
func BenchmarkPolicy(b *testing.B) {
	d := benchmarkDatapathOf(b, Sizes{}, policyWorld(), 100_000, false, true)
	r, variants := newRehearsal(b, d), policyVariants(b, d)
	for _, c := range conversations() {
		establish(b, d, r, c, 0)
		b.Run(fmt.Sprintf("established/%v", c), func(b *testing.B) {
			inTurn(b, d, variants, func(count int) (time.Duration, error) {
				_, each, err := d.hooks[stubSlotSLOT_PORT].Benchmark(c.there().frame, count, nil)
				return each, err
			})
		})
	}
	next := 1
	for _, c := range conversations() {
		b.Run(fmt.Sprintf("new/%v", c), func(b *testing.B) {
			middle := inTurn(b, d, variants, func(count int) (time.Duration, error) {
				next += count
				return r.say(c.there(), 1, next-count, count)
			})
			b.ReportMetric(middle["many"]/middle["one"], "many/one")
			b.ReportMetric(1e9/middle["recorded"], "recorded/s")
		})
	}
}

// kernelMemory is what the kernel has for itself that can grow with a table.
func kernelMemory(b *testing.B) (total uint64) {
	b.Helper()
	f, err := os.Open("/proc/meminfo")
	check(b, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kilobytes uint64
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch name {
		case "SUnreclaim", "Percpu", "VmallocUsed":
			_, err := fmt.Sscan(value, &kilobytes)
			check(b, err)
			total += kilobytes << 10
		}
	}
	return total
}

// settledMemory waits until what was freed before is: tables go behind grace periods.
func settledMemory(b *testing.B) uint64 {
	b.Helper()
	now := kernelMemory(b)
	for range 100 {
		before := now
		<-time.After(100 * time.Millisecond) // nothing tells when the kernel has freed a table
		if now = kernelMemory(b); max(now, before)-min(now, before) < 1<<18 {
			break
		}
	}
	return now
}

// BenchmarkConnections fills the table with a million connections: what an entry
// takes of the kernel's memory, as /proc/meminfo tells of all of it, and the time
// of a frame that is of any of them.
func BenchmarkConnections(b *testing.B) {
	for _, c := range conversations()[:2] {
		b.Run(c.String(), func(b *testing.B) { benchmarkMillion(b, c) })
	}
}

func benchmarkMillion(b *testing.B, c conversation) {
	const flows, step = 1_000_000, 100_000 // a step is what half-open ones have room for
	d := benchmarkDatapathOf(b, Sizes{Connections: 1 << 20}, tenants(), 1000, c.six)
	r := newRehearsal(b, d)
	before := settledMemory(b)
	for first := 1; first < flows; first += step {
		for range 2 {
			for _, s := range []sent{c.there(), c.back()} {
				_, err := r.say(s, flows, first, step)
				check(b, err)
			}
		}
	}
	bytes := kernelMemory(b) - before
	info, err := d.maps["connections"].Info()
	check(b, err)
	accounted, _ := info.Memlock() // what the kernel says itself, from the size of an entry
	entries := 0
	check(b, d.Connections(func(ConnectionKey, Connection) { entries++ }))
	if entries < flows {
		b.Fatalf("the table has %d connections after %d", entries, flows)
	}
	b.Run("any-of-a-million", func(b *testing.B) {
		reportChunks(b, func(count int) (time.Duration, error) { return r.say(c.there(), flows, 0, count) })
		b.ReportMetric(float64(bytes)/float64(entries), "bytes/entry")
		b.ReportMetric(float64(accounted)/float64(entries), "with-buckets-bytes/entry")
	})
}
