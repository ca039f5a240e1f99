// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
)

const (
	// auditTimeout bounds how long other controllers have to search their audit;
	// it leaves time to answer who asked, who waits at least 25 s.
	auditTimeout = 15 * time.Second
	// auditsAtOnce bounds how many are asked together.
	auditsAtOnce = 16
)

// Name is how others call this controller.
func (s *Service) Name() string { return s.options.name() }

// Audit asks all other controllers that are known to run for the entries that
// they keep themselves, and says who was asked and who did not answer.
func (s *Service) Audit(ctx context.Context, q api.AuditQuery) ([]api.AuditEntry, []api.AuditController) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	q.Local = true // a question goes one step
	others := s.listeners()
	names := slices.Sorted(maps.Keys(others))
	answers, failures := make([]api.Audit, len(names)), make([]error, len(names))
	var wait sync.WaitGroup
	slots := make(chan struct{}, auditsAtOnce)
	for i, name := range names {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			answers[i], failures[i] = s.askAudit(ctx, others[name].API, q)
		})
	}
	wait.Wait()
	return mergeAudits(s.Name(), names, answers, failures)
}

func (s *Service) askAudit(ctx context.Context, addresses []string, q api.AuditQuery) (api.Audit, error) {
	if s.options.AskAudit == nil || len(addresses) == 0 {
		return api.Audit{}, api.Errorf(api.CodeUnavailable, "it does not say where its API is: ask it directly")
	}
	return s.options.AskAudit(ctx, addresses, q)
}

// mergeAudits puts together what controllers answered who were called by these
// names. One that was started again is known by its former name too for a
// while, answers under its present one to both, and counts once; and so does
// this one, whose name is own.
func mergeAudits(own string, names []string, answers []api.Audit, failures []error) (all []api.AuditEntry, asked []api.AuditController) {
	seen := map[string]bool{own: true}
	for i, name := range names {
		if failures[i] != nil {
			asked = append(asked, api.AuditController{Name: name, Error: failures[i].Error()})
			continue
		}
		if who := answers[i].Controllers; len(who) == 1 && who[0].Name != "" {
			name = who[0].Name
		}
		if !seen[name] {
			seen[name] = true
			asked = append(asked, api.AuditController{Name: name})
			all = append(all, answers[i].Items...)
		}
	}
	return all, asked
}
