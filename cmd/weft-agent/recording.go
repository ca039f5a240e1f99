// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/weft-network/weft/agent/records"
	"github.com/weft-network/weft/vrouter"
)

// The words of --record.
const (
	recordDrops    = "drops"
	recordFirst    = "first"
	recordSessions = "sessions"
	recordLog      = "log"
)

// recordFlags say what is recorded for export, where it goes, and how much of
// it. Without them frames are recorded only while somebody asks for them.
type recordFlags struct {
	what       []string
	only       []string
	oneOf      uint32
	rate       uint32
	every      time.Duration
	file       string
	fileSize   int64
	files      int
	collector  string
	enterprise uint32
	refused    bool
	log        logFlags
}

// shareBurst is for how many seconds a port that was silent may log at once.
const shareBurst = 5

// logFlags say where what rules log is kept on this host, and how much of it.
type logFlags struct {
	file     string
	fileSize int64
	files    int
	rate     uint32
	share    uint32
}

func (f *logFlags) add(s *pflag.FlagSet) {
	s.StringVar(&f.file, "policy-log", "", "file for what rules of policy log, JSON lines, - for the standard output (default: policy-log/records in the state directory)")
	s.Int64Var(&f.fileSize, "policy-log-size", 16<<20, "bytes after which that file is begun anew; 0: there is none")
	s.IntVar(&f.files, "policy-log-files", 4, "how many of the former files are kept")
	s.Uint32Var(&f.rate, "policy-log-rate", 1000, "most packets of which is recorded, a second, what rules log")
	s.Uint32Var(&f.share, "policy-log-port-rate", 100, "most of them, a second, that are logged at one port, and five times as many at once")
}

// options add what rules log, which is always recorded.
func (f *logFlags) options(o *records.Options, file string, log *slog.Logger) error {
	if f.rate == 0 || f.share == 0 || f.fileSize < 0 || f.files < 0 {
		return fmt.Errorf("read --policy-log-rate, --policy-log-port-rate, --policy-log-size and --policy-log-files: rates are at least 1, and the others are not negative")
	}
	o.Always.Logged = true
	o.Limits.LoggedInterval, o.Limits.LoggedBurst = time.Second/time.Duration(f.rate), f.rate
	o.Limits.ShareInterval, o.Limits.ShareBurst = time.Second/time.Duration(f.share), shareBurst*f.share
	if f.fileSize > 0 {
		o.LogFile = cmp.Or(f.file, file)
		o.Log = records.NewLog(o.LogFile, f.fileSize, f.files, log)
	}
	return nil
}

func (f *recordFlags) add(s *pflag.FlagSet) {
	s.StringSliceVar(&f.what, "record", nil, "what is recorded and exported: drops, sessions, first (packets of conversations), log (what rules log); repeatable (default: nothing)")
	s.StringSliceVar(&f.only, "record-only", nil, "export only what matches: project=, network=, port= and tag=TYPE= of either end, rule=, protocol=, verdict=; repeatable: of one key any of the values, of several keys all")
	s.BoolVar(&f.refused, "remember-drops", false, "record dropped packets also while nobody asks, and keep the last 8192: weft policy diff then knows who was refused before")
	s.Uint32Var(&f.oneOf, "record-one-of", 1, "of so many dropped and first packets one is recorded, at random")
	s.Uint32Var(&f.rate, "record-rate", 1000, "most dropped packets, and most first ones, that are recorded a second")
	s.DurationVar(&f.every, "record-update", 5*time.Minute, "how often a session that goes on is exported")
	s.StringVar(&f.file, "record-file", "", "file for JSON lines, - for the standard output")
	s.Int64Var(&f.fileSize, "record-file-size", 64<<20, "bytes after which the file is begun anew")
	s.IntVar(&f.files, "record-files", 4, "how many of the former files are kept")
	s.StringVar(&f.collector, "record-ipfix", "", "udp://host:port or tcp://host:port of a collector for IPFIX")
	s.Uint32Var(&f.enterprise, "record-ipfix-enterprise", 0, "IANA's number of the enterprise under which names are sent by IPFIX (default: they are not)")
	f.log.add(s)
}

// options reads the flags. Without a place to go to nothing is recorded for it.
func (f *recordFlags) options(host, logFile string, interfaces func() (map[int]string, error), log *slog.Logger) (o records.Options, err error) {
	if o, err = f.exported(host, interfaces, log); err != nil {
		return o, err
	}
	err = f.log.options(&o, logFile, log)
	return o, err
}

func (f *recordFlags) exported(host string, interfaces func() (map[int]string, error), log *slog.Logger) (o records.Options, err error) {
	o = records.Options{Host: host, Interfaces: interfaces, Limits: limits(f.oneOf, f.rate)}
	for _, word := range f.what {
		if !slices.Contains([]string{recordDrops, recordFirst, recordSessions, recordLog}, word) {
			return o, fmt.Errorf("read --record: %q is none of %s, %s, %s, %s", word, recordDrops, recordFirst, recordSessions, recordLog)
		}
	}
	if f.oneOf == 0 || f.rate == 0 || f.every <= 0 {
		return o, fmt.Errorf("read --record-one-of, --record-rate and --record-update: they are at least 1")
	}
	export := f.file != "" || f.collector != ""
	if export != (len(f.what) > 0) {
		return o, fmt.Errorf("read --record: it says what goes to --record-file or --record-ipfix, and needs one of them, as they need it")
	}
	o.Always.Drops = f.refused
	if !export {
		return o, nil
	}
	only, err := records.ParseFilter(f.only)
	if err != nil {
		return o, fmt.Errorf("read --record-only: %w", err)
	}
	told := vrouter.Recording{Drops: slices.Contains(f.what, recordDrops), First: slices.Contains(f.what, recordFirst), Logged: slices.Contains(f.what, recordLog)}
	if slices.Contains(f.what, recordSessions) {
		told.Counts, o.Sessions = true, f.every
	}
	o.Always = told
	o.Always.Drops = told.Drops || f.refused
	o.Export, err = records.NewExporter(records.Export{
		Host: host, File: f.file, FileSize: f.fileSize, Files: f.files, Collector: f.collector, Enterprise: f.enterprise, Only: only, Kinds: told,
	}, log)
	return o, err
}

// limits are those of the packet path: a burst of a second's records.
func limits(oneOf, rate uint32) vrouter.Recording {
	return vrouter.Recording{OneOf: oneOf, Interval: time.Second / time.Duration(max(1, rate)), Burst: rate}
}
