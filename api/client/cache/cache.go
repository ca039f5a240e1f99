// SPDX-License-Identifier: Apache-2.0

// Package cache keeps objects of the server in memory, for programs that look
// at many of them often and must hear of every change: adapters, consoles.
//
// A cache is always the state of its selection at one revision: the changes of
// a transaction appear together. Who has written something waits for the
// revision of the write and then reads it here (read your writes). Changes are
// told to one handler, in order, after they can be read.
//
// When the connection is lost for longer than the server remembers, the cache
// reads everything again, goes on serving what it has meanwhile, and tells the
// handler the difference. So the handler sees a gap as if it were one change.
package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const (
	// defaultMax is how many objects a cache holds at most, at about 2 KiB each.
	defaultMax = 1_000_000
	// Waits before beginning anew, doubled up to the last, each random so that
	// not all caches come at once to a controller that has just started.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Options say what a cache holds.
type Options struct {
	Kinds  []api.Kind // all when empty
	Select client.Selection
	// Max bounds the objects; 0 means a million. Run fails beyond it.
	Max int
	// Changed, if set, is told every change, one at a time and in the order of
	// revisions, once it can be read. It should not block for long: while it
	// runs, nothing new arrives.
	Changed func(Change)
	// Interrupted, if set, is told why the connection was lost or the cache
	// began anew.
	Interrupted func(error)
}

// Change is what became of one object.
type Change struct {
	Revision int64
	Kind     api.Kind
	Old      api.Object // nil: it is new, or entered the selection
	New      api.Object // nil: it is gone, or left the selection
}

// Cache is objects in memory. Run fills it; everything else may be called at
// any time by anybody. Objects are shared: readers must not modify them.
type Cache struct {
	client  *client.Client
	options Options

	// mu guards everything that follows.
	mu       sync.RWMutex
	objects  objects
	revision int64         // of which this is the state; 0 before the first sync
	told     int64         // the handler knows everything up to here
	advanced chan struct{} // closed and replaced when told changes
}

// objects holds objects by kind and UUID, and finds UUIDs by name.
type objects struct {
	byUUID map[api.Kind]map[string]api.Object
	byName map[api.Kind]map[string]string
	n      int
}

// New makes an empty cache; Run fills it.
func New(c *client.Client, options Options) *Cache {
	if options.Max == 0 {
		options.Max = defaultMax
	}
	return &Cache{client: c, options: options, objects: newObjects(), advanced: make(chan struct{})}
}

// Run fills the cache and keeps it current until ctx ends, then returns nil.
// It returns an error where trying again cannot help.
func (c *Cache) Run(ctx context.Context) error {
	wait := firstRetry
	for {
		before := c.Revision()
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var e *api.Error
		if !errors.As(err, &e) {
			return err
		}
		switch e.Code {
		case api.CodeGone, api.CodeUnavailable, api.CodeTimeout, api.CodeInternal:
		default:
			return err
		}
		if c.options.Interrupted != nil {
			c.options.Interrupted(err)
		}
		if c.Revision() > before {
			wait = firstRetry
		}
		if !pause(ctx, wait/2+rand.N(wait/2)) {
			return nil
		}
		wait = min(2*wait, lastRetry)
	}
}

// follow reads everything and then changes, until the watch cannot go on.
func (c *Cache) follow(ctx context.Context) error {
	var f follower
	for e, err := range c.client.Watch(ctx, client.WatchOptions{Kinds: c.options.Kinds, Select: c.options.Select, Soon: true, Interrupted: c.options.Interrupted}) {
		if err != nil {
			return err
		}
		if e.Type != api.EventBookmark && e.Object == nil {
			continue
		}
		for _, b := range f.step(e) {
			if err := c.apply(b); err != nil {
				return err
			}
		}
		if f.held() > c.options.Max {
			return c.tooMany()
		}
	}
	return ctx.Err()
}

func (c *Cache) tooMany() error {
	return api.Errorf(api.CodeTooLarge, "cache %v: more than %d objects are selected: select fewer or raise Max", c.options.Kinds, c.options.Max)
}

// apply makes a batch readable and tells of what it changed.
func (c *Cache) apply(b batch) error {
	c.mu.Lock()
	var changes []Change
	if b.whole {
		changes = c.objects.replace(b.events)
	} else {
		changes = c.objects.change(b.events)
	}
	n := c.objects.n
	c.revision = b.revision
	c.mu.Unlock()
	for _, change := range changes {
		change.Revision = b.revision
		if c.options.Changed != nil {
			c.options.Changed(change)
		}
	}
	c.mu.Lock()
	c.told = b.revision
	close(c.advanced)
	c.advanced = make(chan struct{})
	c.mu.Unlock()
	if n > c.options.Max {
		return c.tooMany()
	}
	return nil
}

// HasSynced tells whether everything that is selected has been read once, and
// the handler told of it.
func (c *Cache) HasSynced() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.told != 0
}

