// SPDX-License-Identifier: Apache-2.0

package weft_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// packageOf says which Debian package a program is of that our code or tests run. What each
// Debian has, what builds this in the first place, and our own are "".
var packageOf = map[string]string{
	"sh": "", "bash": "", "go": "", "nsenter": "", "unshare": "", "ldd": "", "apt-get": "", "apt-cache": "", "../../scripts/debian-packages": "", "sleep": "", "weft-gateway": "", "weft": "",
	"clang-14": "clang-14", "llvm-strip-14": "llvm-14", "ip": "iproute2", "ping": "iputils-ping", "tracepath": "iputils-tracepath", "traceroute": "traceroute",
	"dig": "bind9-dnsutils", "udhcpc": "udhcpc", "busybox": "udhcpc", "dhclient": "isc-dhcp-client", "keepalived": "keepalived", "haproxy": "haproxy", "tcpdump": "tcpdump", "tshark": "tshark", "wrk": "wrk", "curl": "curl",
	"qemu-system-x86_64": "qemu-system-x86", "iperf3": "iperf3", "ethtool": "ethtool", "nft": "nftables",
}

// TestProgramsHavePackages: each program that is run by its name comes with a package that
// the Makefile installs.
func TestProgramsHavePackages(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var installed []string
	for _, line := range regexp.MustCompile(`(?m)^[A-Z]+_PACKAGES := (.*)$`).FindAllStringSubmatch(string(makefile), -1) {
		installed = append(installed, strings.Fields(line[1])...)
	}
	runs := regexp.MustCompile(`exec\.Command(?:Context)?\((?:[a-zA-Z.()]+, )?"([a-z.][^"]*)"`)
	seen := 0
	for _, s := range goSources(t) {
		for _, run := range runs.FindAllStringSubmatch(s.text, -1) {
			seen++
			if name, known := packageOf[run[1]]; !known {
				t.Errorf("%s runs %s: say in packageOf which Debian package has it", s.path, run[1])
			} else if name != "" && !slices.Contains(installed, name) {
				t.Errorf("%s runs %s: no target of the Makefile installs %s", s.path, run[1], name)
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d programs are run; this test looks for them in the wrong way", seen)
	}
}
