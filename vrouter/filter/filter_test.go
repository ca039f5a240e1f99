// SPDX-License-Identifier: Apache-2.0

package filter_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/weft-network/weft/vrouter/filter"
)

// seeded returns a source of randomness that WEFT_SEED repeats.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("WEFT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("read WEFT_SEED: %v", err)
		}
	}
	t.Logf("WEFT_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func one[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

var (
	hosts4 = []string{"10.0.0.1", "10.0.0.2", "10.0.1.1", "255.255.255.255", "224.0.0.5"}
	hosts6 = []string{"fd00::1", "fd00::2", "fd00:0:0:1::1", "ff02::1"}
	four   = [][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}, {10, 0, 1, 1}, {255, 255, 255, 255}, {224, 0, 0, 5}, {192, 168, 1, 1}}
	six    = [][]byte{
		{0xfd, 15: 1}, {0xfd, 15: 2}, {0xfd, 7: 1, 15: 1}, {0xff, 2, 15: 1}, {0xfe, 0x80, 15: 9},
	}
	macs = [][]byte{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {1, 0, 0x5e, 0, 0, 5}}
)

// frame makes one whose fields are of a few values, so that filters meet them.
func frame(r *rand.Rand) []byte {
	f := make([]byte, 100+r.IntN(200))
	for i := range f {
		f[i] = byte(r.Uint32())
	}
	copy(f, one(r, macs...))
	copy(f[6:], one(r, macs...))
	kind := one[uint16](r, 0x800, 0x800, 0x800, 0x86dd, 0x86dd, 0x86dd, 0x806, 0x8035, 0x88cc)
	binary.BigEndian.PutUint16(f[12:], kind)
	payload, protocol := 54, one[byte](r, 1, 2, 6, 6, 17, 17, 132, 47, 50, 51, 58, 44)
	switch kind {
	case 0x800:
		f[14] = 0x45 + byte(r.IntN(3))
		payload = 14 + int(f[14]&0xf)*4
		binary.BigEndian.PutUint16(f[20:], one[uint16](r, 0, 0x4000, 0x2000, 0x2001, 0x0100))
		f[23] = protocol
		copy(f[26:], one(r, four...))
		copy(f[30:], one(r, four...))
	case 0x86dd:
		f[14], f[20] = 0x60, protocol
		copy(f[22:], one(r, six...))
		copy(f[38:], one(r, six...))
		if protocol == 44 {
			f[54] = one[byte](r, 6, 17, 58, 50)
			return f
		}
	default:
		copy(f[28:], one(r, four...))
		copy(f[38:], one(r, four...))
		return f
	}
	for _, at := range []int{payload, payload + 2} {
		binary.BigEndian.PutUint16(f[at:], one[uint16](r, 53, 80, 443, 8080, uint16(r.Uint32())))
	}
	return f
}

