// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const (
	// gateAttempts is how often a check and the change that it gates are done anew
	// because others wrote between the two.
	gateAttempts = 8
	// gatePause is how long, about, to wait before the first time; it doubles each
	// time. So those who gate changes at the same time do not stop each other for long.
	gatePause = 20 * time.Millisecond
)

// gate is what assertions said of a change before it is made.
type gate struct {
	answer api.Check
	said   bool
}

// base is the revision after which nobody may have written; 0 without a check.
func (g *gate) base() int64 {
	if g == nil {
		return 0
	}
	return g.answer.Base
}

// checkFirst asks whether assertions would hold after operations; if one would not,
// that is shown, and nothing is to be done. Nor is it if the answer does not say on what
// it rests: the change would not be held against it.
func (s *session) checkFirst(ctx context.Context, c *client.Client, operations []api.Operation, assertions []api.Assertion) (*gate, error) {
	if len(assertions) == 0 {
		return nil, nil
	}
	answer, err := c.Check(ctx, api.CheckRequest{Assertions: assertions, Operations: operations})
	if err != nil {
		return nil, err
	}
	switch {
	case answer.Holds() && answer.Base == 0:
		return nil, failure{
			what: "nothing was changed: the controller is older than this weft, and cannot refuse the change if others write after the check",
			hint: "upgrade the controller; or check by itself, with weft check, and change without --check",
		}
	case answer.Holds():
		return &gate{answer: answer}, nil
	}
	if err := s.sayChecked(answer, formatTable); !errors.Is(err, errNotWell) {
		return nil, err
	}
	return nil, failure{what: "an assertion would not hold: nothing was changed", hint: "change the files, or the assertion"}
}

// passed shows what was checked, once the change is made that it let pass.
func (s *session) passed(g *gate) error {
	if g == nil || g.said {
		return nil
	}
	g.said = true
	return s.printChecked(g.answer)
}

// again does something that a check gates, and does it anew, check and all, if it
// was refused because others wrote after what was checked.
func again(ctx context.Context, do func() error) error {
	pause := gatePause
	for attempt := 1; ; attempt++ {
		err := do()
		var e *api.Error
		if !errors.As(err, &e) || e.Code != api.CodePrecondition || e.Field != api.FieldUnchangedSince {
			return err
		}
		if attempt == gateAttempts {
			return failure{
				what: fmt.Sprintf("nothing was changed: %d times others wrote between the check and the change", attempt),
				hint: "try again; or check by itself, with weft check, and change without --check",
			}
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 2
	}
}
