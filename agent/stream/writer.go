// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api/hoststream"
)

const (
	// reportDelay gathers port states into one report.
	reportDelay = 100 * time.Millisecond
	// queue is how many acknowledgements and tables may wait for a slow
	// controller; after that nothing more is read from it.
	queue = 16
	// tableTimeout bounds the reading of a table from the kernel, and a trace,
	// whose programs the kernel has to check first.
	tableTimeout = 20 * time.Second
	// maxTable bounds the bytes of a table, half of what a message may have:
	// what is larger would end the stream.
	maxTable = maxMessage / 2
	// cellOverhead is more than the framing of a cell or row.
	cellOverhead = 8
)

func rowSize(cells []string) int {
	size := cellOverhead
	for _, c := range cells {
		size += len(c) + cellOverhead
	}
	return size
}

// sender is the way to the controller.
type sender interface {
	Send(*hoststream.HostMessage) error
}

// writer is the one goroutine that answers and reports on a stream.
type writer struct {
	loop   Host
	tables Tables
	remote sender
	acks   chan *hoststream.Ack
	asked  chan *hoststream.TableRequest
	lists  chan *hoststream.RowListRequest
	have   []*hoststream.RowHash // what the host had at the begin; nil once it was listed

	ack    *hoststream.Ack    // last one sent
	report *hoststream.Report // last one sent
}

func newWriter(loop Host, tables Tables, remote sender) *writer {
	return &writer{
		loop: loop, tables: tables, remote: remote,
		acks:  make(chan *hoststream.Ack, queue),
		asked: make(chan *hoststream.TableRequest, queue),
		lists: make(chan *hoststream.RowListRequest, 1),
	}
}

func (w *writer) list(ctx context.Context, q *hoststream.RowListRequest) error {
	select {
	case w.lists <- q:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sendList lists what the host had at the begin of the stream.
func (w *writer) sendList(q *hoststream.RowListRequest) error {
	list := &hoststream.RowList{}
	for _, r := range w.have {
		if slices.Contains(q.Tables, hoststream.TableOf(r.Key)) {
			list.Have = append(list.Have, r)
		}
	}
	w.have = nil
	return w.remote.Send(&hoststream.HostMessage{Body: &hoststream.HostMessage_RowList{RowList: list}})
}

func (w *writer) acknowledge(ctx context.Context, a *hoststream.Ack) error {
	select {
	case w.acks <- a:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *writer) table(ctx context.Context, q *hoststream.TableRequest) error {
	select {
	case w.asked <- q:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run sends until the context ends or sending fails.
func (w *writer) run(ctx context.Context) error {
	changes, err := w.loop.Listen(ctx)
	if err != nil {
		return err
	}
	defer w.loop.Leave(changes)
	var settle <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-w.acks:
			err = w.sendAck(a)
		case q := <-w.lists:
			err = w.sendList(q)
		case q := <-w.asked:
			err = w.sendTable(ctx, q)
		case <-changes.Changed:
			if settle == nil {
				settle = time.After(reportDelay)
			}
		case <-settle:
			settle = nil
			err = w.sendLatest(ctx)
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

// sendLatest sends the report, and the acknowledgement again if the rows that
// are not in the kernel have changed since.
func (w *writer) sendLatest(ctx context.Context) error {
	ack, report, err := w.loop.Latest(ctx)
	if err != nil {
		return err
	}
	// An acknowledgement for a delta is only sent after those before it.
	if w.ack != nil && ack != nil && ack.Sequence == w.ack.Sequence {
		if err := w.sendAck(ack); err != nil {
			return err
		}
	}
	if proto.Equal(report, w.report) {
		return nil
	}
	w.report = report
	return w.remote.Send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Report{Report: report}})
}

func (w *writer) sendAck(a *hoststream.Ack) error {
	if proto.Equal(a, w.ack) {
		return nil
	}
	w.ack = a
	return w.remote.Send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Ack{Ack: a}})
}

func (w *writer) sendTable(ctx context.Context, q *hoststream.TableRequest) error {
	limited, cancel := context.WithTimeout(ctx, tableTimeout)
	defer cancel()
	reply := &hoststream.TableReply{Id: q.Id}
	t, err := w.tables(limited, q.Table)
	if err != nil {
		reply.Error = err.Error()
	}
	reply.Columns, reply.LeftOut = t.Columns, uint64(t.LeftOut)
	size := 0
	for i, row := range t.Rows {
		if size += rowSize(row); size > maxTable {
			reply.LeftOut += uint64(len(t.Rows) - i)
			break
		}
		reply.Rows = append(reply.Rows, &hoststream.TableRow{Cells: row})
	}
	return w.remote.Send(&hoststream.HostMessage{Body: &hoststream.HostMessage_TableReply{TableReply: reply}})
}
