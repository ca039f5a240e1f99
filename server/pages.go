// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
)

const (
	// pageMax bounds a page; who wants all at once asks without a limit.
	pageMax = 10_000
	// listingsMax bounds how many lists are being read page by page. Each holds
	// a pointer an object; the objects themselves are mostly the newest ones.
	listingsMax = 128
	// listingLife is how long the next page may be fetched after the last one.
	listingLife = 5 * time.Minute
)

// listing is a list that is read page by page. It keeps what was selected, so
// that all pages are of one revision.
type listing struct {
	id       string
	who      api.Identity // to whom alone it is shown
	query    string       // that it answers
	revision int64
	items    []api.Object
	used     time.Time
}

// listings are those that were begun here. Another controller does not know
// them, nor does this one after a restart: then the reader begins again.
type listings struct {
	// mu guards everything that follows.
	mu  sync.Mutex
	all []*listing // at most listingsMax, the least recently used first
}

// begin keeps a listing and returns it with its id.
func (l *listings) begin(n *listing, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.id, n.used = rand.Text(), now
	l.expire(now)
	if len(l.all) >= listingsMax {
		l.all = l.all[1:]
	}
	l.all = append(l.all, n)
}

// resume finds a listing and makes it the most recently used.
func (l *listings) resume(id string, now time.Time) (*listing, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	for i, n := range l.all {
		if n.id == id {
			n.used = now
			l.all = append(append(l.all[:i:i], l.all[i+1:]...), n)
			return n, true
		}
	}
	return nil, false
}

func (l *listings) expire(now time.Time) {
	for len(l.all) > 0 && now.Sub(l.all[0].used) > listingLife {
		l.all = l.all[1:]
	}
}

// page is a part of a listing and the token for what comes after it.
func (n *listing) page(from, limit int) ([]api.Object, string) {
	to := min(from+limit, len(n.items))
	if to == len(n.items) {
		return n.items[from:], ""
	}
	return n.items[from:to], n.id + "." + strconv.Itoa(to)
}

// parseContinue reads a token. What it says is checked against the listing.
func parseContinue(token string) (id string, from int, ok bool) {
	id, text, ok := strings.Cut(token, ".")
	from, err := strconv.Atoi(text)
	return id, from, ok && err == nil && from > 0
}
