// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
)

// List is objects of one kind as they were at one revision.
type List[T api.Object] struct {
	Revision int64 `json:"revision"`
	Items    []T   `json:"items"`
	// Continue fetches the next page, Remaining is what comes after this one.
	Continue  string `json:"continue,omitempty"`
	Remaining int    `json:"remaining,omitempty"`
}

// Selection says which objects of a kind are meant; all conditions hold.
type Selection struct {
	Parent     api.Ref            // only children of this object
	Labels     []string           // conditions, as api.ParseLabelRequirement reads them
	Name       string             // own or full name, or its beginning and '*'
	Owner      string             // name of an orchestrator
	References map[string]api.Ref // field, e.g. spec.network, and what it refers to
}

// ListOptions selects what is listed, and how.
type ListOptions struct {
	Parent     api.Ref            // only children of this object
	Labels     []string           // conditions, as api.ParseLabelRequirement reads them
	Name       string             // own or full name, or its beginning and '*'
	Owner      string             // name of an orchestrator
	References map[string]api.Ref // field, e.g. spec.network, and what it refers to
	Fields     []string           // only these, with kind, UUID and full name; the rest of the objects stays empty
	Sort       string             // name (when empty), createdAt, and either with '-' before it
	Limit      int                // objects a page; 0 means all at once
	Continue   string             // of the page before
	// MinRevision waits until the server has this revision. Stale takes what
	// the server has at hand, which may be behind.
	MinRevision int64
	Stale       bool
}

// query adds the conditions to a query.
func (s Selection) query(q url.Values) {
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("parent", refText(s.Parent))
	set("name", s.Name)
	set("owner", s.Owner)
	for _, l := range s.Labels {
		q.Add("label", l)
	}
	for field, ref := range s.References {
		set(field, refText(ref))
	}
}

// query is the query of a list.
func (o ListOptions) query() url.Values {
	q := url.Values{}
	Selection{o.Parent, o.Labels, o.Name, o.Owner, o.References}.query(q)
	set := func(name, value string) {
		if value != "" && value != "0" {
			q.Set(name, value)
		}
	}
	set("fields", strings.Join(o.Fields, ","))
	set("sort", o.Sort)
	set("limit", strconv.Itoa(o.Limit))
	set("continue", o.Continue)
	set("minRevision", strconv.FormatInt(o.MinRevision, 10))
	if o.Stale {
		q.Set("consistency", "stale")
	}
	return q
}

// Result is what a transaction made: one object per operation, in order.
type Result struct {
	Revision int64
	Objects  []api.Object
}

// Get reads one object of T's kind.
func Get[T api.Object](ctx context.Context, c *Client, ref api.Ref) (T, error) {
	return typed[T](c.Get(ctx, kindOf[T](), ref))
}

// ListOf reads the objects of T's kind.
func ListOf[T api.Object](ctx context.Context, c *Client, options ListOptions) (List[T], error) {
	all, err := c.List(ctx, kindOf[T](), options)
	if err != nil {
		return List[T]{}, err
	}
	list := List[T]{Revision: all.Revision, Items: make([]T, len(all.Items)), Continue: all.Continue, Remaining: all.Remaining}
	for i, o := range all.Items {
		list.Items[i] = o.(T)
	}
	return list, nil
}

// Create makes an object and returns it as stored, with all that was allocated.
func Create[T api.Object](ctx context.Context, c *Client, o T) (T, error) {
	return typed[T](c.Create(ctx, o))
}

// Update replaces the spec and the changeable part of the meta. A revision in
// the meta is a precondition.
func Update[T api.Object](ctx context.Context, c *Client, o T) (T, error) {
	return typed[T](c.Update(ctx, o))
}

// Patch applies a JSON merge patch (RFC 7396), given as anything that encodes
// to one.
func Patch[T api.Object](ctx context.Context, c *Client, ref api.Ref, patch any) (T, error) {
	return typed[T](c.Patch(ctx, kindOf[T](), ref, patch))
}

