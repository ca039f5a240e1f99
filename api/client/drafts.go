// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/weft-network/weft/api"
)

// CommitDraft does all that a draft stages and deletes the draft, or does
// nothing. A revision other than 0 must be the draft's. A dry run does nothing
// but answers as if it had.
func (c *Client) CommitDraft(ctx context.Context, draft api.Ref, revision int64, dryRun bool) (Result, error) {
	return c.CommitDraftHeld(ctx, draft, revision, nil, dryRun)
}

// CommitDraftHeld does so, and where hold is not nil keeps the draft, empty, as
// what holds the change.
func (c *Client) CommitDraftHeld(ctx context.Context, draft api.Ref, revision int64, hold *api.Hold, dryRun bool) (Result, error) {
	return c.CommitDraftAs(ctx, draft, DraftCommit{Revision: revision, Hold: hold, DryRun: dryRun})
}

// DraftCommit says how a draft is committed.
type DraftCommit struct {
	Revision int64     `json:"revision,omitempty"` // the draft's, unless 0
	DryRun   bool      `json:"dryRun,omitempty"`
	Hold     *api.Hold `json:"hold,omitempty"`
	// UnchangedSince is the base of a check: the commit is refused if another
	// transaction wrote objects after it. 0: whatever others write.
	UnchangedSince int64 `json:"unchangedSince,omitempty"`
}

// CommitDraftAs commits a draft as is said.
func (c *Client) CommitDraftAs(ctx context.Context, draft api.Ref, how DraftCommit) (Result, error) {
	path, err := objectPath("commit", api.KindDraft, draft)
	if err != nil {
		return Result{}, err
	}
	var raw struct {
		Revision int64             `json:"revision"`
		Objects  []json.RawMessage `json:"objects"`
	}
	q := call{what: about("commit", api.KindDraft, draft), method: http.MethodPost, path: append(path, "commit"), body: how}
	if err := c.do(ctx, q, &raw); err != nil {
		return Result{}, err
	}
	objects, err := decodeAll(raw.Objects)
	return Result{Revision: raw.Revision, Objects: objects}, err
}
