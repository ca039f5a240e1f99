// SPDX-License-Identifier: Apache-2.0

package dhcp4_test

import (
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/weft-network/weft/agent/dhcp4"
)

func class(text string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptClassIdentifier(text))
}

func machine(n iana.Arch) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptClientArch(n)) }

// What boots from the network is told the file for a machine like it.
func TestBootFiles(t *testing.T) {
	f := facts
	long := strings.Repeat("x", 200)
	f.Leases = []dhcp4.Lease{{Prefix: facts.Leases[0].Prefix, Time: facts.Leases[0].Time, Options: []dhcp4.Option{
		{Code: 67, Value: []byte("script"), UserClass: "iPXE"},
		{Code: 67, Value: []byte("bios.0"), Architectures: []uint16{0}},
		{Code: 67, Value: []byte("x64.efi"), Architectures: []uint16{7, 9}},
		{Code: 67, Value: []byte("http://boot.example/x64.efi"), Architectures: []uint16{16}},
		{Code: 67, Value: []byte(long), Architectures: []uint16{11}},
		{Code: 67, Value: []byte("any")},
		{Code: 66, Value: []byte("192.0.2.9")},
	}}}
	for _, w := range []struct {
		name   string
		change []dhcpv4.Modifier
		file   string
		class  string
	}{
		{"no machine said", nil, "any", ""},
		{"BIOS", []dhcpv4.Modifier{machine(0)}, "bios.0", ""},
		{"UEFI", []dhcpv4.Modifier{machine(7)}, "x64.efi", ""},
		{"UEFI, the other number", []dhcpv4.Modifier{machine(9)}, "x64.efi", ""},
		{"a machine nobody thought of", []dhcpv4.Modifier{machine(27)}, "any", ""},
		{"by its vendor class alone", []dhcpv4.Modifier{class("PXEClient:Arch:00007:UNDI:003016")}, "x64.efi", ""},
		{"a vendor class that says nothing", []dhcpv4.Modifier{class("PXEClient:Arch:x")}, "any", ""},
		{"the loader that was loaded", []dhcpv4.Modifier{machine(0), dhcpv4.WithOption(dhcpv4.OptUserClass("iPXE"))}, "script", ""},
		{"HTTP", []dhcpv4.Modifier{machine(16), class("HTTPClient:Arch:00016:UNDI:003001")}, "http://boot.example/x64.efi", "HTTPClient"},
		{"a name too long for the field", []dhcpv4.Modifier{machine(11)}, long, ""},
	} {
		reply, err := dhcp4.Answer(ask(t, dhcpv4.MessageTypeDiscover, w.change...), f)
		if err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		r, err := dhcpv4.FromBytes(reply.Message)
		if err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		if got := r.BootFileNameOption(); got != w.file || r.ClassIdentifier() != w.class || r.ServerIPAddr.String() != "192.0.2.9" {
			t.Errorf("%s: file %q from %v, class %q; want %q, class %q", w.name, got, r.ServerIPAddr, r.ClassIdentifier(), w.file, w.class)
		}
		if len(w.file) < 128 && r.BootFileName != w.file {
			t.Errorf("%s: the field says %q", w.name, r.BootFileName)
		}
	}
}