// Get reads one object.
func (c *Client) Get(ctx context.Context, kind api.Kind, ref api.Ref) (api.Object, error) {
	path, err := objectPath("get", kind, ref)
	if err != nil {
		return nil, err
	}
	return c.object(ctx, call{what: about("get", kind, ref), method: http.MethodGet, path: path})
}

// List reads objects of a kind, ordered by fully qualified name unless the
// options say otherwise. With a limit it reads one page; see Pages.
func (c *Client) List(ctx context.Context, kind api.Kind, options ListOptions) (List[api.Object], error) {
	list := List[api.Object]{Items: []api.Object{}}
	path, err := kindPath("list", kind)
	if err != nil {
		return list, err
	}
	var raw struct {
		Revision  int64             `json:"revision"`
		Items     []json.RawMessage `json:"items"`
		Continue  string            `json:"continue"`
		Remaining int               `json:"remaining"`
	}
	if err := c.do(ctx, call{what: "list " + path[0], method: http.MethodGet, path: path, query: options.query()}, &raw); err != nil {
		return list, err
	}
	list.Revision, list.Continue, list.Remaining = raw.Revision, raw.Continue, raw.Remaining
	list.Items, err = decodeAll(raw.Items)
	return list, err
}

// defaultPage is small enough to be answered at once, and large enough that
// the way there and back does not count.
const defaultPage = 1000

// Pages yields the objects of a list one by one, reading page after page, all
// of one revision. An error is the last; with api.CodeGone the server no longer
// has the revision, and the caller begins again.
func (c *Client) Pages(ctx context.Context, kind api.Kind, options ListOptions) iter.Seq2[api.Object, error] {
	return func(yield func(api.Object, error) bool) {
		if options.Limit == 0 {
			options.Limit = defaultPage
		}
		for {
			page, err := c.List(ctx, kind, options)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, o := range page.Items {
				if !yield(o, nil) {
					return
				}
			}
			if options.Continue = page.Continue; page.Continue == "" {
				return
			}
		}
	}
}

// Count tells how many objects of a kind there are, without reading them.
func (c *Client) Count(ctx context.Context, kind api.Kind, options ListOptions) (int, error) {
	path, err := kindPath("count", kind)
	if err != nil {
		return 0, err
	}
	query := options.query()
	query.Set("count", "true")
	var raw struct {
		Count int `json:"count"`
	}
	err = c.do(ctx, call{what: "count " + path[0], method: http.MethodGet, path: path, query: query}, &raw)
	return raw.Count, err
}

// Create makes an object and returns it as stored.
func (c *Client) Create(ctx context.Context, o api.Object) (api.Object, error) {
	h := o.Head()
	path, err := kindPath("create", h.Kind)
	if err != nil {
		return nil, err
	}
	what := "create " + string(h.Kind) + " " + api.JoinName(h.Meta.Parent.Name, h.Meta.Name)
	return c.object(ctx, call{what: what, method: http.MethodPost, path: path, body: o})
}

// Update replaces the spec and the changeable part of the meta.
func (c *Client) Update(ctx context.Context, o api.Object) (api.Object, error) {
	h := o.Head()
	ref := api.RefTo(o)
	path, err := objectPath("update", h.Kind, ref)
	if err != nil {
		return nil, err
	}
	return c.object(ctx, call{what: about("update", h.Kind, ref), method: http.MethodPut, path: path, body: o})
}

// Patch applies a JSON merge patch.
func (c *Client) Patch(ctx context.Context, kind api.Kind, ref api.Ref, patch any) (api.Object, error) {
	path, err := objectPath("patch", kind, ref)
	if err != nil {
		return nil, err
	}
	return c.object(ctx, call{what: about("patch", kind, ref), method: http.MethodPatch, path: path, body: patch, media: "application/merge-patch+json"})
}

