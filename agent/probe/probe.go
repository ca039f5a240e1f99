// SPDX-License-Identifier: Apache-2.0

// Package probe makes single tries of workloads with real sockets: by the
// host's own TCP/IP through the host path, and, of what that does not carry
// (ping, UDP), by frames on the workload's own interface.
package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weft-network/weft/agent/health"
	"github.com/weft-network/weft/api"
)

// maxAnswer bounds what is read of an answer: its head is all that counts.
const maxAnswer = 64 << 10

// Prober makes tries.
type Prober struct{}

// Try implements health.Prober.
func (Prober) Try(ctx context.Context, w health.Wanted) health.Outcome {
	err := fmt.Errorf("this agent cannot try by %s: upgrade it", w.Type)
	switch w.Type {
	case "ping", "udp":
		err = byFrames(ctx, w)
	case "tcp", "tls", "http", "https":
		err = byConnection(ctx, w)
	}
	if err != nil {
		return failure(err, w.Timeout)
	}
	return health.Outcome{Good: true}
}

// byConnection opens a connection and asks what is to be asked by it.
func byConnection(ctx context.Context, w health.Wanted) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", netip.AddrPortFrom(w.Alias, w.TransportPort).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // fails on a closed one, which has ended
	defer stop()
	if w.Type == "tls" || w.Type == "https" {
		// Whether the workload has its certificate from somebody is not asked: it may have made it.
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: serverName(w.HTTP.Host)})
		if err := secure.HandshakeContext(ctx); err != nil {
			return notTLS{err}
		}
		conn = secure
	}
	if w.Type == "http" || w.Type == "https" {
		return ask(conn, w)
	}
	return nil
}

// notTLS is a handshake that failed.
type notTLS struct{ error }

func (e notTLS) Unwrap() error { return e.error }

// serverName is the host without a port.
func serverName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// ask sends a request and looks at the status of the answer.
func ask(conn net.Conn, w health.Wanted) error {
	codes, err := api.ParseHTTPCodes(w.HTTP.Codes)
	if err != nil {
		return err
	}
	host := w.HTTP.Host
	if host == "" && w.HTTP.Version != "1.0" {
		host = netip.AddrPortFrom(w.Address, w.TransportPort).String()
	}
	request := fmt.Sprintf("%s %s HTTP/%s\r\n", w.HTTP.Method, w.HTTP.Path, w.HTTP.Version)
	if host != "" {
		request += "Host: " + host + "\r\n"
	}
	if strings.ContainsAny(w.HTTP.Method+w.HTTP.Path+w.HTTP.Version+host, "\r\n") { // the API takes no such
		return errors.New("the request would not be one")
	}
	request += "User-Agent: weft-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	reader := bufio.NewReader(io.LimitReader(conn, maxAnswer))
	answer, err := http.ReadResponse(reader, &http.Request{Method: w.HTTP.Method})
	if err != nil {
		var network net.Error
		if errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return err
		}
		return errors.New("the answer is not HTTP")
	}
	answer.Body.Close()
	if !codes.Has(answer.StatusCode) {
		return fmt.Errorf("HTTP %d, wants %s", answer.StatusCode, w.HTTP.Codes)
	}
	return nil
}

// ours are the errors of a host that lacks something itself: files, memory,
// ports, or leave to send.
var ours = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN, syscall.EADDRNOTAVAIL, syscall.EPERM, syscall.EACCES}

// failure is the outcome of a try that ended with an error.
func failure(err error, patience time.Duration) health.Outcome {
	if slices.ContainsFunc(ours, func(e error) bool { return errors.Is(err, e) }) {
		return health.Outcome{Unmade: true, Why: "its host cannot try it now: " + err.Error()}
	}
	return health.Outcome{Why: reason(err, patience)}
}

// reason says in a few words why a try failed: always the same ones for the
// same cause.
func reason(err error, patience time.Duration) string {
	var handshake notTLS
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "no answer within " + words(patience)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed before an answer"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "the host has no way to it"
	case errors.As(err, &handshake):
		return "no TLS: " + handshake.Error()
	}
	return err.Error()
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// words is a time as people write it.
func words(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%g s", d.Seconds())
}
