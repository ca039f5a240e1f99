// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// listenAll opens every address; on failure none stays open.
func listenAll(addresses []string) (open []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range open {
				l.Close()
			}
		}
	}()
	for _, a := range addresses {
		l, err := listen(a)
		if err != nil {
			return open, err
		}
		open = append(open, l)
	}
	return open, nil
}

// listen opens host:port, or takes over the listening socket that was handed
// down as file descriptor N when the address is "fd:N". A parent can so open a
// port that this process may not, or in another network namespace.
func listen(address string) (net.Listener, error) {
	number, inherited := strings.CutPrefix(address, "fd:")
	if !inherited {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		return l, nil
	}
	fd, err := strconv.ParseUint(number, 10, 16)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("listen on %s: want fd:N with N from 3", address)
	}
	file := os.NewFile(uintptr(fd), address)
	defer file.Close() // FileListener keeps its own copy
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("listen on inherited socket %s: %w", address, err)
	}
	return l, nil
}
