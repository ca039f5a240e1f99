// SPDX-License-Identifier: Apache-2.0

// Package guest runs programs on a Debian kernel other than this machine's, in
// a QEMU guest with nothing but an initramfs: how the packet path is tried on
// the oldest kernel that it supports. The guest has no disk and no network.
package guest

import (
	"bufio"
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
	"time"
)

// Package is the Debian package that depends on the kernel's own.
const Package = "linux-image-cloud-amd64"

// Command is a program to run in the guest, from this machine's files.
type Command struct {
	Program   string // statically linked
	Arguments []string
}

// Options say what runs and where the kernel is kept.
type Options struct {
	Cache    string // directory for the unpacked kernel
	Memory   int    // MiB
	Timeout  time.Duration
	Commands []Command
	Output   io.Writer // the guest's console
}

// kernel is an unpacked kernel package.
type kernel struct {
	image   string // vmlinuz
	modules string // directory
}

// marker begins the lines by which the guest tells how far it is.
const marker = "weft-guest: "

var ended = regexp.MustCompile(marker + `end (\d+) (\d+)`)

// Run starts the guest, runs the commands in order, and returns an error if
// one failed or did not end.
func Run(ctx context.Context, o Options) error {
	k, err := unpack(ctx, o.Cache)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weft-guest-")
	if err != nil {
		return fmt.Errorf("make directory for the guest: %w", err)
	}
	defer os.RemoveAll(dir)
	content, err := image(k, o.Commands)
	if err != nil {
		return err
	}
	initramfs := filepath.Join(dir, "initramfs")
	if err := os.WriteFile(initramfs, content, 0o600); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	// tcg: stock Debian kernels do not start under every nested KVM.
	machine := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-M", "q35", "-cpu", "max", "-smp", "2",
		"-m", strconv.Itoa(o.Memory), "-kernel", k.image, "-initrd", initramfs, "-nic", "none", "-display", "none", "-monitor", "none",
		"-serial", "stdio", "-no-reboot", "-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on")
	console, err := machine.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open the guest's console: %w", err)
	}
	machine.Stderr = o.Output
	if err := machine.Start(); err != nil {
		return fmt.Errorf("start the guest (Debian package qemu-system-x86): %w", err)
	}
	failures := follow(console, o.Output, o.Commands)
	err = machine.Wait()
	if ctx.Err() != nil {
		err = fmt.Errorf("the guest did not end within %v", o.Timeout)
	}
	return errors.Join(err, failures)
}

// follow copies the console and collects how the commands ended.
func follow(console io.Reader, to io.Writer, commands []Command) error {
	codes := map[int]int{}
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		fmt.Fprintln(to, line)
		if m := ended.FindStringSubmatch(line); m != nil {
			i, _ := strconv.Atoi(m[1]) // digits, by the expression
			codes[i], _ = strconv.Atoi(m[2])
		}
	}
	var failures []error
	for i, c := range commands {
		switch code, there := codes[i]; {
		case !there:
			failures = append(failures, fmt.Errorf("%s did not end in the guest", filepath.Base(c.Program)))
		case code != 0:
			failures = append(failures, fmt.Errorf("%s ended with %d in the guest", filepath.Base(c.Program), code))
		}
	}
	return errors.Join(append(failures, lines.Err())...)
}

// unpack downloads the kernel package and unpacks it, unless that was done.
func unpack(ctx context.Context, cache string) (kernel, error) {
	name, found := dependency(ctx)
	if found {
		if k, err := unpackPackage(ctx, cache, name); err == nil {
			return k, nil
		}
	}
	// A machine that has never asked for packages, or so long ago that the archive has another kernel now.
	if out, err := exec.CommandContext(ctx, "apt-get", "update", "-qq").CombinedOutput(); err != nil {
		return kernel{}, fmt.Errorf("ask for the package of the kernel: %w: %s", err, out)
	}
	if name, found = dependency(ctx); !found {
		return kernel{}, fmt.Errorf("package %s has no dependency", Package)
	}
	return unpackPackage(ctx, cache, name)
}

func unpackPackage(ctx context.Context, cache, name string) (kernel, error) {
	dir := filepath.Join(cache, name)
	version := strings.TrimPrefix(name, "linux-image-")
	k := kernel{image: filepath.Join(dir, "boot", "vmlinuz-"+version), modules: filepath.Join(dir, "lib", "modules", version)}
	if _, err := os.Stat(k.image); err == nil {
		return k, nil
	}
	fresh := dir + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(dir), os.MkdirAll(fresh, 0o755)); err != nil {
		return kernel{}, fmt.Errorf("prepare the kernel's directory: %w", err)
	}
	for _, step := range []*exec.Cmd{
		exec.CommandContext(ctx, "apt-get", "download", "-qq", name),
		exec.CommandContext(ctx, "sh", "-c", "dpkg -x ./*.deb . && rm ./*.deb"),
	} {
		step.Dir = fresh
		if out, err := step.CombinedOutput(); err != nil {
			return kernel{}, fmt.Errorf("get kernel: %s: %w: %s", step, err, out)
		}
	}
	if err := os.Rename(fresh, dir); err != nil {
		return kernel{}, fmt.Errorf("keep the kernel: %w", err)
	}
	return k, nil
}

// dependency asks which kernel the package stands for, as far as this machine knows.
func dependency(ctx context.Context) (name string, found bool) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "--important", Package).Output()
	_, rest, found := strings.Cut(string(out), "Depends: ")
	if err != nil || !found {
		return "", false
	}
	return strings.Fields(rest)[0], true
}
