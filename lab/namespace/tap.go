// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Tap says how a tap is opened.
type Tap struct {
	Namespace string
	Name      string
	Header    bool // frames have a virtio header: checksums and segmentation may be left to the other end
	Persist   bool // it stays when it is closed
}

const (
	headerSize = 12      // struct virtio_net_hdr_v1, as QEMU has it
	frameSize  = 1 << 16 // of the longest frame, segments of TCP joined
	// Offloads of linux/if_tun.h: checksums, segments of TCP in both families.
	offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
)

// Open makes a tap, or opens the one that is there, as a hypervisor does.
func (t Tap) Open() (file *os.File, err error) {
	err = Do(t.Namespace, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err := t.attach(fd); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		file = os.NewFile(uintptr(fd), t.Name) // only now can it be waited for
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open tap %s in %s: %w", t.Name, t.Namespace, err)
	}
	return file, nil
}

func (t Tap) attach(fd int) error {
	request, err := unix.NewIfreq(t.Name)
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if t.Header {
		flags |= unix.IFF_VNET_HDR
	}
	request.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return err
	}
	if t.Header {
		if err := errors.Join(unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, headerSize), unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads)); err != nil {
			return err
		}
	}
	if t.Persist {
		return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	}
	return nil
}

// Join carries frames between two taps that are open, as a hypervisor does
// between a tap and its guest's card, until the returned function ends it and
// closes both.
func Join(a, b *os.File) (end func()) {
	var pumps sync.WaitGroup
	carry := func(from, to *os.File) {
		frame := make([]byte, frameSize+headerSize)
		for {
			n, err := from.Read(frame)
			if err != nil {
				return // closed
			}
			_, _ = to.Write(frame[:n]) // an interface that is down takes nothing
		}
	}
	pumps.Go(func() { carry(a, b) })
	pumps.Go(func() { carry(b, a) })
	return func() {
		a.Close()
		b.Close()
		pumps.Wait()
	}
}
