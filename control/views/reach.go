// SPDX-License-Identifier: Apache-2.0

package views

import (
	"context"
	"errors"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/reach"
)

// Reach says exactly what policy lets some workloads say to others, of those
// that the asker sees. Each is named as KIND/NAME.
func (v *Views) Reach(ctx context.Context, seen api.Snapshot, from, to string) (api.Reach, error) {
	p, err := v.planOf(ctx, seen)
	if err != nil {
		return api.Reach{}, err
	}
	answer := api.Reach{Revision: p.Version.Revision, Rows: []api.ReachRow{}}
	m := reach.New(p.Policy)
	if done, err := outside(ctx, m, seen, from, to, &answer); done || err != nil {
		return answer, err
	}
	senders, err := m.Find(seen, from)
	if err != nil {
		return answer, err
	}
	receivers, err := m.Find(seen, to)
	if err != nil {
		return answer, err
	}
	answer.NotExact = reach.NotExact(senders, receivers)
	answer.Rows, err = m.Rows(ctx, senders, receivers)
	return answer, ofOurs("work out what "+from+" may say to "+to, err)
}

// outside answers where one of the ends is addresses.
func outside(ctx context.Context, m *reach.Model, seen api.Snapshot, from, to string, answer *api.Reach) (done bool, err error) {
	workloads, r, direction, is, err := reach.OutsideOf(from, to)
	if !is || err != nil {
		return is, err
	}
	ports, err := m.Find(seen, workloads)
	if err == nil {
		answer.NotExact = reach.NotExact(ports, nil)
		answer.Rows, err = m.Outside(ctx, ports, direction, r)
	}
	return true, ofOurs("work out what "+from+" may say to "+to, err)
}

// Check says which assertions hold. With changes, whether they would if these
// objects were as the changes say; seen is then how the asker would see them.
func (v *Views) Check(ctx context.Context, seen api.Snapshot, assertions []api.Assertion, changes *api.Changes) (api.Check, error) {
	p, err := v.planOf(ctx, seen)
	if err != nil {
		return api.Check{}, err
	}
	answer := api.Check{Revision: p.Version.Revision, Verdicts: make([]api.Checked, 0, len(assertions))}
	of := p.Policy
	if changes != nil {
		of = thoughtOf(p.Policy, changes)
		seen = Changed(seen, changes)
	}
	m := reach.New(of)
	for _, a := range assertions {
		checked, err := m.Check(ctx, seen, a)
		if err != nil {
			return answer, ofOurs("check assertions", err)
		}
		answer.Verdicts = append(answer.Verdicts, checked)
	}
	return answer, nil
}

// Judge says which conversations would be judged otherwise after changes.
func (v *Views) Judge(ctx context.Context, seen api.Snapshot, all []api.Conversation, changes *api.Changes) (api.Judgements, error) {
	p, err := v.planOf(ctx, seen)
	if err != nil {
		return api.Judgements{}, err
	}
	answer, err := reach.Judge(reach.New(p.Policy), reach.New(thoughtOf(p.Policy, changes)), seen, Changed(seen, changes), all)
	answer.Revision = p.Version.Revision
	return answer, ofOurs("judge conversations", err)
}

// ofOurs gives errors that are none of the asker's the code of a fault.
func ofOurs(what string, err error) error {
	var known *api.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return api.Errorf(api.CodeInternal, "%s: %v", what, err)
}
