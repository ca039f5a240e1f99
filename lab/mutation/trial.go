// SPDX-License-Identifier: Apache-2.0

package mutation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Result is how a mutant fared.
type Result string

// A mutant whose code is that of the original was never a change. One the
// kernel refuses could not be run, and needs no test to be noticed.
const (
	Killed     Result = "killed"
	Survived   Result = "survived"
	SameCode   Result = "same code"
	NotCompile Result = "did not compile"
	Refused    Result = "refused by the verifier"
)

// Results is the order of a table.
var Results = []Result{Killed, Survived, SameCode, NotCompile, Refused}

// Trial is a mutant and its end.
type Trial struct {
	Mutant Mutant
	Result Result
	By     string // the test that noticed, or what the compiler said
}

// step is tests that look at some of the objects. Cheap ones are first: most
// mutants die in them.
type step struct {
	objects func(object) bool
	tests   string
	flags   []string // of the test program besides
}

// A test program may take so many times what it takes with the unchanged
// sources, for several run at one time, and the machine may have other work.
const (
	slower       = 6
	leastTimeout = time.Minute
	// unchangedTimeout bounds a step with the unchanged sources.
	unchangedTimeout = 20 * time.Minute
)

var steps = []step{
	{func(o object) bool { return !o.product() && !o.rehearsal() }, "^(TestProgramsAgreeWithOracle|TestTenants|TestAnswersHaveRightChecksums|TestNoErrorAboutErrors|TestTrace.*)$", nil},
	{object.rehearsal, "^(TestConversationsAgreeWithOracle|TestFloodEvictsOnlyItsLike|TestFullConnections.*|TestConnectionsExpire|TestShortcutIsTaken|TestStatesAgreeWithOracle|TestAssociation)$", []string{"-cases", "200"}},
	{object.product, "^(TestProductAgreesWithOracle|TestErrorsAreLimited|TestUntracked.*|TestFramesOnTheWire|TestEmptySlotDrops)$", nil},
	{object.product, "^TestErrorsReachTools$|^TestTrafficBetweenHosts$/^auto$|^TestConnections.*$", nil},
}

// Laboratory runs mutants. Its directory holds everything it makes.
type Laboratory struct {
	vrouter  string // the package under test
	dir      string
	program  string
	seed     uint64
	objects  []object
	original map[string]string // code by name of object
	timeouts []time.Duration   // of the steps, from what they took with the unchanged sources
}

// NewLaboratory builds the test program of vrouter in a directory and tries it on
// unchanged sources, which must pass. The tests make random worlds from seed.
func NewLaboratory(ctx context.Context, root, dir string, seed uint64) (*Laboratory, error) {
	l := &Laboratory{vrouter: filepath.Join(root, "vrouter"), dir: dir, program: filepath.Join(dir, "vrouter.test"), seed: seed, original: map[string]string{}}
	var err error
	if l.objects, err = readObjects(l.vrouter); err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", l.program, ".")
	build.Dir, build.Stderr = l.vrouter, os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build test program of vrouter: %w", err)
	}
	t, err := l.run(ctx, Mutant{})
	if err != nil {
		return nil, err
	}
	if t.Result != Survived {
		return nil, fmt.Errorf("the unchanged sources are %s (%s): make the tests of vrouter pass first", t.Result, t.By)
	}
	return l, nil
}

// Run tries one mutant. An error is one of the laboratory.
func (l *Laboratory) Run(ctx context.Context, m Mutant) (Trial, error) { return l.run(ctx, m) }

