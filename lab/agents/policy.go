// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// groupsOf is how many security-groups each network's project has: they are the
// world's policies. Its ports have one of them each, in turn.
func (w World) groupsOf() int { return w.Policies / max(1, w.Networks) }

func groupName(network, group int) string {
	return fmt.Sprintf("%s:group-%03d", projectName(network), group)
}

// makeGroups makes the security-groups of a network's project. Each lets its
// members send, and be spoken to by each other and by the next group's.
func (w World) makeGroups(network int) (operations []api.Operation) {
	count := w.groupsOf()
	for g := range count {
		operations = append(operations, creates(head(&api.SecurityGroup{}, api.KindSecurityGroup, projectName(network), api.BaseName(groupName(network, g))))...)
	}
	for g := range count {
		out := &api.SecurityGroupRule{}
		out.Spec.Direction, out.Spec.Family = api.Egress, api.IPv4
		operations = append(operations, creates(head(out, api.KindSecurityGroupRule, groupName(network, g), "out"),
			admits(network, g, "own", g, 22), admits(network, g, "next", (g+1)%count, 80+g))...)
	}
	return operations
}

// admits is a rule that lets a group in to a port of another's members.
func admits(network, group int, name string, from, port int) api.Object {
	in := &api.SecurityGroupRule{}
	in.Spec.Direction, in.Spec.Family = api.Ingress, api.IPv4
	in.Spec.Match = api.Match{Protocol: api.TCP, Ports: &api.PortRange{From: port}}
	in.Spec.RemoteGroup = api.Ref{Name: groupName(network, from)}
	return head(in, api.KindSecurityGroupRule, groupName(network, group), name)
}

// PolicyReport is what changes of policy cost.
type PolicyReport struct {
	Changes, Lost  int
	Ports, Rows    float64       // of a change: that it touches, and rows that were sent for it
	P50, P99, Max  time.Duration // from stored to the last concerned host's acknowledgement
	Stored         time.Duration // p99 of the API's answer
	Behind         time.Duration
	Controller     time.Duration // of its processors' time, of a change
	Simulators     time.Duration // of this process
	ControllerBusy float64       // processors
}

// changePolicy adds rules to security-groups, and takes them away again, at a
// rate that does not wait. No two changes are of one network at a time.
func (b *bench) changePolicy(ctx context.Context) error {
	if b.World.groupsOf() == 0 {
		return nil
	}
	ports, err := b.readPorts(ctx)
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	var mu sync.Mutex // guards the next two
	var failure error
	var stored []time.Duration
	total := min(b.PolicyRate*b.PolicySeconds, b.World.Networks*b.World.groupsOf()) // each of another group
	touched := 0
	controller, own := b.controller.Processor(), processor()
	rows, began := b.crowd.watch.rows(), time.Now()
	for i := range total {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(b.PolicyRate))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		b.Policy.Behind = max(b.Policy.Behind, time.Since(due))
		network, group := i%b.World.Networks, i/b.World.Networks
		keys := ports[network][group]
		touched += len(keys)
		wait.Go(func() {
			took, err := b.writeRule(ctx, keys, creates(admits(network, group, "changed", (group+1)%b.World.groupsOf(), 8080)))
			mu.Lock()
			defer mu.Unlock()
			stored = append(stored, took)
			if err != nil && failure == nil {
				failure = err
			}
		})
	}
	wait.Wait()
	if failure != nil {
		return failure
	}
	if err := b.crowd.watch.wait(ctx, arrival); err != nil {
		return err
	}
	took := time.Since(began)
	late, lost := b.crowd.watch.take()
	b.Policy.tell(late, stored, total, lost)
	n := float64(max(1, total))
	b.Policy.Ports, b.Policy.Rows = float64(touched)/n, float64(b.crowd.watch.rows()-rows)/n
	used := b.controller.Processor() - controller
	b.Policy.Controller, b.Policy.Simulators = used/time.Duration(max(1, total)), (processor()-own)/time.Duration(max(1, total))
	b.Policy.ControllerBusy = used.Seconds() / took.Seconds()
	b.Say("%v\n", b.Policy)
	return nil
}

func (r *PolicyReport) tell(late, stored []time.Duration, total, lost int) {
	slices.Sort(late)
	slices.Sort(stored)
	r.Changes, r.Lost = total, lost
	at := func(of []time.Duration, q int) time.Duration {
		if len(of) == 0 {
			return 0
		}
		return of[min(len(of)-1, len(of)*q/100)]
	}
	r.P50, r.P99, r.Max, r.Stored = at(late, 50), at(late, 99), at(late, 100), at(stored, 99)
}

func (r PolicyReport) String() string {
	return fmt.Sprintf("%d changes of policy, each of %.0f ports, %.0f rows: from stored to acknowledged by all hosts concerned p50 %v, p99 %v, max %v; %d did not arrive; API p99 %v; begun at most %v late; processor time of a change: controller %v, simulators %v; controller busy %.2f",
		r.Changes, r.Ports, r.Rows, r.P50.Round(time.Microsecond), r.P99.Round(time.Microsecond), r.Max.Round(time.Microsecond), r.Lost,
		r.Stored.Round(time.Microsecond), r.Behind.Round(time.Microsecond), r.Controller.Round(time.Microsecond), r.Simulators.Round(time.Microsecond), r.ControllerBusy)
}

// writeRule makes a change by which the rows of ports become others.
func (b *bench) writeRule(ctx context.Context, keys []string, operations []api.Operation) (time.Duration, error) {
	stored := b.crowd.watch.expectAll(keys)
	asked := time.Now()
	_, err := b.admin.Transaction(ctx, operations, false)
	stored(time.Now())
	return time.Since(asked), err
}

// readPorts returns the keys of the ports' rows, by network and group.
func (b *bench) readPorts(ctx context.Context) ([][][]string, error) {
	keys := make([][][]string, b.World.Networks)
	for n := range keys {
		keys[n] = make([][]string, b.World.groupsOf())
	}
	for o, err := range b.admin.Pages(ctx, api.KindPort, client.ListOptions{Fields: []string{"meta"}}) {
		if err != nil {
			return nil, err
		}
		var network, port int
		m := &o.Head().Meta
		if _, err := fmt.Sscanf(m.Name, "port-%d-%d", &network, &port); err == nil && port < b.World.Ports {
			group := port % b.World.groupsOf()
			keys[network][group] = append(keys[network][group], "port/"+m.UUID)
		}
	}
	return keys, nil
}

// processor is what this process has had of processors.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// clockTicks is how the kernel counts time for user space on all architectures.
const clockTicks = 100

// Processor returns what the process has had of processors so far.
func (c *Controller) Processor() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.process.Process.Pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:]) // from the third field on
	var ticks int
	for _, at := range []int{14 - 3, 15 - 3} {
		n, err := strconv.Atoi(string(fields[at]))
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks
}
