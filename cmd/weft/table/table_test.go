// SPDX-License-Identifier: Apache-2.0

package table_test

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/weft/table"
)

func TestPrint(t *testing.T) {
	cases := []struct {
		name    string
		printer table.Printer
		table   api.Table
		want    string
	}{
		{
			name:  "columns align, numbers to the right, the last has no trailing space",
			table: api.Table{Columns: []string{"NAME", "COUNT", "NOTE"}, Rows: [][]string{{"a", "7", "x"}, {"longer", "1234", ""}, {"b"}}},
			want:  "NAME    COUNT  NOTE\na           7  x\nlonger   1234  -\nb           -  -\n",
		},
		{
			name:  "letters beyond ASCII count once",
			table: api.Table{Columns: []string{"A", "B"}, Rows: [][]string{{"näß", "1x"}, {"abcd", "2x"}}},
			want:  "A     B\nnäß   1x\nabcd  2x\n",
		},
		{
			name:  "text cannot drive the terminal or break lines",
			table: api.Table{Columns: []string{"A"}, Rows: [][]string{{"\x1b[31mred\nnext\r\u202e"}}},
			want:  "A\n?[31mred next??\n",
		},
		{
			name:    "colour says how things are and does not disturb the columns",
			printer: table.Printer{Colour: true},
			table:   api.Table{Columns: []string{"S", "T"}, Rows: [][]string{{"ok", "x"}, {"missing", "y"}}},
			want:    "\x1b[1mS\x1b[0m        \x1b[1mT\x1b[0m\n\x1b[32mok\x1b[0m       x\n\x1b[31mmissing\x1b[0m  y\n",
		},
		{
			name:  "no rows: the header alone",
			table: api.Table{Columns: []string{"A", "B"}},
			want:  "A  B\n",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			c.printer.W = &b
			if err := c.printer.Print(c.table); err != nil {
				t.Fatal(err)
			}
			if b.String() != c.want {
				t.Errorf("want:\n%q\ngot:\n%q", c.want, b.String())
			}
		})
	}
}
