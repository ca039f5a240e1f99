// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Row is a proxy and the network namespace that it is in, by its path.
type Row struct {
	Namespace string
	Proxy     Proxy
}

// Runner has a process for each proxy. What is below its root is ours, and so is a process whose
// configuration is there (the mark): it outlives whoever started it, and a new Runner finds it.
type Runner struct {
	root    string
	program string
	place   Place

	mu   sync.Mutex
	rows map[string]*running
}

// running is a proxy that has been updated since the Runner is there.
type running struct {
	mu       sync.Mutex
	row      Row
	rendered Rendered
}

// Bounds of waiting for HAProxy.
const (
	checkTime  = 20 * time.Second
	answerTime = 5 * time.Second
	startTime  = 15 * time.Second
	again      = 20 * time.Millisecond // between two looks
)

// maxRefused bounds how many objects are found out one after another.
const maxRefused = 32

// NewRunner keeps processes of a program, "haproxy" from the path if empty, with their files below
// root. Place says as whom workers run, in a root that is empty if it names none; its directory is not used.
func NewRunner(root, program string, place Place) (*Runner, error) {
	if program == "" {
		program = "haproxy"
	}
	file, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w: install Debian's package haproxy", program, err)
	}
	// A socket's path has at most 107 bytes, and HAProxy adds its process and ".tmp" while it makes one.
	if longest := len(root) + len("/") + len(id36) + len("/") + len(masterSocket) + len(".4194304.tmp"); longest > 107 || !filepath.IsAbs(root) || !bare.MatchString(root) {
		return nil, fmt.Errorf("use directory %s for proxies: it must be an absolute path without spaces, of at most %d bytes", root, 107-longest+len(root))
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("read how many files a process may open: %w", err)
	}
	place.Files = int(min(files.Max, 1<<20))
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, fmt.Errorf("make the directory of proxies: %w", err)
	}
	if place.User != "" && place.Jail == "" {
		place.Jail = filepath.Join(root, "empty")
		if err := os.MkdirAll(place.Jail, 0o555); err != nil {
			return nil, fmt.Errorf("make the root of proxies' workers: %w", err)
		}
	}
	return &Runner{root: root, program: file, place: place, rows: map[string]*running{}}, nil
}

const id36 = "00000000-0000-0000-0000-000000000000"

func (r *Runner) at(id string) Place {
	p := r.place
	p.Dir = filepath.Join(r.root, id)
	return p
}

func (r *Runner) entry(id string) *running {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows[id] == nil {
		r.rows[id] = &running{}
	}
	return r.rows[id]
}

// Update has a proxy served as its row says: what is served already stays, else its process is
// started or reloaded. What cannot be served is in Faults.
func (r *Runner) Update(ctx context.Context, id string, row Row) error {
	if !uuid.MatchString(id) {
		return fmt.Errorf("serve load-balancer %q: it is no UUID", id)
	}
	e := r.entry(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	rendered, err := r.accept(ctx, &row.Proxy, r.at(id))
	if err != nil {
		return fmt.Errorf("serve load-balancer %s: %w", id, err)
	}
	moved := e.row.Namespace != "" && e.row.Namespace != row.Namespace
	e.row, e.rendered = row, rendered
	if err := r.serve(ctx, id, e, moved); err != nil {
		return fmt.Errorf("serve load-balancer %s: %w", id, err)
	}
	return r.tidy(r.at(id), rendered)
}

// accept renders a proxy and writes its files, all but the configuration itself, which is beside
// the current one. What HAProxy refuses is left out, one object after another.
func (r *Runner) accept(ctx context.Context, p *Proxy, at Place) (Rendered, error) {
	refused := map[string]string{}
	for {
		rendered := Render(p, at, refused)
		if err := writeFiles(at, rendered); err != nil {
			return rendered, err
		}
		out, err := r.check(ctx, at)
		if err == nil {
			if err := os.Rename(next(at), accepted(at)); err != nil {
				return rendered, fmt.Errorf("keep what was accepted: %w", err)
			}
			return rendered, nil
		}
		object, why := culprit(out, &rendered)
		if _, twice := refused[object]; object == "" || twice || len(refused) == maxRefused || ctx.Err() != nil {
			return rendered, fmt.Errorf("check %s: %w: %s", next(at), err, shortened(out))
		}
		refused[object] = why
	}
}

// The configuration that is checked, and the last that HAProxy has taken.
func next(at Place) string     { return filepath.Join(at.Dir, ConfigFile+".next") }
func accepted(at Place) string { return filepath.Join(at.Dir, ConfigFile+".accepted") }

func (r *Runner) check(ctx context.Context, at Place) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, r.program, "-c", "-f", next(at)).CombinedOutput()
	return string(out), err
}

var (
	alert  = regexp.MustCompile(`(?m)^\[ALERT\][^:]*: (.*)$`)
	atLine = regexp.MustCompile(regexp.QuoteMeta(ConfigFile) + `\.next:(\d+)\]`)
	named  = regexp.MustCompile(`(?:member|listener|pool)-([0-9a-f-]{36})`)
)

// culprit is the object of the first line that HAProxy has something against, and what.
func culprit(out string, r *Rendered) (object, why string) {
	for _, m := range alert.FindAllStringSubmatch(out, -1) {
		if at := atLine.FindStringSubmatch(m[1]); at != nil {
			n, _ := strconv.Atoi(at[1])
			object = r.Owner(n)
		}
		if name := named.FindStringSubmatch(m[1]); object == "" && name != nil {
			object = name[1]
		}
		if object != "" {
			_, why, found := strings.Cut(m[1], "] : ")
			if !found {
				why = m[1]
			}
			return object, shortened(why)
		}
	}
	return "", ""
}

