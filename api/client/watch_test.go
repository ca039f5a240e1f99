// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// quiet keeps the handshakes that should fail out of the output.
var quiet = log.New(io.Discard, "", 0)

// script is a server that answers each connection of a watch with its lines
// and then breaks it; the last one stays open.
type script struct {
	mu      sync.Mutex
	answers []string
	queries []string
}

func (s *script) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := len(s.queries)
	s.queries = append(s.queries, r.URL.RawQuery)
	s.mu.Unlock()
	answer := s.answers[min(n, len(s.answers)-1)]
	if status := 0; strings.HasPrefix(answer, "status ") {
		fmt.Sscanf(answer, "status %d", &status)
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"message":"watch: no"}`, map[int]string{410: "gone", 403: "forbidden", 503: "unavailable"}[status])
		return
	}
	for _, line := range strings.Fields(answer) {
		io.WriteString(w, event(line)+"\n")
	}
	w.(http.Flusher).Flush()
	if n < len(s.answers)-1 {
		panic(http.ErrAbortHandler)
	}
	<-r.Context().Done()
}

// event writes put5a, delete6b, bookmark7 as JSON.
func event(word string) string {
	kind := strings.TrimRight(word, "0123456789abc")
	if kind == "slow" {
		return `{"code":"unavailable","message":"watch: the reader is too slow"}`
	}
	rest := strings.TrimPrefix(word, kind)
	revision := strings.TrimRight(rest, "abc")
	if kind == api.EventBookmark {
		return fmt.Sprintf(`{"type":"bookmark","revision":%s}`, revision)
	}
	return fmt.Sprintf(`{"type":%q,"revision":%s,"kind":"network","object":{"kind":"network","meta":{"name":%q},"spec":{}}}`, kind, revision, strings.TrimPrefix(rest, revision))
}

// TestWatchResumes: which events come and from where each connection resumes.
func TestWatchResumes(t *testing.T) {
	for _, x := range []struct {
		name     string
		revision int64
		answers  []string
		events   string   // until the last one, then the consumer stops
		queries  []string // revision of each connection
		fails    api.Code
	}{
		{"from nothing", 0, []string{"put3a put5b bookmark9 put10a"}, "put3a put5b bookmark9 put10a", []string{""}, ""},
		{"after a break, from the last complete revision", 0, []string{"bookmark9 put10a put10b", "put10a put10b delete11a"},
			"bookmark9 put10a put10b put10a put10b delete11a", []string{"", "9"}, ""},
		{"a later event completes the earlier revision", 0, []string{"bookmark9 put10a put11b", "put11b put12c"},
			"bookmark9 put10a put11b put11b put12c", []string{"", "10"}, ""},
		{"a bookmark completes its revision", 0, []string{"bookmark9 put10a bookmark12", "status 503", "put13c"},
			"bookmark9 put10a bookmark12 put13c", []string{"", "12", "12"}, ""},
		{"too slow a reader resumes", 0, []string{"bookmark9 put10a slow", "put10a put11b"}, "bookmark9 put10a put10a put11b", []string{"", "9"}, ""},
		{"from a revision", 7, []string{"put8a", "put8a put9b"}, "put8a put8a put9b", []string{"7", "7"}, ""},
		{"before the first bookmark there is no way back", 0, []string{"put3a", "x"}, "put3a", []string{""}, api.CodeUnavailable},
		{"compacted", 7, []string{"put8a put9b", "status 410", "x"}, "put8a put9b", []string{"7", "8"}, api.CodeGone},
		{"refused", 0, []string{"status 403", "x"}, "", []string{""}, api.CodeForbidden},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := &script{answers: x.answers}
			c := serve(t, s.serve)
			var got []string
			var failure error
			want := strings.Fields(x.events)
			for e, err := range c.Watch(t.Context(), client.WatchOptions{Kinds: []api.Kind{api.KindNetwork}, Revision: x.revision}) {
				if err != nil {
					failure = err
					break
				}
				word := fmt.Sprintf("%s%d", e.Type, e.Revision)
				if e.Object != nil {
					word += e.Object.(*api.Network).Meta.Name
				}
				got = append(got, word)
				if len(got) == len(want) && x.fails == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("want %v, got %v (%v)", want, got, failure)
			}
			var e *api.Error
			if errors.As(failure, &e) != (x.fails != "") || e != nil && e.Code != x.fails {
				t.Errorf("want failure %q, got %v", x.fails, failure)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for i, q := range s.queries {
				want := "kind=network"
				if x.queries[i] != "" {
					want += "&revision=" + x.queries[i]
				}
				if q != want {
					t.Errorf("connection %d asks %q, want %q", i, q, want)
				}
			}
			if len(s.queries) != len(x.queries) {
				t.Errorf("%d connections, want %d", len(s.queries), len(x.queries))
			}
		})
	}
}

// TestWatchEndsWithItsContext: quietly, and without a goroutine that waits.
func TestWatchEndsWithItsContext(t *testing.T) {
	s := &script{answers: []string{"bookmark9"}}
	c := serve(t, s.serve)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range c.Watch(ctx, client.WatchOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}
