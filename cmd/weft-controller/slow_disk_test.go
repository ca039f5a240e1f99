// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slowHang is what a slow disk's file says when a sync does not end.
const slowHang = "hang"

// slowSyncs makes every fsync and fdatasync of this process take as long as a
// file says ("100ms"), which may change at any time; nothing if there is none.
// The kernel asks this very process what to do with the calls (seccomp user
// notification), which therefore must not have begun to write.
func slowSyncs(file string) error {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(value uint32, then, otherwise uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jt: then, Jf: otherwise}
	}
	answer := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	filter := []unix.SockFilter{
		load(0), // the number of the call
		equal(unix.SYS_FSYNC, 2, 0),
		equal(unix.SYS_FDATASYNC, 1, 0),
		answer(unix.SECCOMP_RET_ALLOW),
		answer(unix.SECCOMP_RET_USER_NOTIF),
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("have fsync asked about: %w", errno)
	}
	go answerSyncs(fd, file) // ends with the process
	return nil
}

// syncCall is struct seccomp_notif, syncAnswer struct seccomp_notif_resp.
type syncCall struct {
	id   uint64
	rest [72]byte
}

type syncAnswer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

func answerSyncs(fd uintptr, file string) {
	for {
		var call syncCall // must be zero
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call))); errno != 0 {
			continue // the caller was interrupted, and asks again
		}
		go func() {
			delaySync(file)
			a := syncAnswer{id: call.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
			unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
		}()
	}
}

// delaySync waits as the file says.
func delaySync(file string) {
	for tick := time.Tick(20 * time.Millisecond); ; <-tick {
		text, err := os.ReadFile(file)
		if err != nil {
			return
		}
		if strings.TrimSpace(string(text)) == slowHang {
			continue
		}
		if d, err := time.ParseDuration(strings.TrimSpace(string(text))); err == nil {
			<-time.After(d)
		}
		return
	}
}
