// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// A port's packets come to whoever runs the CLI anywhere, through the controllers,
// in a file that the library and tcpdump read.
func TestCaptureFromAnywhere(t *testing.T) {
	if out, err := exec.Command("../../scripts/debian-packages", "tcpdump").CombinedOutput(); err != nil {
		t.Fatalf("install tcpdump: %v\n%s", err, out)
	}
	s := start(t, "cap", topology.IPv4, beginning+networkYAML("open", "forwarding: l2, flooding: true, portSecurity: \"off\", mtu: 1400")+
		portYAML("a", "open", 1, "")+portYAML("b", "open", 2, ""))
	a, b := s.workload("a", 1), s.workload("b", 2)
	s.give(a, "eth0", 10)
	s.give(b, "eth0", 12)
	s.reaches(a, 12)

	path := filepath.Join(t.TempDir(), "b.pcapng")
	ended := make(chan error, 1)
	go func() {
		_, err := s.lab.Weft(t.Context(), "capture", "d:p:b", "(icmp and host 172.20.0.10)", "or", "(icmp6 and host fd99::a and greater 100)", "-w", path, "--count", "12", "--snaplen", "80")
		ended <- err
	}()
	s.eventually("the file begins", func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() > 0
	})
	for _, to := range unknown(12) {
		if answer, err := (probe.Ping{Namespace: a, To: to.Addr(), Count: 3}).Run(); err != nil || answer.Received != 3 {
			t.Fatalf("ping %v: %+v (%v)", to, answer, err)
		}
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(settle):
		t.Fatal("weft capture does not end after as many packets as were asked for")
	}
	if in, out := readCapture(t, path); in != 6 || out != 6 {
		t.Errorf("%d packets that b got and %d that it sent, want six requests and six answers", in, out)
	}
	text, err := exec.Command("tcpdump", "-n", "-r", path).Output()
	if err != nil {
		t.Fatalf("tcpdump -r: %v", err)
	}
	for words, want := range map[string]int{"ICMP echo request": 3, "ICMP echo reply": 3, "ICMP6, echo request": 3, "ICMP6, echo reply": 3} {
		if n := strings.Count(string(text), words); n != want {
			t.Errorf("tcpdump reads %d of %q, want %d:\n%s", n, words, want, text)
		}
	}
	if audit := s.weft("audit"); !strings.Contains(audit, "capture") || !strings.Contains(audit, "d:p:b") {
		t.Errorf("the audit does not have the capture:\n%s", audit)
	}
}

// readCapture counts the packets of both directions in a file.
func readCapture(t *testing.T, path string) (in, out int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		bytes, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes) != 80 || info.Length < 98 || time.Since(info.Timestamp) > settle {
			t.Errorf("%d bytes of %d at %v, want 80 of 98 or more, now", len(bytes), info.Length, info.Timestamp)
		}
		switch options.Flags.Direction {
		case pcapgo.NgEpbFlagDirectionInbound:
			in++
		case pcapgo.NgEpbFlagDirectionOutbound:
			out++
		}
	}
	i, err := r.Interface(0)
	if err != nil || i.Name != "d:p:b" || !strings.Contains(i.Description, "host "+topology.HostName(2)) || i.LinkType != layers.LinkTypeEthernet || i.Statistics.PacketsDropped != 0 || i.Statistics.PacketsReceived < 12 {
		t.Errorf("interface %+v (%v)", i, err)
	}
	return in, out
}
