// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Card is a network card of a guest. Its other end is a tap of the namespace
// that the guest is started in: QEMU opens the one that is there or makes it.
type Card struct {
	Tap string
	MAC string
}

// MachineOptions say what a machine has.
type MachineOptions struct {
	Cache    string // directory for the unpacked kernel
	Memory   int    // MiB
	Cards    []Card // eth0, eth1, …
	Programs []string
	Files    map[string]string
	// Network boots from the first card instead of the kernel, by QEMU's own PXE
	// firmware (iPXE): there is no shell then.
	Network bool
	// Start starts a command where the taps are.
	Start func(*exec.Cmd) error
}

// Machine is a virtual machine with a shell that answers commands on its
// serial console. It has no disk.
type Machine struct {
	process *exec.Cmd
	dir     string
	input   io.WriteCloser
	ended   chan struct{}

	mu      sync.Mutex // guards what follows
	console bytes.Buffer
	grown   chan struct{} // closed and made anew when the console grows
}

// machineModules are what a workload needs of a modular kernel.
var machineModules = []string{"virtio_pci", "virtio_net", "8021q", "af_packet", "veth"}

// machineApplets are what commands of tests call. The shell is another one:
// busybox's would take its own ip for iproute2's.
var machineApplets = []string{
	"mount", "mkdir", "insmod", "poweroff", "cat", "ls", "uname", "sleep", "true", "stty", "udhcpc", "grep", "dmesg", "echo", "wc", "ethtool",
}

// readyMark is the first thing that the shell says.
const readyMark = marker + "ready"

var doneMark = regexp.MustCompile(marker + `done (\d+) (\d+)`)

// NewMachine starts a machine. Close ends it.
func NewMachine(ctx context.Context, o MachineOptions) (*Machine, error) {
	dir, err := os.MkdirTemp("", "weft-machine-")
	if err != nil {
		return nil, fmt.Errorf("make directory for the machine: %w", err)
	}
	m := &Machine{dir: dir, ended: make(chan struct{}), grown: make(chan struct{})}
	if err := m.start(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("start virtual machine: %w", err), os.RemoveAll(dir))
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context, o MachineOptions) error {
	arguments := []string{
		"-accel", "tcg,thread=multi", "-M", "q35", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(o.Memory),
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-nodefaults",
	}
	for i, c := range o.Cards {
		rom := "romfile="
		if o.Network {
			rom = "bootindex=1"
		}
		arguments = append(arguments, "-netdev", fmt.Sprintf("tap,id=n%d,ifname=%s,script=no,downscript=no,vhost=off", i, c.Tap),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,mac=%s,%s", i, c.MAC, rom))
	}
	if !o.Network {
		kernel, err := unpack(ctx, o.Cache)
		if err != nil {
			return err
		}
		content, err := machineImage(kernel, o)
		if err != nil {
			return err
		}
		initramfs := filepath.Join(m.dir, "initramfs")
		if err := os.WriteFile(initramfs, content, 0o600); err != nil {
			return fmt.Errorf("write initramfs: %w", err)
		}
		arguments = append(arguments, "-kernel", kernel.image, "-initrd", initramfs, "-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on net.ifnames=0")
	}
	m.process = exec.Command("qemu-system-x86_64", arguments...)
	out, err := m.process.StdoutPipe()
	if err != nil {
		return err
	}
	m.process.Stderr = m
	if m.input, err = m.process.StdinPipe(); err != nil {
		return err
	}
	if err := o.Start(m.process); err != nil {
		return fmt.Errorf("start QEMU (Debian package qemu-system-x86): %w", err)
	}
	go func() {
		defer close(m.ended)
		_, _ = io.Copy(m, out) // ends with the process
		_ = m.process.Wait()   // its end is all that matters
	}()
	return nil
}

// Write adds to what the console has said.
func (m *Machine) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.grown)
	m.grown = make(chan struct{})
	return m.console.Write(b)
}

// Console is all that the machine has said.
func (m *Machine) Console() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.console.String()
}