// run without a file is the trial of the original.
func (l *Laboratory) run(ctx context.Context, m Mutant) (Trial, error) {
	t := Trial{Mutant: m}
	dir, err := os.MkdirTemp(l.dir, "mutant-")
	if err != nil {
		return t, fmt.Errorf("make directory of mutant: %w", err)
	}
	defer os.RemoveAll(dir)
	sources := filepath.Join(dir, "bpf")
	if err := l.copySources(sources, m); err != nil {
		return t, err
	}
	changed := map[string]bool{}
	built := map[string]bool{}
	for i, s := range steps {
		for _, o := range l.objects {
			if !s.objects(o) || built[o.name] || (m.File != "" && !slices.Contains(o.reads, m.File)) {
				continue
			}
			built[o.name] = true
			if changed[o.name], err = l.build(ctx, o, sources, dir, m.File == ""); err != nil {
				t.Result, t.By = NotCompile, err.Error()
				return t, ctx.Err()
			}
		}
		if !slices.ContainsFunc(l.objects, func(o object) bool { return s.objects(o) && changed[o.name] }) {
			continue
		}
		timeout := unchangedTimeout
		if m.File != "" {
			timeout = l.timeouts[i]
		}
		began := time.Now()
		t.Result, t.By, err = l.test(ctx, s, dir, timeout)
		if m.File == "" {
			l.timeouts = append(l.timeouts, max(leastTimeout, slower*time.Since(began)))
		}
		if err != nil || t.Result != Survived {
			return t, err
		}
	}
	if t.Result == "" {
		t.Result = SameCode
	}
	return t, nil
}

func (l *Laboratory) copySources(to string, m Mutant) error {
	from := filepath.Join(l.vrouter, "bpf")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy C files: %w", err)
	}
	if m.File == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(from, m.File))
	if err != nil {
		return fmt.Errorf("read C file: %w", err)
	}
	if m.end > len(text) {
		return fmt.Errorf("change %s: the file has become shorter meanwhile; start again", m)
	}
	return os.WriteFile(filepath.Join(to, m.File), []byte(m.apply(string(text))), 0o600)
}

// build compiles an object and says whether it is another than the original.
func (l *Laboratory) build(ctx context.Context, o object, sources, dir string, original bool) (bool, error) {
	if err := compile(ctx, o, sources, dir); err != nil {
		return false, err
	}
	sum, err := code(filepath.Join(dir, o.file()))
	if err != nil {
		return false, err
	}
	if original {
		l.original[o.name] = sum
		return true, nil
	}
	return sum != l.original[o.name], nil
}

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// test runs one step in a mount namespace of its own, so that nothing stays
// mounted when a mutant makes the tests hang and they must be killed.
func (l *Laboratory) test(ctx context.Context, s step, dir string, timeout time.Duration) (Result, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+10*time.Second)
	defer cancel()
	arguments := append([]string{"-test.failfast", "-test.run", s.tests, "-test.timeout", timeout.String()}, s.flags...)
	cmd := exec.CommandContext(ctx, l.program, arguments...)
	cmd.Dir = l.vrouter
	cmd.Env = append(os.Environ(), "WEFT_OBJECTS="+dir, "WEFT_SEED="+strconv.FormatUint(l.seed, 10), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	l.sweep(cmd)
	if err == nil {
		return Survived, "", nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return "", "", fmt.Errorf("run test program: %w", err)
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return "", "", ctx.Err()
	}
	text := out.String()
	if strings.Contains(text, "load program ") {
		return Refused, "", nil
	}
	if m := failedTest.FindStringSubmatch(text); m != nil {
		return Killed, m[1], nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || strings.Contains(text, "test timed out") {
		return Killed, "time", nil
	}
	return "", "", fmt.Errorf("test program ended with %w and no failed test:\n%s", err, text)
}

// sweep removes the names of network namespaces that a killed test program
// left; the namespaces went with its mounts.
func (l *Laboratory) sweep(cmd *exec.Cmd) {
	if cmd.Process == nil {
		return
	}
	left, _ := filepath.Glob(fmt.Sprintf("/run/netns/weft-vr-%d-*", cmd.Process.Pid)) // the pattern is right
	for _, name := range left {
		os.Remove(name)
	}
}
