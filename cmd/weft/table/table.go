// SPDX-License-Identifier: Apache-2.0

// Package table prints rows for people: aligned columns, a few words in
// colour, nothing that could drive a terminal.
package table

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weft-network/weft/api"
)

// gap is the space between columns.
const gap = "  "

// Printer prints tables to one writer.
type Printer struct {
	W      io.Writer
	Colour bool   // false: plain text
	Indent string // before each line
}

// Print writes a whole table with its header.
func (p Printer) Print(t api.Table) error {
	return p.Stream(t.Columns, t.Rows).Header(t.Columns).Rows(t.Rows)
}

// Stream is a table whose rows come over time: widths only grow.
type Stream struct {
	p      Printer
	widths []int
	right  []bool
	err    error
}

// Stream prepares columns wide enough for these rows.
func (p Printer) Stream(columns []string, rows [][]string) *Stream {
	s := &Stream{p: p, widths: make([]int, len(columns)), right: make([]bool, len(columns))}
	for i, c := range columns {
		s.widths[i] = utf8.RuneCountInString(Clean(c))
		s.right[i] = numeric(rows, i)
	}
	for _, r := range rows {
		s.grow(r)
	}
	return s
}

// Header writes the header line.
func (s *Stream) Header(columns []string) *Stream {
	s.line(columns, func(string) string { return bold })
	return s
}

// Rows writes rows, in columns wide enough for all of them.
func (s *Stream) Rows(rows [][]string) error {
	for _, r := range rows {
		s.grow(r)
	}
	for _, r := range rows {
		s.line(r, tint)
	}
	return s.err
}

// grow makes the columns wide enough for a row.
func (s *Stream) grow(row []string) {
	for i, cell := range row {
		if i < len(s.widths) {
			s.widths[i] = max(s.widths[i], utf8.RuneCountInString(Clean(cell)))
		}
	}
}

// line writes one line; the last column has no trailing space.
func (s *Stream) line(cells []string, colour func(string) string) {
	if s.err != nil {
		return
	}
	var b strings.Builder
	b.WriteString(s.p.Indent)
	for i := range s.widths {
		cell := Clean("")
		if i < len(cells) {
			cell = Clean(cells[i])
		}
		pad := strings.Repeat(" ", s.widths[i]-utf8.RuneCountInString(cell))
		if s.right[i] {
			b.WriteString(pad)
		}
		b.WriteString(s.p.paint(cell, colour(cell)))
		if !s.right[i] && i < len(s.widths)-1 {
			b.WriteString(pad)
		}
		if i < len(s.widths)-1 {
			b.WriteString(gap)
		}
	}
	_, s.err = fmt.Fprintln(s.p.W, strings.TrimRight(b.String(), " "))
}

// numeric tells whether a column holds nothing but numbers, which are aligned right.
func numeric(rows [][]string, column int) bool {
	found := false
	for _, r := range rows {
		if column >= len(r) || r[column] == "" || r[column] == "-" {
			continue
		}
		if strings.Trim(r[column], "0123456789") != "" {
			return false
		}
		found = true
	}
	return found
}

// Clean makes one line of a cell without control characters: text written by
// others must not move the cursor of whoever reads it. An empty cell is "-".
func Clean(cell string) string {
	if cell == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError:
			return '?'
		}
		return r
	}, cell)
}

// Colours of a terminal (ECMA-48, select graphic rendition).
const (
	plain  = ""
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// paint puts text in a colour, if the printer has any.
func (p Printer) paint(text, colour string) string {
	if !p.Colour || colour == plain {
		return text
	}
	return colour + text + reset
}

// Word returns text in the colour its meaning has in tables.
func (p Printer) Word(text string) string { return p.paint(text, tint(text)) }

// Title returns text as headings are printed.
func (p Printer) Title(text string) string { return p.paint(text, bold) }

// tint is the colour of the words that say how something is. Other cells stay plain.
func tint(cell string) string {
	switch cell {
	case "ok", "up", "active", "created":
		return green
	case "pending", "waiting", "configured":
		return yellow
	case "missing", "failed", "disconnected", "delete", "deleted", "error":
		return red
	}
	return plain
}
