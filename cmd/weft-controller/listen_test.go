// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"syscall"
	"testing"
)

func TestListenTakesOverAnInheritedSocket(t *testing.T) {
	parent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	file, err := parent.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	// listen takes the descriptor over and closes it. file, and the collector
	// for it, must not close the same number again, which may be another's by then.
	handed, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	ls, err := listenAll([]string{fmt.Sprintf("fd:%d", handed)})
	if err != nil {
		t.Fatal(err)
	}
	defer ls[0].Close()
	if ls[0].Addr().String() != parent.Addr().String() {
		t.Errorf("listens on %v, the parent on %v", ls[0].Addr(), parent.Addr())
	}
}

func TestListenRefusesWhatIsNoSocket(t *testing.T) {
	for _, a := range []string{"fd:", "fd:x", "fd:1", "fd:60000", "nowhere"} {
		if ls, err := listenAll([]string{"127.0.0.1:0", a}); err == nil {
			ls[0].Close()
			t.Errorf("listening on %q succeeded", a)
		}
	}
}
