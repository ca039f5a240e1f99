// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// modules are what the packet path and its tests need of a modular kernel.
var modules = []string{"veth", "vxlan", "sch_ingress", "cls_bpf", "tun", "bridge", "af_packet", "8021q"}

// tools are programs of this machine that tests call; they are copied with
// the libraries they are linked with.
var tools = []string{"ip", "ping", "tracepath", "traceroute"}

// applets are the shell and what init needs.
var applets = []string{"sh", "mount", "mkdir", "insmod", "poweroff", "cat", "ls", "uname", "sleep", "true"}

// image builds an initramfs that runs commands, one after the other, and then
// turns the machine off.
func image(kernel kernel, commands []Command) ([]byte, error) {
	var out bytes.Buffer
	a := newArchive(&out)
	for _, d := range []string{"proc", "sys", "dev", "tmp", "run/netns", "guest", "var/tmp"} {
		a.directory(d)
	}
	if err := addPrograms(a, applets, tools); err != nil {
		return nil, err
	}
	loads, err := addModules(a, kernel.modules, modules)
	if err != nil {
		return nil, err
	}
	script := "#!/bin/sh\nexport PATH=/bin:/usr/bin:/sbin:/usr/sbin HOME=/guest TMPDIR=/tmp\n" +
		"mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\n" +
		"mount -t tmpfs tmp /tmp\nmount -t tmpfs run /run\nmkdir -p /run/netns /dev/shm\nmount -t bpf bpf /sys/fs/bpf\nip link set lo up\n"
	for _, m := range loads {
		script += "insmod /lib/modules/" + m + "\n"
	}
	script += "echo " + marker + "begin on $(uname -r)\n"
	for i, c := range commands {
		program, err := os.ReadFile(c.Program)
		if err != nil {
			return nil, fmt.Errorf("read program for the guest: %w", err)
		}
		name := fmt.Sprintf("/guest/%d/%s", i, filepath.Base(c.Program))
		a.file(name, program)
		script += fmt.Sprintf("cd /guest/%d && ./%s %s\necho %send %d $?\n", i, filepath.Base(c.Program), strings.Join(c.Arguments, " "), marker, i)
	}
	script += "poweroff -f\n"
	a.file("init", []byte(script))
	return out.Bytes(), a.close()
}

func addPrograms(a *archive, applets, tools []string) error {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("read busybox (Debian package busybox-static): %w", err)
	}
	a.file("bin/busybox", busybox)
	for _, name := range applets {
		a.link("bin/"+name, "busybox")
	}
	copied := map[string]bool{}
	for _, name := range tools {
		path, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("find %s for the guest: %w", name, err)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return fmt.Errorf("find %s for the guest: %w", name, err)
		}
		needed, err := libraries(path)
		if err != nil {
			return err
		}
		for _, f := range append(needed, path) {
			if copied[f] {
				continue
			}
			copied[f] = true
			content, err := os.ReadFile(f)
			if err != nil {
				return fmt.Errorf("copy %s into the guest: %w", f, err)
			}
			a.file(f, content)
		}
		if base := "/usr/bin/" + name; base != path {
			a.link(base, path)
		}
	}
	return nil
}

var libraryPath = regexp.MustCompile(`/\S+`)

// libraries lists what a program is linked with, by the loader's own answer.
func libraries(path string) ([]string, error) {
	out, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not a dynamic executable") {
		return nil, fmt.Errorf("list libraries of %s: %w: %s", path, err, out)
	}
	return libraryPath.FindAllString(string(out), -1), nil
}

// addModules adds the modules with what they depend on and returns them in
// the order in which they load. One that is not there is built in, or missing,
// which the tests will tell.
func addModules(a *archive, root string, modules []string) (order []string, err error) {
	files := map[string]string{}
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok && err == nil {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	var add func(name string) error
	add = func(name string) error {
		path, there := files[name]
		if !there || slices.Contains(order, name+".ko") {
			return nil
		}
		needed, err := dependencies(path)
		if err != nil {
			return err
		}
		for _, n := range needed {
			if err := add(n); err != nil {
				return err
			}
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("copy module: %w", err)
		}
		a.file("lib/modules/"+name+".ko", content)
		order = append(order, name+".ko")
		return nil
	}
	for _, m := range modules {
		if err := add(m); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// dependencies reads "depends=a,b" from the section .modinfo of a module.
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open module %s: %w", path, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read module %s: it has no section .modinfo", path)
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	for _, entry := range strings.Split(string(data), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
