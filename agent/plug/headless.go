// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
)

// HeadlessAfter is how long a plug of a port that was not delivered waits for a
// controller before a reserved address is given to it: well above a move from
// one controller to another, so that no port that is on its way gets another
// address.
const HeadlessAfter = 5 * time.Second

// takenFile is among the records of plugs; its name is no UUID.
const takenFile = "taken"

// Taken reads who got reserved addresses in earlier runs.
func (r Records) Taken() ([]host.Taken, error) {
	data, err := os.ReadFile(filepath.Join(r.dir, takenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []host.Taken
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read who has reserved addresses: %w", err)
	}
	return all, nil
}

// SaveTaken writes who has reserved addresses. It comes before their use: an
// address that was given away and forgotten would be given away again.
func (r Records) SaveTaken(all []host.Taken) error {
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("save who has reserved addresses: %w", err)
	}
	return desired.WriteFile(filepath.Join(r.dir, takenFile), append(data, '\n'))
}

// find returns the port that is to be plugged: one that was delivered, or,
// while no controller can be reached, a new one with reserved addresses.
func (p *Plugger) find(ctx context.Context, r Request) (desired.Port, error) {
	wait := r.timeout()
	first := wait
	if r.Network != "" {
		first = min(wait, p.headlessAfter)
	}
	row, err := p.await(ctx, r.Port, first)
	if !errors.Is(err, context.DeadlineExceeded) {
		return row, err
	}
	connected := true
	if err := p.loop.Do(ctx, func(c *host.Core) { connected = c.Connected() }); err != nil {
		return row, err
	}
	switch {
	case !connected && r.Network != "":
		return p.take(ctx, r)
	case !connected:
		return row, api.Errorf(api.CodeUnavailable, "plug port %s: no controller can be reached and the port was not delivered before: with its network said, the host gives it an address reserved by hostReserve of that", r.Port).About(api.KindPort, r.Port, "")
	case first == wait:
		return row, notBound(r.Port, wait)
	}
	if row, err = p.await(ctx, r.Port, wait-first); errors.Is(err, context.DeadlineExceeded) {
		err = notBound(r.Port, wait)
	}
	return row, err
}

// await waits until a port is known here.
func (p *Plugger) await(ctx context.Context, ref string, d time.Duration) (row desired.Port, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err = p.loop.Wait(ctx, func(c *host.Core) (ok bool) {
		row, ok = c.Port(ref)
		return ok
	})
	return row, err
}

// take gives reserved addresses to a workload that is new here. It is on disk
// before it is so.
func (p *Plugger) take(ctx context.Context, r Request) (row desired.Port, err error) {
	p.taking.Lock()
	defer p.taking.Unlock()
	var slot []desired.Reservation
	var all []host.Taken
	known := false
	err = p.loop.Do(ctx, func(c *host.Core) {
		if row, known = c.Port(r.Port); !known { // another request may have been faster
			slot, all = c.Reserved(r.Network), c.Taken()
		}
	})
	if err != nil || known {
		return row, err
	}
	if len(slot) == 0 {
		return row, api.Errorf(api.CodeUnavailable, "plug port %s: no controller can be reached, the port was not delivered before, and no address of network %s is reserved for this host and left: raise hostReserve of the network for the next time", r.Port, r.Network).About(api.KindPort, r.Port, "network")
	}
	t := host.Taken{Port: r.Port, Name: r.Port, Network: slot[0].Network}
	if !api.IsUUID(r.Port) {
		t.Port = uuid.NewString()
	}
	for _, s := range slot {
		t.IDs = append(t.IDs, s.ID)
	}
	if err := p.records.SaveTaken(append(all, t)); err != nil {
		return row, err
	}
	err = p.loop.Do(ctx, func(c *host.Core) {
		c.Take(t)
		row, known = c.Port(t.Port)
	})
	if err == nil && !known { // what was reserved was released at this moment
		err = notBound(r.Port, r.timeout())
	}
	if err == nil {
		p.log.Warn("no controller can be reached: a new workload gets reserved addresses", "port", t.Port, "name", t.Name, "network", slot[0].NetworkName, "addresses", texts(row))
	}
	return row, err
}

// giveBack ends what a port took that was never made.
func (p *Plugger) giveBack(ctx context.Context, port string) error {
	p.taking.Lock()
	defer p.taking.Unlock()
	var all []host.Taken
	was := 0
	err := p.loop.Do(ctx, func(c *host.Core) {
		was = len(c.Taken())
		c.GiveBack(port)
		all = c.Taken()
	})
	if err != nil || len(all) == was {
		return err
	}
	return p.records.SaveTaken(all)
}
