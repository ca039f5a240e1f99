// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

const (
	// tableTimeout bounds how long an agent may take to print a table.
	tableTimeout = 5 * time.Second
	// traceTimeout is for a trace, whose programs the host's kernel has to check first.
	traceTimeout = 20 * time.Second
	// maxQuestions bounds the tables asked of one host at a time.
	maxQuestions = 16
)

// tables are the live tables one host was asked for.
type tables struct {
	questions chan *hoststream.TableRequest // read by the session's send
	closed    chan struct{}

	mu      sync.Mutex // guards everything that follows
	last    uint64
	waiting map[uint64]chan *hoststream.TableReply // each holds one reply
}

func newTables() *tables {
	return &tables{
		questions: make(chan *hoststream.TableRequest, maxQuestions),
		closed:    make(chan struct{}),
		waiting:   map[uint64]chan *hoststream.TableReply{},
	}
}

// close ends all waits. It is called once.
func (t *tables) close() { close(t.closed) }

// answer hands a reply to who waits for it; late replies are dropped.
func (t *tables) answer(reply *hoststream.TableReply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.waiting[reply.Id]; w != nil {
		delete(t.waiting, reply.Id)
		w <- reply
	}
}

// ask registers a question, or returns nil if the host has too many already.
func (t *tables) ask(table string) (uint64, chan *hoststream.TableReply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) >= maxQuestions {
		return 0, nil
	}
	t.last++
	w := make(chan *hoststream.TableReply, 1)
	select {
	case t.questions <- &hoststream.TableRequest{Id: t.last, Table: table}:
	default:
		return 0, nil
	}
	t.waiting[t.last] = w
	return t.last, w
}

func (t *tables) forget(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waiting, id)
}

// Table asks a host for one of its tables as it is now.
func (s *Server) Table(ctx context.Context, host, table string) (api.Table, error) {
	s.mu.Lock()
	n := s.sessions[host]
	s.mu.Unlock()
	name, _, _ := strings.Cut(table, "?") // without the question that it is made for
	fail := func(code api.Code, format string, args ...any) (api.Table, error) {
		return api.Table{}, api.Errorf(code, "read table %s: "+format, append([]any{name}, args...)...).About(api.KindHost, host, "")
	}
	if n == nil {
		return fail(api.CodeUnavailable, "host %s is not connected to this controller", host)
	}
	id, answer := n.tables.ask(table)
	if answer == nil {
		return fail(api.CodeUnavailable, "host %s was asked for %d tables and has not answered; try again", n.host, maxQuestions)
	}
	defer n.tables.forget(id)
	limit := tableTimeout
	if strings.HasPrefix(table, api.HostTableTrace) {
		limit = traceTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case reply := <-answer:
		if reply.Error != "" {
			return fail(api.CodeInvalid, "host %s: %s", n.host, reply.Error)
		}
		return tableOf(reply), nil
	case <-n.tables.closed:
		return fail(api.CodeUnavailable, "host %s disconnected", n.host)
	case <-ctx.Done():
		return fail(api.CodeTimeout, "host %s did not answer in time: %v", n.host, ctx.Err())
	}
}

func tableOf(reply *hoststream.TableReply) api.Table {
	t := api.Table{Columns: reply.Columns, Rows: make([][]string, len(reply.Rows)), LeftOut: int(reply.LeftOut)}
	for i, r := range reply.Rows {
		t.Rows[i] = r.Cells
	}
	return t
}

// onlyHere marks questions that must not be passed on to other controllers.
type onlyHere struct{}

// OnlyHere returns a context for questions that this controller answers by
// itself or not at all.
func OnlyHere(ctx context.Context) context.Context { return context.WithValue(ctx, onlyHere{}, true) }

// IsOnlyHere tells whether a context is of OnlyHere.
func IsOnlyHere(ctx context.Context) bool { return ctx.Value(onlyHere{}) != nil }
