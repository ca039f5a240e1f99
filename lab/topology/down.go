// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/proxy"
	"github.com/weft-network/weft/lab/namespace"
)

// Down takes a run away: its recorded processes, its mounts, its namespaces and
// with them every link and program, its directory. It goes on after an error,
// so that one fault leaves as little as possible, and returns all of them.
// A run that is not there is no error.
func Down(run, dir string) error {
	if !runPattern.MatchString(run) {
		return fmt.Errorf("take down a run: id %q is not 1 to 12 lower-case letters and digits", run)
	}
	l := &Lab{Options: Options{Run: run, Dir: dir}, children: map[string]*child{}}
	return l.down()
}

// Down takes this run away.
func (l *Lab) Down() error { return l.down() }

func (l *Lab) down() error {
	var errs []error
	processes, err := l.Processes()
	errs = append(errs, err)
	// The controller ends last, so that agents do not log its absence.
	slices.SortStableFunc(processes, func(a, b Process) int {
		return strings.Compare(lastWord(a.Name), lastWord(b.Name))
	})
	for _, p := range processes {
		errs = append(errs, l.stop(p))
	}
	errs = append(errs, l.eraseProxies())
	names, err := namespace.List(prefix(l.Run))
	errs = append(errs, err)
	for _, name := range names {
		if pids, err := namespace.Holders(name); err == nil && len(pids) > 0 {
			errs = append(errs, fmt.Errorf("namespace %s: processes %v in it are not recorded as ours; end them, else it lives on without a name", name, pids))
		}
		errs = append(errs, namespace.Delete(name))
	}
	mounts, err := mountsBelow(l.Dir)
	errs = append(errs, err)
	for _, m := range mounts {
		if err := unix.Unmount(m, 0); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m, err))
		}
	}
	errs = append(errs, l.removeDir())
	return errors.Join(errs...)
}

// eraseProxies ends the proxies of load-balancers, which outlive the agents.
func (l *Lab) eraseProxies() error {
	roots, err := filepath.Glob(filepath.Join(l.Dir, "*", "run", proxy.Directory))
	if err != nil {
		return fmt.Errorf("list proxies of run %s: %w", l.Run, err)
	}
	for _, root := range roots {
		err = errors.Join(err, proxy.Erase(context.Background(), root))
	}
	return err
}

func lastWord(process string) string {
	if process == Controller {
		return "1"
	}
	return "0" + process
}

// removeDir deletes the run's directory, if it is one and nothing is mounted
// there any more.
func (l *Lab) removeDir() error {
	if _, err := os.Stat(filepath.Join(l.Dir, marker)); err != nil {
		return nil // never made, or somebody else's
	}
	if mounts, err := mountsBelow(l.Dir); err != nil || len(mounts) > 0 {
		return errors.Join(err, fmt.Errorf("keep %s: still mounted there: %v", l.Dir, mounts))
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return fmt.Errorf("remove %s: %w", l.Dir, err)
	}
	if base := filepath.Dir(l.Dir); filepath.Base(base) == baseName {
		os.Remove(base) // fails, and shall, as long as there are other runs in it
	}
	return nil
}

// mountsBelow returns the mount points below a directory, deepest first.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		const mountPoint = 4
		if len(fields) <= mountPoint {
			continue
		}
		// The kernel writes blanks and backslashes as octal.
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[mountPoint])
		if strings.HasPrefix(point, dir+"/") {
			found = append(found, point)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found, nil
}
