// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	checks "github.com/weft-network/weft/agent/health"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/metrics"
	"github.com/weft-network/weft/agent/migrate"
	"github.com/weft-network/weft/agent/records"
	"github.com/weft-network/weft/agent/services"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/cmd/exposition"
	"github.com/weft-network/weft/cmd/exposition/documented"
	"github.com/weft-network/weft/vrouter"
)

var update = flag.Bool("update", false, "rewrite doc/metrics.md; commit only changes you can explain")

// oneFrame is a packet path that has seen one frame.
type oneFrame struct{}

func (oneFrame) Drops() ([]vrouter.Drop, error) {
	return []vrouter.Drop{{Ifindex: 1, Reason: vrouter.Reason{Name: "no-route", Stage: "route", Verdict: "dropped"}, Packets: 1, Bytes: 60}}, nil
}

func (oneFrame) Counters() ([]vrouter.Counter, error) {
	return []vrouter.Counter{{Ifindex: 1, RxPackets: 1, RxBytes: 60}}, nil
}

// onePort is a host with a port plugged, and a table.
type onePort struct{}

func (onePort) Do(_ context.Context, call func(*host.Core)) error {
	want := desired.New()
	body, err := proto.Marshal(&hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: portID(1, 1), PortName: portName(1, 1), Mac: macOf(1)}}})
	if err == nil {
		err = want.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: 1}, Put: []*hoststream.EncodedRow{{Key: desired.PortRow(portID(1, 1)), Body: body}}})
	}
	if err != nil {
		return err
	}
	core := host.NewCore(want, datapath.Underlay{}, datapath.Local{}, datapath.NewProgrammer(datapath.Kernel{}))
	core.SetPlug(portID(1, 1), host.Plug{Interface: "x", Attachment: datapath.Attachment{Ifindex: 1}})
	core.SetCapacity([]vrouter.Usage{{Table: "ports", Feature: "ports", Used: 1, Size: 2}})
	call(core)
	return nil
}

// quiet has answered nobody, and been asked once.
type quiet struct{}

func (quiet) Counts() services.Counts {
	return services.Counts{Messages: map[services.Message]uint64{{Way: "ra", Asked: "solicit", Answered: "none"}: 1}}
}