// shortened is the end of what a program said, in one line.
func shortened(text string) string {
	const most = 500
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return strings.ToValidUTF8(text, "")
}

// writeFiles writes what is rendered, readable to nobody else.
func writeFiles(at Place, rendered Rendered) error {
	if err := os.MkdirAll(filepath.Join(at.Dir, certificates), 0o700); err != nil {
		return fmt.Errorf("make the directory of a proxy: %w", err)
	}
	files := maps.Clone(rendered.Files)
	files[ConfigFile+".next"] = files[ConfigFile]
	delete(files, ConfigFile)
	if _, err := os.Stat(filepath.Join(at.Dir, statesFile)); errors.Is(err, os.ErrNotExist) {
		files[statesFile] = []byte("1\n") // the version of an empty file
	}
	for name, text := range files {
		if err := replaceFile(filepath.Join(at.Dir, name), text); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile makes a file have a content, all at once.
func replaceFile(name string, text []byte) error {
	if had, err := os.ReadFile(name); err == nil && string(had) == string(text) {
		return nil
	}
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return fmt.Errorf("write a proxy's file: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("replace a proxy's file: %w", err)
	}
	return nil
}

// serve has the process of a proxy run with the configuration that was accepted.
func (r *Runner) serve(ctx context.Context, id string, e *running, moved bool) error {
	at := r.at(id)
	wanted, err := os.ReadFile(accepted(at))
	if err != nil {
		return fmt.Errorf("read what was accepted: %w", err)
	}
	current := filepath.Join(at.Dir, ConfigFile)
	had, _ := os.ReadFile(current)
	all, err := r.processes()
	if err != nil {
		return err
	}
	if moved {
		if err := r.stop(ctx, id, all[id]); err != nil {
			return err
		}
		all[id] = nil
	}
	alive := len(all[id]) > 0 && answersSoon(ctx, at)
	if alive && string(had) == string(wanted) {
		return nil
	}
	if !alive { // of one that does not answer something may be left
		if err := r.stop(ctx, id, all[id]); err != nil {
			return err
		}
		if err := replaceFile(current, wanted); err != nil {
			return err
		}
		return r.start(ctx, at, e.row.Namespace)
	}
	if err := saveStates(ctx, at, e.rendered.Servers); err != nil {
		return err
	}
	if err := replaceFile(current, wanted); err != nil {
		return err
	}
	if err := reload(ctx, at); err != nil {
		// So that the next attempt sees that this one has not come about.
		return errors.Join(err, replaceFile(current, had))
	}
	return nil
}

// tidy removes certificates that nothing names any more.
func (r *Runner) tidy(at Place, rendered Rendered) error {
	entries, err := os.ReadDir(filepath.Join(at.Dir, certificates))
	if err != nil {
		return fmt.Errorf("list a proxy's certificates: %w", err)
	}
	for _, e := range entries {
		name := certificates + "/" + e.Name()
		if _, used := rendered.Files[name]; !used {
			if err := os.Remove(filepath.Join(at.Dir, name)); err != nil {
				return fmt.Errorf("remove a certificate that is not used: %w", err)
			}
		}
	}
	return nil
}

// Delete ends a proxy's process and removes its files. That there is none is success.
func (r *Runner) Delete(ctx context.Context, id string) error {
	if !uuid.MatchString(id) {
		return nil
	}
	e := r.entry(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	all, err := r.processes()
	if err != nil {
		return err
	}
	if err := r.stop(ctx, id, all[id]); err != nil {
		return fmt.Errorf("end the proxy of load-balancer %s: %w", id, err)
	}
	if err := os.RemoveAll(r.at(id).Dir); err != nil {
		return fmt.Errorf("remove the files of load-balancer %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.rows, id)
	return nil
}

// Owned are the proxies that have our mark: files below the root, or a process that has its
// configuration there. Their rows are those that this Runner was given, if it was.
func (r *Runner) Owned(context.Context) (map[string]Row, error) {
	owned := map[string]Row{}
	entries, err := os.ReadDir(r.root)
	if err != nil {
		return nil, fmt.Errorf("list proxies: %w", err)
	}
	for _, e := range entries {
		if uuid.MatchString(e.Name()) && e.IsDir() {
			owned[e.Name()] = Row{}
		}
	}
	all, err := r.processes()
	if err != nil {
		return nil, err
	}
	for id := range all {
		owned[id] = Row{}
	}
	for id := range owned {
		r.mu.Lock()
		e := r.rows[id]
		r.mu.Unlock()
		if e != nil {
			e.mu.Lock()
			owned[id] = e.row
			e.mu.Unlock()
		}
	}
	return owned, nil
}

// Revive starts what has ended though nobody ended it, and tells of which load-balancers.
func (r *Runner) Revive(ctx context.Context) (revived []string, err error) {
	all, err := r.processes()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	rows := maps.Clone(r.rows)
	r.mu.Unlock()
	var failed error
	for id, e := range rows {
		if len(all[id]) > 0 {
			continue
		}
		e.mu.Lock()
		if e.row.Namespace != "" {
			if err := r.serve(ctx, id, e, false); err != nil {
				failed = errors.Join(failed, fmt.Errorf("revive the proxy of load-balancer %s: %w", id, err))
			} else {
				revived = append(revived, id)
			}
		}
		e.mu.Unlock()
	}
	return revived, failed
}

// Faults are what of a proxy is not served as its row says.
func (r *Runner) Faults(id string) []Fault {
	e := r.entry(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rendered.Faults
}
