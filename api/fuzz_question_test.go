// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// asks reads a question, and the one that it is written as.
func asks[Q any](t *testing.T, query string, parse func(string) (Q, error), table func(Q) string) (q Q, taken bool) {
	t.Helper()
	q, err := parse(query)
	if err != nil {
		return q, false
	}
	_, written, _ := strings.Cut(table(q), "?")
	if again, err := parse(written); err != nil || !reflect.DeepEqual(again, q) {
		t.Errorf("%q is %+v; written as %q it is %+v (%v)", query, q, written, again, err)
	}
	return q, true
}

// FuzzCaptureQuestion: a question that is taken has its bounds, and is written so that
// the host reads the same.
func FuzzCaptureQuestion(f *testing.F) {
	for _, s := range []string{
		"id=a&port=d:p:web&filter=tcp+port+80&direction=in&length=96&one-of=10&count=5&duration=1m0s&begin=true&after=7&stop=true",
		"id=a&port=b&length=99999999999&one-of=18446744073709551615", "id=a&port=b&duration=-1s", "id=a&port=b&new=1", "id=a&id=b&port=c", "%zz", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, taken := asks(t, query, ParseCaptureQuestion, CaptureQuestion.Table)
		if taken && (q.ID == "" || len(q.ID) > 64 || q.Port == "" || q.Length < 0 || q.Length > 1<<16 || q.OneOf > 1<<31 || q.Duration < 0) {
			t.Errorf("%q is taken as %+v", query, q)
		}
	})
}

// FuzzRecordQuestion: the same of a question for records.
func FuzzRecordQuestion(f *testing.F) {
	for _, s := range []string{"after=7&since=5m0s&record=drop&port=d:p:web&network=n&project=p&verdict=dropped", "since=-1s", "after=x", "new=1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, taken := asks(t, query, ParseRecordQuestion, func(q RecordQuestion) string { return q.Table("records") })
		if taken && q.Since < 0 {
			t.Errorf("%q is taken as %+v", query, q)
		}
	})
}

// FuzzTraceQuestion: the same of a question for a trace, which has what its kind needs.
func FuzzTraceQuestion(f *testing.F) {
	for _, s := range []string{
		"port=d:p:web&from=10.0.0.1&to=::ffff:10.0.0.2&protocol=tcp&sport=1&dport=65535&reply=true&hops=3&size=1500",
		"host=true&to=fd00::1&reply-to-host=true", "port=a&to-mac=02-00-00-00-00-01&ethertype=2054", "frame=00ff&vni=16777215&source=192.0.2.1&frame-size=60",
		"frame=00&uplink=true", "frame=00&labelled=true", "port=a&to=fe80::1%25eth0&icmp=3/4", "vni=16777216", "port=a", "new=1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, taken := asks(t, query, ParseTraceQuestion, TraceQuestion.Table)
		if taken && (q.VNI >= 1<<24 || q.Frame == "" && !q.To.IsValid() && q.ToMAC == "" || q.Frame != "" && !q.Uplink && !q.Labelled && !q.Source.IsValid()) {
			t.Errorf("%q is taken as %+v", query, q)
		}
	})
}

// FuzzCapture: the answer of a host is read or refused, and written again it says the same.
func FuzzCapture(f *testing.F) {
	table, err := CaptureTable(CaptureState{Interface: "tap1", Began: time.Unix(1e9, 0).UTC(), Sequence: 1, Matched: 2}, []CapturedFrame{{Sequence: 1, Time: time.Unix(1e9, 5).UTC(), Length: 60, Bytes: []byte{1, 2}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(table.Rows[0][0], table.Rows[1][0])
	f.Add(`{"began":"9999-12-31T23:59:59+23:59"}`, `{"bytes":null}`)
	f.Add("null", "[]")
	f.Fuzz(func(t *testing.T, first, second string) {
		state, frames, err := ParseCapture(Table{Rows: [][]string{{first}, {second}}})
		if err != nil {
			return
		}
		written, err := CaptureTable(state, frames)
		if err != nil || len(written.Rows) != 2 {
			t.Fatalf("write what was read: %d rows, %v", len(written.Rows), err)
		}
		if state, frames, err = ParseCapture(written); err != nil {
			t.Fatalf("read what was written: %v", err)
		}
		if again, err := CaptureTable(state, frames); err != nil || !reflect.DeepEqual(again, written) {
			t.Errorf("%q became %q (%v)", written.Rows, again.Rows, err)
		}
	})
}

// FuzzRecords: the same of records.
func FuzzRecords(f *testing.F) {
	f.Add(`{"record":"drop","verdict":"dropped","time":"2026-01-02T03:04:05Z"}`)
	f.Add(`{"source":{"id":"a","workload":"b"},"sequence":18446744073709551615}`)
	f.Add("null")
	f.Fuzz(func(t *testing.T, row string) {
		all, err := ParseRecords(Table{Rows: [][]string{{row}}})
		if err != nil {
			return
		}
		written, err := RecordsTable(all)
		if err != nil || len(written.Rows) != 1 {
			t.Fatalf("write what was read: %d rows, %v", len(written.Rows), err)
		}
		if all, err = ParseRecords(written); err != nil {
			t.Fatalf("read what was written: %v", err)
		}
		if again, err := RecordsTable(all); err != nil || !reflect.DeepEqual(again, written) {
			t.Errorf("%q became %q (%v)", written.Rows, again.Rows, err)
		}
	})
}

// FuzzWords: what is read of one word is what is written as it.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"200", "200,202-204", "100-599", "+200", "99", "3/4", "255/255", "256", "8", "01234567-89ab-4def-8123-456789abcdef", "d:p:n", "a-b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if r := ParseRef(text); r.String() != text {
			t.Errorf("%q is a reference to %q", text, r)
		}
		if kind, code, err := ICMPMessage(text); err == nil {
			if k, c, err := ICMPMessage(fmt.Sprintf("%d/%d", kind, code)); err != nil || k != kind || c != code {
				t.Errorf("%q is %d/%d, and that is %d/%d (%v)", text, kind, code, k, c, err)
			}
		}
		codes, err := ParseHTTPCodes(text)
		if err != nil {
			return
		}
		var parts []string
		for _, r := range codes {
			if r[0] < 100 || r[1] > 599 || !codes.Has(r[0]) || !codes.Has(r[1]) {
				t.Errorf("%q has %v", text, r)
			}
			parts = append(parts, fmt.Sprintf("%d-%d", r[0], r[1]))
		}
		if again, err := ParseHTTPCodes(strings.Join(parts, ",")); err != nil || !reflect.DeepEqual(again, codes) {
			t.Errorf("%q is %v, and that is %v (%v)", text, codes, again, err)
		}
	})
}