// Revision is the revision of which the cache is the state, 0 before the
// first sync.
func (c *Cache) Revision() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

// Wait waits until the cache has synced and has everything up to a revision,
// e.g. that of an object the caller wrote, and the handler was told of it. The
// handler itself must not call it.
func (c *Cache) Wait(ctx context.Context, revision int64) error {
	for {
		c.mu.RLock()
		have, advanced := c.told, c.advanced
		c.mu.RUnlock()
		if have != 0 && have >= revision {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return api.Errorf(api.CodeTimeout, "cache %v: wait for revision %d: it has %d so far (%v)", c.options.Kinds, revision, have, ctx.Err())
		}
	}
}

// Read calls f with the state at one revision. The snapshot must not be used
// after f returns, nor may f call other methods of the cache.
func (c *Cache) Read(f func(api.Snapshot)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	f(reading{c})
}

// Get returns an object by UUID, or nil.
func (c *Cache) Get(kind api.Kind, uuid string) (o api.Object) {
	c.Read(func(s api.Snapshot) { o = s.Get(kind, uuid) })
	return o
}

// Lookup finds by UUID or fully qualified name and returns the object or nil.
func (c *Cache) Lookup(kind api.Kind, ref api.Ref) (o api.Object) {
	c.Read(func(s api.Snapshot) { o = s.Lookup(kind, ref) })
	return o
}

// List returns the objects of a kind, ordered by fully qualified name.
func (c *Cache) List(kind api.Kind) (all []api.Object) {
	c.Read(func(s api.Snapshot) { all = s.List(kind) })
	return all
}

// reading is the cache while its lock is held.
type reading struct{ c *Cache }

func (r reading) Revision() int64 { return r.c.revision }

func (r reading) Get(kind api.Kind, uuid string) api.Object {
	return r.c.objects.byUUID[kind][uuid]
}

func (r reading) Lookup(kind api.Kind, ref api.Ref) api.Object {
	if ref.UUID == "" {
		ref.UUID = r.c.objects.byName[kind][ref.Name]
	}
	return r.Get(kind, ref.UUID)
}

func (r reading) List(kind api.Kind) []api.Object {
	all := make([]api.Object, 0, len(r.c.objects.byUUID[kind]))
	for _, o := range r.c.objects.byUUID[kind] {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b api.Object) int {
		return strings.Compare(a.Head().Meta.FQName, b.Head().Meta.FQName)
	})
	return all
}

func newObjects() objects {
	return objects{byUUID: map[api.Kind]map[string]api.Object{}, byName: map[api.Kind]map[string]string{}}
}

// set makes o (nil: none) the object of a kind and UUID.
func (m *objects) set(kind api.Kind, uuid string, o api.Object) {
	if m.byUUID[kind] == nil {
		m.byUUID[kind], m.byName[kind] = map[string]api.Object{}, map[string]string{}
	}
	old := m.byUUID[kind][uuid]
	if old != nil {
		m.n--
		delete(m.byUUID[kind], uuid)
		if name := old.Head().Meta.FQName; m.byName[kind][name] == uuid {
			delete(m.byName[kind], name)
		}
	}
	if o != nil {
		m.n++
		m.byUUID[kind][uuid] = o
		m.byName[kind][o.Head().Meta.FQName] = uuid
	}
}

// change takes events in and returns what they changed.
func (m *objects) change(events []api.Event) []Change {
	var changes []Change
	for _, e := range events {
		h := e.Object.Head()
		now := e.Object
		if e.Type == api.EventDelete {
			now = nil
		}
		old := m.byUUID[h.Kind][h.Meta.UUID]
		if old == nil && now == nil || old != nil && now != nil && reflect.DeepEqual(old, now) {
			continue // it came twice
		}
		m.set(h.Kind, h.Meta.UUID, now)
		changes = append(changes, Change{Kind: h.Kind, Old: old, New: now})
	}
	return changes
}

// replace makes the objects of some events all there are, and returns what
// that changed. What is gone comes last, as in a transaction.
func (m *objects) replace(events []api.Event) []Change {
	there := map[string]bool{}
	for _, e := range events {
		there[e.Object.Head().Meta.UUID] = true
	}
	infos := slices.Clone(api.Kinds())
	slices.Reverse(infos) // what refers to others goes before them
	for _, info := range infos {
		for uuid, o := range m.byUUID[info.Kind] {
			if !there[uuid] {
				events = append(events, api.Event{Type: api.EventDelete, Kind: info.Kind, Object: o})
			}
		}
	}
	return m.change(events)
}

// pause waits, and tells whether the context is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
