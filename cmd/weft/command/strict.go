// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const (
	// defaultHold is how long a strict change waits for hosts: some seconds are
	// enough for those that are connected.
	defaultHold = 30 * time.Second
	// holdPoll is how often it is asked whether a hold has ended.
	holdPoll = 100 * time.Millisecond
	// holdSlack is how much longer than it may last a hold is waited for: a
	// controller may just take over from another one.
	holdSlack = 30 * time.Second
	// maxNamedHosts are named in one line.
	maxNamedHosts = 10
)

// strictly is how a change is made that is to hold at all hosts at once.
type strictly struct {
	on, withoutAbsent bool
	lasts             time.Duration
}

func (o *strictly) addFlags(c *cobra.Command) {
	c.Flags().BoolVar(&o.on, "strict", false, "what neither the former policy nor the new one passes never passes between hosts either: until all hosts have the new one, both are asked everywhere. Waits for that")
	c.Flags().BoolVar(&o.withoutAbsent, "without-absent-hosts", false, "with --strict: do not wait for hosts that are not connected; they are named")
	c.Flags().DurationVar(&o.lasts, "strict-timeout", defaultHold, "with --strict: make the change alone after so `LONG`, whichever hosts do not have it")
}

// hold is what holds the change, nil if nothing is to. It names hosts that are away.
func (s *session) hold(ctx context.Context, c *client.Client, o strictly) (*api.Hold, error) {
	if !o.on {
		return nil, nil
	}
	if s.flags.draft != "" {
		return nil, usagef("--strict is for when the draft is committed: weft draft commit %s --strict", s.flags.draft)
	}
	seconds := int((o.lasts + time.Second - 1) / time.Second)
	if seconds < 1 || seconds > api.MaxHoldSeconds {
		return nil, usagef("--strict-timeout is %v, want at least 1s and at most %v", o.lasts, api.MaxHoldSeconds*time.Second)
	}
	hosts, err := client.ListOf[*api.Host](ctx, c, client.ListOptions{})
	if err != nil {
		return nil, err
	}
	h := &api.Hold{Seconds: seconds}
	var names []string
	for _, host := range hosts.Items {
		if !host.Status.Connected {
			h.Without, names = append(h.Without, host.Meta.UUID), append(names, host.Meta.Name)
		}
	}
	if len(names) == 0 {
		return h, nil
	}
	if !o.withoutAbsent {
		return nil, failure{
			what: fmt.Sprintf("not connected: %s: until they are back, they ask the former policy", strings.Join(names, ", ")),
			hint: "wait for them, or do without: --without-absent-hosts",
		}
	}
	fmt.Fprintf(s.Err, "not waiting for %s: until they are back, they ask the former policy\n", strings.Join(names, ", "))
	return h, nil
}

// holding makes the object that holds a change, in the project of the session.
func (s *session) holding(h *api.Hold) (api.Operation, error) {
	d, err := fresh[*api.Draft](s, api.KindDraft, "strict-"+uuid.NewString()[:8])
	if err != nil {
		return api.Operation{}, err
	}
	d.Spec.Hold = h
	return api.Operation{Op: api.OpCreate, Object: d}, nil
}

// released waits until a controller has ended a hold, and says meanwhile for whom
// that waits. If the command ends before, the controller ends it all the same.
func (s *session) released(ctx context.Context, c *client.Client, draft api.Ref, h *api.Hold) error {
	began, lasts := time.Now(), time.Duration(h.Seconds)*time.Second
	ticks := time.NewTicker(holdPoll)
	defer ticks.Stop()
	var last api.DraftStatus
	for {
		d, err := client.Get[*api.Draft](ctx, c, draft)
		var e *api.Error
		took := time.Since(began)
		switch known := errors.As(err, &e); {
		case err == nil:
			if text := waitingText(d.Status); !d.Status.Expired && text != "" && text != waitingText(last) {
				fmt.Fprintf(s.Err, "held; waiting for %s\n", oneLine(text))
			}
			last = d.Status
		case known && e.Code == api.CodeNotFound && (last.Expired || took >= lasts):
			return failure{
				what: fmt.Sprintf("the change is made, but not all hosts confirmed within %v that they ask both policies%s", lasts, expiredText(last)),
				hint: "until they have the change, these ask the former policy; weft get hosts says which are connected, and the log of the controller that leads has more",
			}
		case known && e.Code == api.CodeNotFound:
			_, err := fmt.Fprintf(s.Out, "all hosts have it (%v)\n", took.Round(holdPoll))
			return err
		case known && e.Code != api.CodeUnavailable && e.Code != api.CodeTimeout:
			return fmt.Errorf("the change is made and held, but how far it is cannot be seen: %w", err)
		}
		if took > lasts+holdSlack {
			return stillHeld(draft, took, err)
		}
		select {
		case <-ctx.Done():
			return failure{
				what: fmt.Sprintf("interrupted: the change is made, and held for at most %v", lasts),
				hint: "a controller ends that; to see for whom it waits: weft get draft " + draft.String(),
			}
		case <-ticks.C:
		}
	}
}

// stillHeld is that nobody has ended a hold, and why it cannot be seen, if so.
func stillHeld(draft api.Ref, took time.Duration, err error) error {
	what := fmt.Sprintf("draft %s still holds the change after %v: hosts have ended it by themselves", draft, took.Round(time.Second))
	if err != nil {
		what = fmt.Sprintf("whether draft %s still holds the change cannot be seen for long now: %v", draft, err)
	}
	return failure{what: what, hint: "see whether a controller leads: weft get hosts; weft delete draft " + draft.String()}
}

// waitingText names hosts that a hold waits for, each with the reason.
func waitingText(status api.DraftStatus) string {
	var names []string
	for _, h := range status.Waiting[:min(len(status.Waiting), maxNamedHosts)] {
		names = append(names, h.String())
	}
	if more := status.Behind - len(names); more > 0 && len(names) > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

func expiredText(status api.DraftStatus) string {
	if text := waitingText(status); text != "" {
		return ": " + text
	}
	return ""
}