// expression makes one that tcpdump takes, too.
func expression(r *rand.Rand, depth int) string {
	if depth > 0 {
		switch r.IntN(4) {
		case 0:
			return expression(r, depth-1) + one(r, " and ", " && ") + expression(r, depth-1)
		case 1:
			return expression(r, depth-1) + one(r, " or ", " || ") + expression(r, depth-1)
		case 2:
			return one(r, "not ", "! ", "") + "(" + expression(r, depth-1) + ")"
		}
	}
	way := one(r, "", "", "src ", "dst ", "src or dst ", "src and dst ")
	number := func() string { return one(r, "53", "80", "443", "8080") }
	switch r.IntN(10) {
	case 0:
		return one(r, "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "esp", "ah", "broadcast", "multicast", "ip multicast", "ip6 multicast")
	case 1:
		return one(r, "", "ip ", "arp ", "rarp ") + way + "host " + one(r, hosts4...)
	case 2:
		return one(r, "", "ip6 ") + way + "host " + one(r, hosts6...)
	case 3:
		return way + "net " + one(r, "10", "10.0", "10.0.0", "10.0.0.0/23", "10.0.0.0", "0.0.0.0/0", "10.0.0.2/31", "fd00::/64", "fd00::/16", "::/0", "ff00::/8")
	case 4:
		return one(r, "", "tcp ", "udp ", "sctp ") + way + "port " + number()
	case 5:
		return one(r, "", "tcp ", "udp ") + way + "portrange " + one(r, "50-80", "443-8080", "8080-8080", "8080-53")
	case 6:
		return one(r, "", "ip ", "ip6 ") + "proto " + one(r, "6", "17", "47", "50", "58", "132", "0x11")
	case 7:
		return one(r, "less ", "greater ") + strconv.Itoa(100+r.IntN(200))
	case 8:
		return one(r, "ether host ", "ether src ", "ether dst ") + one(r, "02:00:00:00:00:01", "02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff")
	}
	return one(r, "host 10.0.0.1 or 10.0.0.2", "port 53 or 80", "src 10.0.0.1 or 10.0.1.1", "ether proto 0x88cc", "ether proto 0x800", "src 10.0.0.1", "dst fd00::1", "tcp src port 53 or 80")
}

// What is wanted is what tcpdump wants, of random frames by random filters.
func TestFiltersMeanWhatTheyMeanToTcpdump(t *testing.T) {
	if out, err := exec.Command("../../scripts/debian-packages", "tcpdump").CombinedOutput(); err != nil {
		t.Fatalf("install tcpdump: %v\n%s", err, out)
	}
	r := seeded(t)
	frames := make([][]byte, 2000)
	path := filepath.Join(t.TempDir(), "frames.pcap")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := pcapgo.NewWriter(file)
	if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		frames[i] = frame(r)
		// The time says which it is.
		info := gopacket.CaptureInfo{Timestamp: time.Unix(int64(i), 0), CaptureLength: len(frames[i]), Length: len(frames[i])}
		if err := w.WritePacket(info, frames[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	wanted := 0
	for range 300 {
		text := expression(r, r.IntN(4))
		f, err := filter.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		theirs := picked(t, path, text)
		for i, bytes := range frames {
			if f.Match(bytes) {
				wanted++
			}
			if f.Match(bytes) != theirs[i] {
				t.Fatalf("filter %q: frame % x is wanted: %v, and by tcpdump: %v", text, bytes[:60], f.Match(bytes), theirs[i])
			}
		}
	}
	if wanted < 1000 {
		t.Errorf("filters want %d of all frames: they are no test", wanted)
	}
}

// picked are the frames that tcpdump wants.
func picked(t *testing.T, path, text string) map[int]bool {
	t.Helper()
	var bad bytes.Buffer
	c := exec.Command("tcpdump", "-r", path, "-w", "-", text)
	c.Stderr = &bad
	out, err := c.Output()
	if err != nil && strings.Contains(bad.String(), "expression rejects all packets") {
		return nil
	}
	if err != nil {
		t.Fatalf("tcpdump %q: %v\n%s", text, err, bad.String())
	}
	r, err := pcapgo.NewReader(bytes.NewReader(out))
	if err != nil {
		t.Fatalf("tcpdump %q: %v", text, err)
	}
	which := map[int]bool{}
	for {
		_, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return which
		}
		if err != nil {
			t.Fatal(err)
		}
		which[int(info.Timestamp.Unix())] = true
	}
}

// The program wants the frames that the conditions want, also those that end
// before what is asked for.
func TestProgramsDoWhatFiltersSay(t *testing.T) {
	r := seeded(t)
	wanted := 0
	for range 150 {
		text := expression(r, r.IntN(4))
		f, err := filter.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: f.Program(), License: "Apache-2.0"})
		if err != nil {
			t.Fatalf("filter %q: %+v", text, err)
		}
		for i := range 200 {
			one := frame(r)
			if i%4 == 0 {
				one = one[:54+r.IntN(6)]
			}
			verdict, err := program.Run(&ebpf.RunOptions{Data: one})
			if err != nil {
				t.Fatal(err)
			}
			if verdict != 0 {
				wanted++
			}
			if f.Match(one) != (verdict == 1) {
				t.Fatalf("filter %q: the program says %d of % x, the conditions %v", text, verdict, one, f.Match(one))
			}
		}
		if err := program.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if wanted < 1000 {
		t.Errorf("programs want %d of all frames: they are no test", wanted)
	}
}

// What cannot be read is refused with the word and with what may be there.
func TestFiltersThatAreRefused(t *testing.T) {
	for text, words := range map[string]string{
		"port":                       "it ends where an address or a number should be",
		"port http":                  `"http" is no port: write numbers`,
		"port 70000":                 "is no port",
		"portrange 5":                "is no portrange",
		"host web-1":                 "names are not looked up",
		"10.0.0.1":                   "a word of a filter: host, net",
		"vlan 5":                     `"vlan" is where a word of a filter`,
		"tcp and":                    "it ends where",
		"( tcp":                      "a closing parenthesis",
		"tcp )":                      `")" is where and, or or the end should be`,
		"tcp udp":                    "and, or or the end",
		"net 10.0.0.1/8":             "it is in 10.0.0.0/8",
		"ip host fd00::1":            "ip has no address fd00::1",
		"tcp host 10.0.0.1":          "tcp has no addresses",
		"icmp port 5":                "icmp has no ports",
		"ether host 10.0.0.1":        "no Ethernet address",
		"ether proto 5":              "no ethertype",
		"ip proto 256":               "no protocol",
		"ip broadcast":               "depends on the network",
		strings.Repeat("not ", 33):   "parentheses and nots",
		strings.Repeat("a", 1025):    "may have 1024",
		manyPorts(80):                "comparisons, and may take 512",
		"less than":                  "a number",
		"tcp[tcpflags] & tcp-syn":    `"tcp[tcpflags]" is where a word of a filter`,
		"host fd00::1%eth0":          "names are not looked up",
		"src host 10.0.0.1 dst host": "and, or or the end",
	} {
		if _, err := filter.Parse(text); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%.40q: %v, want %q in it", text, err, words)
		}
	}
}

func manyPorts(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(1000 + i)
	}
	return "port " + strings.Join(all, " or ")
}
