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
	path, err := objectPath("commit", api.KindDraft, draft)
	if err != nil {
		return Result{}, err
	}
	body := struct {
		Revision int64     `json:"revision,omitempty"`
		DryRun   bool      `json:"dryRun,omitempty"`
		Hold     *api.Hold `json:"hold,omitempty"`
	}{revision, dryRun, hold}
	var raw struct {
		Revision int64             `json:"revision"`
		Objects  []json.RawMessage `json:"objects"`
	}
	q := call{what: about("commit", api.KindDraft, draft), method: http.MethodPost, path: append(path, "commit"), body: body}
	if err := c.do(ctx, q, &raw); err != nil {
		return Result{}, err
	}
	objects, err := decodeAll(raw.Objects)
	return Result{Revision: raw.Revision, Objects: objects}, err
}
