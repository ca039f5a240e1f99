// SPDX-License-Identifier: Apache-2.0

package lossless

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// widened are the structures that the other layout gives a new first field, so
// that every later field is elsewhere: values that user space fills, and key
// and value of a table that only programs fill.
var widened = []string{"port_value", "route_value", "next_hop_value", "connection_key", "connection_value"}

// BuildOtherLayout builds the agent of the module at root with another layout
// of the tables, as a release that changed them would have, and returns the
// program's path, which is in dir. It needs the compiler of `make generate`.
func BuildOtherLayout(ctx context.Context, root, dir string) (string, error) {
	if err := os.CopyFS(filepath.Join(dir, "bpf"), os.DirFS(filepath.Join(root, "vrouter", "bpf"))); err != nil {
		return "", fmt.Errorf("copy the packet path's sources: %w", err)
	}
	if err := widen(filepath.Join(dir, "bpf", "tables.h")); err != nil {
		return "", err
	}
	if err := compile(ctx, root, dir); err != nil {
		return "", err
	}
	overlay, err := overlayOf(root, dir)
	if err != nil {
		return "", err
	}
	agent := filepath.Join(dir, "weft-agent")
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", agent, "./cmd/weft-agent")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build an agent with another layout: %w\n%s", err, out)
	}
	return agent, nil
}

func widen(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the tables' layout: %w", err)
	}
	text := string(data)
	for _, name := range widened {
		head := "struct " + name + " {\n"
		if strings.Count(text, head) != 1 {
			return fmt.Errorf("change the layout: %s does not define %q once", file, name)
		}
		field := "\t__u32 other;\n"
		if strings.HasPrefix(text[strings.Index(text, head)+len(head):], "\t__u64") {
			field = "\t__u64 other;\n" // padding without a name would be compared in keys
		}
		text = strings.Replace(text, head, head+field, 1)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("change the layout: %w", err)
	}
	return nil
}

// compile runs the generation that vrouter/doc.go asks for on the changed
// sources, except that of the stubs, which no release may change.
func compile(ctx context.Context, root, dir string) error {
	data, err := os.ReadFile(filepath.Join(root, "vrouter", "doc.go"))
	if err != nil {
		return fmt.Errorf("read how the packet path is generated: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		command, is := strings.CutPrefix(strings.TrimSpace(line), "//go:generate go tool bpf2go ")
		if !is || strings.Contains(command, "bpf/stub.c") {
			continue
		}
		command = strings.Replace(command, " bpf/", " "+filepath.Join(dir, "bpf")+"/", 1)
		generate := exec.CommandContext(ctx, "go", append([]string{"tool", "bpf2go", "-output-dir", dir}, strings.Fields(command)...)...)
		generate.Dir, generate.Env = root, append(os.Environ(), "GOPACKAGE=vrouter")
		if out, err := generate.CombinedOutput(); err != nil {
			return fmt.Errorf("compile the packet path with another layout (clang-14 and libbpf-dev are needed: make generate-packages): %w\n%s", err, out)
		}
	}
	return nil
}

// overlayOf has the generated files of dir stand in for those of the tree.
func overlayOf(root, dir string) (string, error) {
	made, err := filepath.Glob(filepath.Join(dir, "*_bpfel.*"))
	if err != nil || len(made) == 0 {
		return "", fmt.Errorf("change the layout: nothing was generated in %s (%v)", dir, err)
	}
	replace := map[string]string{}
	for _, file := range made {
		replace[filepath.Join(root, "vrouter", filepath.Base(file))] = file
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("describe the changed files: %w", err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", fmt.Errorf("describe the changed files: %w", err)
	}
	return file, nil
}