// exporting is a recorder that has somewhere to export to.
func exporting(t *testing.T) *records.Recorder {
	t.Helper()
	f := recordFlags{what: []string{recordDrops}, oneOf: 1, rate: 1, every: 1, file: filepath.Join(t.TempDir(), "records"), fileSize: 1, files: 1}
	options, err := f.exported("h1", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return records.New(oneFrame{}, onePort{}, options, nil)
}

// EventCounts is one frame of which was told.
func (oneFrame) EventCounts() (map[vrouter.EventKind]vrouter.EventCount, error) {
	return map[vrouter.EventKind]vrouter.EventCount{vrouter.EventDrop: {Told: 1}}, nil
}

func (oneFrame) ConnectionTimeout(uint8, vrouter.ConnectionState) time.Duration    { return time.Hour }
func (oneFrame) SetRecording(vrouter.Recording) error                              { return nil }
func (oneFrame) OpenEvents() (*vrouter.Events, error)                              { return nil, vrouter.ErrClosed }
func (oneFrame) Connections(func(vrouter.ConnectionKey, vrouter.Connection)) error { return nil }

// TestMetricsAreDocumented: doc/metrics.md lists exactly what is exported.
func TestMetricsAreDocumented(t *testing.T) {
	registry, parts := prometheus.NewRegistry(), []prometheus.Collector{metrics.New(oneFrame{}, onePort{}, quiet{}, 256), exporting(t), checks.New(nil, nil, nil), migrate.New(nil, nil, nil, nil)}
	exposition.Export(registry, version, parts)
	documented.Compare(t, "../../doc/metrics.md", "weft-agent", registry, parts, *update)
}

// get asks for a page from inside a namespace.
func get(t *testing.T, ns, url string) (status int, text string, err error) {
	t.Helper()
	inside(t, ns, func() error {
		var conn net.Conn // dialled here: another goroutine would be outside
		if conn, err = net.Dial("tcp", "127.0.0.1:9464"); err != nil {
			return nil // the asker decides
		}
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
		var reply *http.Response
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:9464"+url, nil)
		if reply, err = transport.RoundTrip(request); err != nil {
			return nil
		}
		defer reply.Body.Close()
		var body []byte
		body, err = io.ReadAll(reply.Body)
		status, text = reply.StatusCode, string(body)
		return nil
	})
	return status, text, err
}

// TestObserved: what a running agent tells probes and Prometheus, with and
// without a controller.
func TestObserved(t *testing.T) {
	m := twoHosts(t, tunnels4)
	run := func() {
		m[0].agent = start(t, m[0].ns, m[0].binary, append([]string{"run", "--name", m[0].ns, "--controller", m[0].controller.api, "--token", m[0].controller.token,
			"--metrics-listen", "127.0.0.1:9464", "--tunnel-address", tunnels4[0].Addr().String()}, m[0].flags()...)...)
	}
	run()
	m[0].agent.waitReady(t)
	m[0].controller.set(network(100, tunnels4)[0])
	m[0].controller.settled()
	here, there := namespace(t, "w10"), namespace(t, "w12")
	m[0].mustPlug(portID(100, 10), here)
	m[0].mustPlug(portID(100, 12), there)
	reaches(t, here, ips(12)[0].String())
	unreachable(t, here, "10.0.0.99")
	for _, path := range []string{"/livez", "/readyz"} {
		if status, text, err := get(t, m[0].ns, path); err != nil || status != http.StatusOK {
			t.Errorf("%s: %d %q %v", path, status, text, err)
		}
	}
	var text string
	eventually(t, func() (err error) { // until the tables were counted with these rows in them
		if _, text, err = get(t, m[0].ns, "/metrics"); err == nil && !strings.Contains(text, `weft_vrouter_table_entries{table="host_routes"} 9`) {
			err = fmt.Errorf("the host's routes are not counted in\n%s", text)
		}
		return err
	})
	for _, line := range []string{
		`weft_agent_ports{state="up"} 2`, "weft_agent_in_sync 1", "weft_agent_row_errors 0", `weft_agent_rows{table="port"} `,
		`weft_vrouter_ended_packets_total{reason="arp-unknown-target",stage="neighbour",verdict="dropped"} `, `weft_vrouter_packets_total{direction="sent"} `, "go_goroutines",
		`weft_port_packets_total{direction="received",name="` + portName(100, 10) + `",port="` + portID(100, 10) + `"} `, "weft_agent_port_metrics 1",
		`weft_port_ended_packets_total{name="` + portName(100, 10) + `",port="` + portID(100, 10) + `",reason="arp-unknown-target",verdict="dropped"} `,
		`weft_vrouter_table_entries{table="host_routes"} `, `weft_vrouter_table_entries_max{table="ports"} `, `weft_vrouter_table_bytes{feature="ports",table="ports"} `,
	} {
		if !strings.Contains(text, line) || strings.Contains(text, line+"0\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}

	// Without a controller a started agent lives, but is not ready and says why.
	m[0].agent.stop(t, os.Interrupt)
	m[0].controller.server.Stop()
	run()
	eventually(t, func() error {
		status, text, err := get(t, m[0].ns, "/readyz")
		if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(text, "no controller") {
			return fmt.Errorf("/readyz: %d %q %v", status, text, err)
		}
		return nil
	})
	if status, text, err := get(t, m[0].ns, "/livez"); err != nil || status != http.StatusOK {
		t.Errorf("/livez: %d %q %v", status, text, err)
	}
	m[0].agent.stop(t, syscall.SIGTERM)
	m[0].uninstall([]string{"lo", "u0"})
}
