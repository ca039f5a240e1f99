// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/weft-network/weft/agent/haproxy"
)

// Erase ends all proxies below a root and removes what is there. Their ports' interfaces go with
// all others. That there is nothing is success.
func Erase(ctx context.Context, root string) error {
	if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	k := &Keeper{root: root, speaker: speaker{root: filepath.Join(root, "vrrp")}}
	runner, err := haproxy.NewRunner(root, "", haproxy.Place{})
	switch {
	case err == nil:
		k.runner = runner
	case !errors.Is(err, exec.ErrNotFound): // without the program there are no processes of it
		return err
	}
	owned, err := k.owned(ctx)
	if err != nil {
		return err
	}
	var bad error
	for id := range owned {
		err := k.speaker.stop(ctx, id)
		if k.runner != nil {
			err = errors.Join(err, k.runner.Delete(ctx, id))
		}
		bad = errors.Join(bad, err, removeRoom(k.room(id)))
	}
	if bad != nil {
		return fmt.Errorf("remove proxies: %w", bad)
	}
	if err := os.RemoveAll(root); err != nil {
		return fmt.Errorf("remove the directory of proxies: %w", err)
	}
	return nil
}
