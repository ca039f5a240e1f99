// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/world"
	"github.com/weft-network/weft/vrouter"
)

const (
	// tunnelDevice is a number only: redirects of a test run go nowhere.
	tunnelDevice = 900
	// firstInterface is that of port p0.
	firstInterface = 10
	loopPorts      = 8
)

// loopSizes keep the kernel from clearing megabytes; what random worlds need fits.
var loopSizes = vrouter.Sizes{Ports: 64, PortAddresses: 512, Routes4: 4096, Routes6: 4096, NextHops: 8192, VNIs: 64, TunnelSources: 256,
	PolicySizes: vrouter.PolicySizes{Rulesets: 512, RemoteClasses: 8192, RemoteRanges: 8192, ServiceClasses: 16384, Verdicts: 16384, Managed: 64, RuleHits: 4096}}

// loopHost is the tables of one host with all programs that ask them, and the
// agent's part that fills them.
type loopHost struct {
	name, uuid string
	address    netip.Addr
	path       *vrouter.Datapath
	programmer *datapath.Programmer
	core       *host.Core
	trace      *vrouter.Tracer // changes nothing
	rehearse   *vrouter.Tracer // leaves behind what the product does
}

func newLoopHost(t *testing.T, name, address string) *loopHost {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatalf("mount bpf file system at %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	h := &loopHost{name: name, uuid: world.UUID(api.KindHost, name), address: netip.MustParseAddr(address)}
	var err error
	must := func() {
		if err != nil {
			t.Fatalf("host %s: %+v", name, err)
		}
	}
	h.path, err = vrouter.Load(vrouter.Options{PinDir: filepath.Join(dir, "weft"), Sizes: loopSizes})
	must()
	t.Cleanup(h.path.Close)
	err = h.path.SetConfig(vrouter.Config{TunnelDevice: tunnelDevice, Local4: h.address})
	must()
	h.trace, err = h.path.NewTracer()
	must()
	t.Cleanup(h.trace.Close)
	h.rehearse, err = vrouter.Rehearse(h.path)
	must()
	t.Cleanup(h.rehearse.Close)
	h.programmer = datapath.NewProgrammer(datapath.KernelOf(h.path))
	err = h.programmer.Load(t.Context())
	must()
	return h
}

// take brings the kernel's tables to what a plan says, as the agent does with
// what it is sent.
func (h *loopHost) take(t *testing.T, plan *placement.Plan, interfaces map[string]int) {
	t.Helper()
	delta := &hoststream.Delta{Version: &hoststream.Version{Epoch: plan.Version.Epoch, Revision: plan.Version.Revision}, Sequence: 1, InSync: true}
	for _, r := range plan.For(h.uuid) {
		delta.Put = append(delta.Put, &hoststream.EncodedRow{Key: r.Key, Body: r.Body})
	}
	want := desired.New()
	if err := want.Apply(delta); err != nil {
		t.Fatal(err)
	}
	h.core = host.NewCore(want, datapath.Underlay{IPv4: h.address, MTU: 1600}, datapath.Local{}, h.programmer)
	for id := range want.Ports {
		h.core.SetPlug(id, host.Plug{Interface: fmt.Sprint("if", interfaces[id]), Attachment: datapath.Attachment{Ifindex: interfaces[id]}})
	}
	h.core.Start()
	for h.core.Round(t.Context(), time.Now()) {
	}
	for id := range want.Ports {
		if state, why := h.core.PortState(id); state != api.PortUp || h.core.PolicyProblem(id) != "" {
			t.Fatalf("host %s: port %s is %s: %s %s", h.name, id, state, why, h.core.PolicyProblem(id))
		}
	}
	if problems := h.core.Problems(); len(problems) > 0 {
		t.Fatalf("host %s: rows are not in the kernel: %v", h.name, problems)
	}
}

// frame is the first packet of a conversation as the sender's workload sends it.
func (c *loopCase) frame() []byte {
	b := make([]byte, 0, 128)
	b = append(b, vrouter.GatewayMAC[:]...)
	b = append(b, c.mac[:]...)
	payload := c.payload()
	if c.Source.Is4() {
		b = binary.BigEndian.AppendUint16(b, 0x0800)
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+len(payload)))
		b = append(b, 0, 7)
		fragment := uint16(0)
		if c.later {
			fragment = 100
		}
		b = binary.BigEndian.AppendUint16(b, fragment)
		b = append(b, 64, byte(c.Protocol), 0, 0)
	} else {
		b = binary.BigEndian.AppendUint16(b, 0x86dd)
		b = append(b, 0x60, 0, 0, 0)
		next := byte(c.Protocol)
		if c.later {
			next = 44
			payload = append([]byte{byte(c.Protocol), 0, 0x03, 0x20, 0, 0, 0, 9}, payload...)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
		b = append(b, next, 64)
	}
	b = append(b, c.Source.AsSlice()...)
	b = append(b, c.Destination.AsSlice()...)
	if c.Source.Is4() {
		binary.BigEndian.PutUint16(b[24:], checksum(b[14:34]))
	}
	return append(b, payload...)
}

func (c *loopCase) payload() []byte {
	b := make([]byte, 32)
	switch c.Protocol {
	case 1, 58:
		b[0], b[1] = byte(c.Type), byte(c.Code)
		binary.BigEndian.PutUint16(b[4:], uint16(c.SourcePort)) // of an echo its identifier
		return b
	case 47:
		return b
	}
	binary.BigEndian.PutUint16(b, uint16(c.SourcePort))
	binary.BigEndian.PutUint16(b[2:], uint16(c.Port))
	switch c.Protocol {
	case 6:
		b[12], b[13] = 5<<4, 0x02
	case 17:
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	case 132:
		b[12], b[15] = 1, 20 // INIT
	}
	return b
}

func checksum(header []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
