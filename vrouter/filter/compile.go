// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// Program is the filter as a function of eBPF: it gets the frame's context in R1,
// and returns 1 in R0 if the frame is wanted, else 0. It loads the frame's bytes
// with LD_ABS and LD_IND, which do not mind where the kernel keeps them, and
// return 0 from the function where the frame has ended.
func (f Filter) Program() asm.Instructions {
	if f.root == nil { // the kernel takes no instruction that nothing leads to
		return asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}
	}
	c := compiler{}
	c.add(asm.Mov.Reg(asm.R6, asm.R1)) // where LD_ABS wants it
	c.condition(f.root, passes, fails)
	c.mark(passes)
	c.add(asm.Mov.Imm(asm.R0, 1), asm.Return())
	c.mark(fails)
	c.add(asm.Mov.Imm(asm.R0, 0), asm.Return())
	return c.out
}

// The labels of the ends. Labels of the program around it must be others.
const (
	passes = "filter-passes"
	fails  = "filter-fails"
)

type compiler struct {
	out    asm.Instructions
	marks  []string // of the next instruction
	labels int
}

func (c *compiler) add(all ...asm.Instruction) {
	for _, i := range all {
		if len(c.marks) > 0 {
			// An instruction has one symbol: others get one of their own, which does nothing.
			for _, extra := range c.marks[1:] {
				c.out = append(c.out, asm.Mov.Reg(asm.R6, asm.R6).WithSymbol(extra))
			}
			i = i.WithSymbol(c.marks[0])
			c.marks = nil
		}
		c.out = append(c.out, i)
	}
}

// mark gives the next instruction a label.
func (c *compiler) mark(label string) { c.marks = append(c.marks, label) }

func (c *compiler) label() string {
	c.labels++
	return fmt.Sprintf("filter-%d", c.labels)
}

// condition goes on at one of two labels.
func (c *compiler) condition(n node, yes, no string) {
	switch n := n.(type) {
	case all:
		for _, one := range n {
			next := c.label()
			c.condition(one, next, no)
			c.mark(next)
		}
		c.add(asm.Ja.Label(yes))
	case some:
		for _, one := range n {
			next := c.label()
			c.condition(one, yes, next)
			c.mark(next)
		}
		c.add(asm.Ja.Label(no))
	case not:
		c.condition(n.of, no, yes)
	case test:
		c.test(n, no)
		c.add(asm.Ja.Label(yes))
	}
}

var sizes = map[int]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word}

// test goes to a label if the frame does not stand it.
func (c *compiler) test(t test, no string) {
	switch t.from {
	case atLength:
		c.add(asm.LoadMem(asm.R0, asm.R6, 0, asm.Word)) // the first field of the context
	case atFrame:
		c.add(asm.LoadAbs(int32(t.offset), sizes[t.size]))
	case atPayload:
		c.add(
			asm.LoadAbs(ipv4, asm.Byte),
			asm.And.Imm(asm.R0, 0xf),
			asm.LSh.Imm(asm.R0, 2),
			asm.Mov.Reg(asm.R7, asm.R0),
			asm.LoadInd(asm.R0, asm.R7, int32(ipv4+t.offset), sizes[t.size]),
		)
	}
	if t.mask != 0 {
		c.add(asm.And.Imm32(asm.R0, int32(t.mask)))
	}
	if t.least == t.most {
		c.add(asm.JNE.Imm32(asm.R0, int32(t.least), no))
		return
	}
	c.add(asm.JLT.Imm32(asm.R0, int32(t.least), no), asm.JGT.Imm32(asm.R0, int32(t.most), no))
}
