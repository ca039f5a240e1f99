// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/http"
	"time"
)

const (
	mediaBackup = "application/octet-stream"
	// backupLife bounds a whole backup: 8 GiB at 10 MB/s.
	backupLife = 20 * time.Minute
)

// backup sends everything the store holds. What breaks off in the middle has no
// checksum at its end.
func (s *Server) backup(w http.ResponseWriter, r *request) error {
	if err := onlyWeft(r.who, "back up"); err != nil {
		s.audit(r.who, "backup", "", "store", 0, err)
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), backupLife)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	out := &pieces{w: w, control: control, timeout: s.limits.piece}
	err := s.store.Backup(ctx, out)
	s.audit(r.who, "backup", "", "store", 0, err)
	if err != nil && out.begun {
		panic(http.ErrAbortHandler) // too late for an error that the client would read as one
	}
	return err
}

// pieces writes a long reply, each piece within a time of its own.
type pieces struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	begun   bool
}

func (p *pieces) Write(data []byte) (int, error) {
	if !p.begun {
		p.begun = true
		p.w.Header().Set("Content-Type", mediaBackup)
		p.w.Header().Set("Cache-Control", "no-store")
	}
	if err := p.control.SetWriteDeadline(time.Now().Add(p.timeout)); err != nil {
		return 0, err
	}
	return p.w.Write(data)
}