// Delete removes an object. A revision other than 0 is a precondition.
func (c *Client) Delete(ctx context.Context, kind api.Kind, ref api.Ref, revision int64) error {
	path, err := objectPath("delete", kind, ref)
	if err != nil {
		return err
	}
	query := url.Values{}
	if revision != 0 {
		query.Set("revision", strconv.FormatInt(revision, 10))
	}
	return c.do(ctx, call{what: about("delete", kind, ref), method: http.MethodDelete, path: path, query: query}, nil)
}

// MaxOperations is how many operations the server takes in one transaction.
const MaxOperations = 100

// Transaction does all of the operations or none. A dry run does none, but
// answers as if it had.
func (c *Client) Transaction(ctx context.Context, operations []api.Operation, dryRun bool) (Result, error) {
	return c.TransactionUnchanged(ctx, operations, dryRun, 0)
}

// TransactionUnchanged is Transaction, refused if another one wrote objects after a
// revision: that on which a check rests. 0: whatever others write.
func (c *Client) TransactionUnchanged(ctx context.Context, operations []api.Operation, dryRun bool, since int64) (Result, error) {
	if len(operations) > MaxOperations {
		return Result{}, api.Errorf(api.CodeTooLarge, "transaction: %d operations, at most %d are allowed", len(operations), MaxOperations)
	}
	body := struct {
		Operations []api.Operation `json:"operations"`
		DryRun     bool            `json:"dryRun,omitempty"`
		Unchanged  int64           `json:"unchangedSince,omitempty"`
	}{operations, dryRun, since}
	var raw struct {
		Revision int64             `json:"revision"`
		Objects  []json.RawMessage `json:"objects"`
	}
	if err := c.do(ctx, call{what: "transaction", method: http.MethodPost, path: []string{"transactions"}, body: body}, &raw); err != nil {
		return Result{}, err
	}
	objects, err := decodeAll(raw.Objects)
	return Result{Revision: raw.Revision, Objects: objects}, err
}

// object makes a request that is answered with one object.
func (c *Client) object(ctx context.Context, q call) (api.Object, error) {
	var raw json.RawMessage
	if err := c.do(ctx, q, &raw); err != nil {
		return nil, err
	}
	return api.Decode(raw, false)
}

// decodeAll decodes objects. Fields this client does not know are not an
// error: the server may be newer.
func decodeAll(raw []json.RawMessage) ([]api.Object, error) {
	objects := make([]api.Object, 0, len(raw))
	for _, r := range raw {
		if string(r) == "null" {
			continue
		}
		o, err := api.Decode(r, false)
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// typed gives an answer its Go type.
func typed[T api.Object](o api.Object, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	t, ok := o.(T)
	if !ok {
		return none, api.Errorf(api.CodeInternal, "read answer: the server sent a %s in place of a %s", o.Head().Kind, kindOf[T]())
	}
	return t, nil
}

// kindOf returns the kind whose Go type is T.
func kindOf[T api.Object]() api.Kind {
	for _, info := range api.Kinds() {
		if _, ok := info.New().(T); ok {
			return info.Kind
		}
	}
	return ""
}

// kindPath is the path of a kind's collection.
func kindPath(verb string, kind api.Kind) ([]string, error) {
	info, ok := api.KindInfo(kind)
	if !ok {
		return nil, api.Errorf(api.CodeInvalid, "%s: %q is not a kind of object", verb, kind)
	}
	return []string{info.Plural}, nil
}

// objectPath is the path of one object.
func objectPath(verb string, kind api.Kind, ref api.Ref) ([]string, error) {
	path, err := kindPath(verb, kind)
	if err != nil {
		return nil, err
	}
	if ref.IsZero() {
		return nil, api.Errorf(api.CodeInvalid, "%s %s: no UUID or name is given", verb, kind)
	}
	return append(path, refText(ref)), nil
}

// refText is the form of a reference in paths and queries. The UUID is the
// identity; the name serves where only that is known.
func refText(r api.Ref) string {
	if r.UUID != "" {
		return r.UUID
	}
	return r.Name
}

// about says what a request does, for errors.
func about(verb string, kind api.Kind, ref api.Ref) string {
	return verb + " " + string(kind) + " " + ref.String()
}
