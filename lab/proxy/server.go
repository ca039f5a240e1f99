// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/weft-network/weft/lab/namespace"
)

// serve starts a member inside a namespace, which says who it is and what it was sent.
func serve(ns, name string) (stop func(), err error) {
	var l net.Listener
	if err := namespace.Do(ns, func() (err error) {
		l, err = net.Listen("tcp", "[::]:8080")
		return err
	}); err != nil {
		return nil, fmt.Errorf("serve in %s: %w", ns, err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			for range 100 {
				fmt.Fprintln(w, name)
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		}
		fmt.Fprintf(w, "%s for %s as %s\n", name, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // until it is closed
	}()
	return func() { s.Close(); <-done }, nil
}
