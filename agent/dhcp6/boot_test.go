// SPDX-License-Identifier: Apache-2.0

package dhcp6_test

import (
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/weft-network/weft/agent/dhcp6"
)

// What boots from the network is told the file for a machine like it.
func TestBootFiles(t *testing.T) {
	f := facts
	f.Options = []dhcp6.Option{
		{Code: 59, Value: []byte("http://script"), UserClass: "iPXE"},
		{Code: 59, Value: []byte("tftp://x64"), Architectures: []uint16{7, 9}},
		{Code: 59, Value: []byte("tftp://any")},
	}
	for _, w := range []struct {
		name    string
		options []dhcpv6.Option
		file    string
	}{
		{"no machine said", nil, "tftp://any"},
		{"UEFI", []dhcpv6.Option{dhcpv6.OptClientArchType(iana.Arch(7))}, "tftp://x64"},
		{"one of two", []dhcpv6.Option{dhcpv6.OptClientArchType(iana.Arch(0), iana.Arch(9))}, "tftp://x64"},
		{"another machine", []dhcpv6.Option{dhcpv6.OptClientArchType(iana.Arch(11))}, "tftp://any"},
		{"the loader that was loaded", []dhcpv6.Option{&dhcpv6.OptUserClass{UserClasses: [][]byte{[]byte("other"), []byte("iPXE")}}}, "http://script"},
	} {
		q, err := dhcpv6.MessageFromBytes(ask(t, dhcpv6.MessageTypeInformationRequest, "client"))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range w.options {
			q.AddOption(o)
		}
		raw, err := dhcp6.Answer(q.ToBytes(), f)
		if err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		r, err := dhcpv6.MessageFromBytes(raw)
		if err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		if got := r.Options.BootFileURL(); got != w.file {
			t.Errorf("%s: told %q, want %q", w.name, got, w.file)
		}
	}
}
