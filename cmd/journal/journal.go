// SPDX-License-Identifier: Apache-2.0

// Package journal is how Weft's processes log: lines on standard error, as text
// or JSON, with the keys of doc/logs.md.
package journal

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// Options are the flags of every process that logs.
type Options struct{ Format, Level string }

// Flags adds the flags to a process.
func (o *Options) Flags(f *pflag.FlagSet) {
	f.StringVar(&o.Format, "log-format", "text", "text or json")
	f.StringVar(&o.Level, "log-level", "info", "debug, info, warn or error: the least that is logged")
}

// New returns what a process logs to; process is its name, on each line.
func New(o Options, process string, to io.Writer) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(o.Level)); err != nil {
		return nil, fmt.Errorf("read --log-level: %q is not debug, info, warn or error", o.Level)
	}
	h := &slog.HandlerOptions{Level: least}
	switch o.Format {
	case "text":
		return slog.New(slog.NewTextHandler(to, h)).With("process", process), nil
	case "json":
		return slog.New(slog.NewJSONHandler(to, h)).With("process", process), nil
	}
	return nil, fmt.Errorf("read --log-format: %q is not text or json", o.Format)
}
