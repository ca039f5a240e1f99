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
	defer file.Close()
	// listen takes the descriptor over and closes it, so it gets one of its
	// own: file would close its number once more, when it may be another's.
	fd, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	ls, err := listenAll([]string{fmt.Sprintf("fd:%d", fd)})
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