// wait returns what find finds in the console's text behind an offset.
func (m *Machine) wait(ctx context.Context, from int, find func(text string) (string, bool)) (string, error) {
	for {
		m.mu.Lock()
		text, grown := m.console.String()[from:], m.grown
		m.mu.Unlock()
		if found, ok := find(strings.ReplaceAll(text, "\r", "")); ok {
			return found, nil
		}
		select {
		case <-grown:
		case <-m.ended:
			return "", errors.New("the machine has ended")
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// Ready waits until the shell answers.
func (m *Machine) Ready(ctx context.Context) error {
	_, err := m.wait(ctx, 0, func(text string) (string, bool) { return "", strings.Contains(text, readyMark) })
	if err != nil {
		return fmt.Errorf("wait for the machine's shell: %w; its console said\n%s", err, m.Console())
	}
	return nil
}

// commandTimeout bounds one command in a machine that emulates its processor.
const commandTimeout = 60 * time.Second

// Do runs a line of shell and returns what it printed, with an error if it did
// not end with 0.
func (m *Machine) Do(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	from := len(m.Console())
	if _, err := io.WriteString(m.input, line+"\n"); err != nil {
		return "", fmt.Errorf("tell the machine: %w", err)
	}
	code := ""
	said, err := m.wait(ctx, from, func(text string) (string, bool) {
		at := doneMark.FindStringSubmatchIndex(text)
		if at == nil {
			return "", false
		}
		code = text[at[4]:at[5]]
		return text[:at[0]], true
	})
	if err == nil && code != "0" {
		err = fmt.Errorf("it ended with %s", code)
	}
	if err != nil {
		return said, fmt.Errorf("in the machine, %s: %w\n%s", line, err, m.Console()[from:])
	}
	return said, nil
}

// Kill ends the machine as a power cut does.
func (m *Machine) Kill() {
	_ = m.process.Process.Kill() // has ended if not
	<-m.ended
}

// Close ends the machine and removes what it was made of.
func (m *Machine) Close() error {
	m.Kill()
	return os.RemoveAll(m.dir)
}

// machineImage builds an initramfs with a shell on the serial console.
func machineImage(kernel kernel, o MachineOptions) ([]byte, error) {
	var out bytes.Buffer
	a := newArchive(&out)
	for _, d := range []string{"proc", "sys", "dev", "tmp", "run/netns", "etc", "var/run"} {
		a.directory(d)
	}
	if err := addPrograms(a, machineApplets, []string{"ip", "ping", "dash"}); err != nil {
		return nil, err
	}
	a.link("bin/sh", "/usr/bin/dash")
	loads, err := addModules(a, kernel.modules, machineModules)
	if err != nil {
		return nil, err
	}
	for _, program := range o.Programs {
		content, err := os.ReadFile(program)
		if err != nil {
			return nil, fmt.Errorf("read program for the machine: %w", err)
		}
		a.file("bin/"+filepath.Base(program), content)
	}
	for name, text := range o.Files {
		a.file(name, []byte(text))
	}
	var script strings.Builder
	w := bufio.NewWriter(&script)
	fmt.Fprint(w, "#!/bin/sh\nexport PATH=/bin:/usr/bin:/sbin:/usr/sbin\nmount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\n"+
		"mount -t tmpfs tmp /tmp\nmount -t tmpfs run /run\nmkdir -p /run/netns\nip link set lo up\n")
	for _, module := range loads {
		fmt.Fprintf(w, "insmod /lib/modules/%s\n", module)
	}
	fmt.Fprintf(w, "stty -F /dev/ttyS0 -echo\necho %s on $(uname -r)\nn=0\nwhile read -r line; do eval \"$line\" </dev/null; code=$?; n=$((n+1)); echo; echo %sdone $n $code; done </dev/ttyS0\npoweroff -f\n", readyMark, marker)
	if err := w.Flush(); err != nil {
		return nil, err
	}
	a.file("init", []byte(script.String()))
	return out.Bytes(), a.close()
}
