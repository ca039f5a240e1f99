// SPDX-License-Identifier: Apache-2.0

package mutation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// object is one of those that the go:generate lines of vrouter make.
type object struct {
	name   string   // as bpf2go names it
	source string   // in vrouter/bpf
	flags  []string // of the compiler
	reads  []string // the source and all it includes
	quick  bool     // looked at first: it remembers as the product does, or its source has none that does
}

// file is where the test program looks for it.
func (o object) file() string { return strings.ToLower(o.name) + "_bpfel.o" }

// product says whether it is one that carries traffic.
func (o object) product() bool { return !slices.Contains(o.flags, "-DWEFT_TRACE") }

func (o object) rehearsal() bool { return slices.Contains(o.flags, "-DWEFT_REHEARSAL") }

var (
	generateLine = regexp.MustCompile(`(?m)^//go:generate go tool bpf2go .* (\w+) bpf/(\w+\.c) -- (.*)$`)
	includeLine  = regexp.MustCompile(`(?m)^#include "(\w+\.h)"`)
)

// readObjects takes the objects and their flags from vrouter/doc.go, all but
// the one without programs.
func readObjects(vrouter string) ([]object, error) {
	text, err := os.ReadFile(filepath.Join(vrouter, "doc.go"))
	if err != nil {
		return nil, fmt.Errorf("read how objects are generated: %w", err)
	}
	var all []object
	for _, m := range generateLine.FindAllStringSubmatch(string(text), -1) {
		o := object{name: m[1], source: m[2]}
		for _, flag := range strings.Fields(m[3]) {
			if !strings.HasPrefix(flag, "-W") { // a mutant may look odd
				o.flags = append(o.flags, flag)
			}
		}
		if slices.Contains(contracts, o.source) {
			continue
		}
		if o.reads, err = included(filepath.Join(vrouter, "bpf"), o.source, nil); err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	for i, o := range all {
		remembers := slices.ContainsFunc(all, func(other object) bool { return other.source == o.source && other.rehearsal() })
		all[i].quick = o.rehearsal() || !o.product() && !remembers
	}
	if len(all) == 0 {
		return nil, errors.New("vrouter/doc.go has no go:generate line of an object: are we at the root of the repository?")
	}
	return all, nil
}

func included(dir, name string, seen []string) ([]string, error) {
	if slices.Contains(seen, name) {
		return seen, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("read included file: %w", err)
	}
	seen = append(seen, name)
	for _, m := range includeLine.FindAllStringSubmatch(string(text), -1) {
		if seen, err = included(dir, m[1], seen); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// compile builds an object from a copy of vrouter/bpf, with the flags that
// bpf2go adds to those of its line.
func compile(ctx context.Context, o object, sources, to string) error {
	arguments := append([]string{"-mcpu=v1", "-w"}, o.flags...)
	arguments = append(arguments, "-target", "bpfel", "-g", "-fno-ident", "-c", o.source, "-o", filepath.Join(to, o.file()))
	cmd := exec.CommandContext(ctx, "clang-14", arguments...)
	cmd.Dir = sources
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile %s: %w: %s", o.source, err, firstLine(stderr.String()))
	}
	return nil
}

func firstLine(text string) string { return text[:until(text, "\n")] }

// code is what the kernel would be given: a sum of instructions and constants,
// and the lines that they came from.
type code struct {
	sum   string
	lines map[string]map[int]bool // by file
}

// holds says whether something of the mutant's function is there. A function of
// which no object has a line may still be in all: see Laboratory.holding.
func (c code) holds(m Mutant) bool {
	for line := range c.lines[m.File] {
		if line >= m.first && line <= m.last {
			return true
		}
	}
	return false
}

func readCode(file string) (code, error) {
	spec, err := ebpf.LoadCollectionSpec(file)
	if err != nil {
		return code{}, fmt.Errorf("read object %s: %w", file, err)
	}
	lines := map[string]map[int]bool{}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(spec.Programs)) {
		fmt.Fprintln(h, name)
		for _, i := range spec.Programs[name].Instructions {
			fmt.Fprintln(h, i.OpCode, i.Dst, i.Src, i.Offset, i.Constant, i.Reference())
			line, ok := i.Source().(*btf.Line)
			if !ok {
				continue
			}
			name := filepath.Base(line.FileName())
			if lines[name] == nil {
				lines[name] = map[int]bool{}
			}
			lines[name][int(line.LineNumber())] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
		m := spec.Maps[name]
		fmt.Fprintln(h, name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
		for _, c := range m.Contents {
			fmt.Fprintf(h, "%v=%x\n", c.Key, c.Value)
		}
	}
	return code{string(h.Sum(nil)), lines}, nil
}
