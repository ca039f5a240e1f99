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
	"sync"
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
	By     string        // the test that noticed, or what the compiler said
	Step   int           // the last that was run, from 1; 0: none
	Took   time.Duration // compiling included
}

// step is tests that look at some of the objects. Cheap ones are first: most
// mutants die in them, and only what no step has killed goes through all.
type step struct {
	objects func(object) bool
	tests   string
	flags   []string // of the test program besides
	// glance: by a program that is kept, and only objects are built that hold something
	// of the changed function, one after another.
	glance bool
}

// A test program may take so many times what it takes with the unchanged
// sources, for several run at one time, and the machine may have other work.
const (
	slower       = 6
	leastTimeout = 3 * time.Minute
	byTime       = "time" // what killed a mutant that took longer
	// unchangedTimeout bounds a step with the unchanged sources.
	unchangedTimeout = 20 * time.Minute
)

var steps = []step{
	{func(o object) bool { return o.quick }, glanceTest, nil, true},
	{func(o object) bool { return !o.product() && !o.rehearsal() },
		"^(TestProgramsAgreeWithOracle|TestTenants|TestAnswersHaveRightChecksums|TestResetsFollowTheStandard|TestNoErrorAboutErrors|TestSourcesBeyondAddresses|TestProbeOfSharedAddress|TestTrace.*)$", nil, false},
	{object.rehearsal,
		"^(TestEnds|TestAssociation|TestShortcut.*|TestFullConnections.*|TestFloodEvictsOnlyItsLike|TestFloodSparesOtherPorts|TestSharesComeBack|TestOneNetworkLeavesRoomToLearn|TestGroups)$", nil, false},
	{object.rehearsal, "^(TestConversationsAgreeWithOracle|TestStatesAgreeWithOracle)$", []string{"-cases", "200"}, false},
	{object.product,
		"^(TestProductAgreesWithOracle|TestErrorsAreLimited|TestAnswersAreLimited|TestRequestsAreLimited|TestFloodsAreLimited|TestServicesAreLimited|TestUntracked.*|TestLimit.*|TestPlacesComeBack|" +
			"TestConnectionsCount|TestDropIsTold|TestRefusalsAreTold|TestEvents.*|TestFirstPacketIsTold|TestRulesLog|TestLogIs.*|TestPortsShareTheLog|TestFormerRules.*|TestCapture.*)$", nil, false},
	{object.product,
		"^TestFramesOnTheWire$|^TestFloodOnTheWire$|^TestEmptySlotDrops$|^TestEmptyUplinkSlotPasses$|^TestErrorsReachTools$|^TestErrorsOfConversations$|^TestStatesOfRealTCP$|^TestConnectionsOutlive.*$|" +
			"^TestTrafficBetweenHosts$/^auto$|^TestTrafficByMPLSOverUDP$/^auto$|^TestFabric$/^auto$|^TestFabricHops$|^TestFabricSpoof$", nil, false},
}

// Laboratory runs mutants. Its directory holds everything it makes.
type Laboratory struct {
	vrouter string // the package under test
	dir     string
	program string
	seed    uint64
	objects []object

	// Steps is how many are run at most, 0 for all: what survives the first alone is
	// worth all of them.
	Steps int
	// Passed is how many are left out at the beginning: the mutants have survived these.
	Passed int

	// What is known of the unchanged sources, each when it is first asked for.
	mu       sync.Mutex
	original map[string]code       // by name of object
	timeouts map[int]time.Duration // of the steps, from what they took

	free     sync.Mutex
	glancers []*glancer // that are at rest
}

// NewLaboratory builds the test program of vrouter in a directory. The tests make
// random worlds from seed. Each step is tried on the unchanged sources before the
// first mutant comes to it, and must pass.
func NewLaboratory(ctx context.Context, root, dir string, seed uint64) (*Laboratory, error) {
	l := &Laboratory{
		vrouter: filepath.Join(root, "vrouter"), dir: dir, program: filepath.Join(dir, "vrouter.test"), seed: seed,
		original: map[string]code{}, timeouts: map[int]time.Duration{},
	}
	var err error
	if l.objects, err = readObjects(l.vrouter); err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", l.program, ".")
	build.Dir, build.Stderr = l.vrouter, os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build test program of vrouter: %w", err)
	}
	if err := l.copySources(l.unchanged("bpf"), Mutant{}); err != nil {
		return nil, err
	}
	if err := os.Mkdir(l.unchanged("none"), 0o700); err != nil {
		return nil, fmt.Errorf("make directory without objects: %w", err)
	}
	return l, nil
}

// unchanged is where the unchanged sources are, and what is made of them.
func (l *Laboratory) unchanged(name string) string { return filepath.Join(l.dir, "unchanged", name) }

// originalOf compiles an object of the unchanged sources. The lock is the caller's.
func (l *Laboratory) originalOf(ctx context.Context, o object) (code, error) {
	if c, there := l.original[o.name]; there {
		return c, nil
	}
	c, err := build(ctx, o, l.unchanged("bpf"), l.unchanged(""))
	if err != nil {
		return code{}, fmt.Errorf("compile the unchanged sources: %w", err)
	}
	l.original[o.name] = c
	return c, nil
}

// timeoutOf is that of a step, which the unchanged sources must pass.
func (l *Laboratory) timeoutOf(ctx context.Context, number int) (time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if timeout, there := l.timeouts[number]; there {
		return timeout, nil
	}
	for _, o := range l.objects {
		if steps[number].objects(o) && !steps[number].glance {
			if _, err := l.originalOf(ctx, o); err != nil {
				return 0, err
			}
		}
	}
	dir := l.unchanged("")
	if steps[number].glance {
		dir = l.unchanged("none") // what is embedded, as it is
	}
	began := time.Now()
	result, by, err := l.run(ctx, steps[number], dir, unchangedTimeout)
	if err != nil {
		return 0, err
	}
	if result != Survived {
		return 0, fmt.Errorf("the unchanged sources are %s (%s): make the tests of vrouter pass first", result, by)
	}
	l.timeouts[number] = max(leastTimeout, slower*time.Since(began))
	return l.timeouts[number], nil
}

// holding are the objects of a step that the mutant can change.
func (l *Laboratory) holding(ctx context.Context, s step, m Mutant) ([]object, error) {
	of := slices.DeleteFunc(slices.Clone(l.objects), func(o object) bool { return !s.objects(o) || !slices.Contains(o.reads, m.File) })
	if !s.glance || m.Place == "enum" { // a constant is anywhere
		return of, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var held []object
	for _, o := range of {
		c, err := l.originalOf(ctx, o)
		if err != nil {
			return nil, err
		}
		if c.holds(m) {
			held = append(held, o)
		}
	}
	if len(held) == 0 { // nothing says that it is in none: a short function has no line of its own
		return of, nil
	}
	return held, nil
}

// Run tries one mutant. An error is one of the laboratory.
func (l *Laboratory) Run(ctx context.Context, m Mutant) (Trial, error) {
	began := time.Now()
	t, err := l.try(ctx, m)
	t.Took = time.Since(began)
	return t, err
}

func (l *Laboratory) try(ctx context.Context, m Mutant) (Trial, error) {
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
	changed := map[string]bool{} // of the objects that were built
	for i, s := range steps {
		if l.Steps > 0 && i >= l.Steps {
			break
		}
		if i < l.Passed {
			continue
		}
		objects, err := l.holding(ctx, s, m)
		if err != nil {
			return t, err
		}
		for _, round := range s.rounds(objects) {
			if err := l.buildAll(ctx, round, dir, changed); errors.Is(err, errNotCompiled) {
				t.Result, t.By = NotCompile, err.Error()
				return t, ctx.Err()
			} else if err != nil {
				return t, err
			}
			if !slices.ContainsFunc(round, func(o object) bool { return changed[o.name] }) {
				continue
			}
			timeout, err := l.timeoutOf(ctx, i)
			if err != nil {
				return t, err
			}
			t.Step = i + 1
			if t.Result, t.By, err = l.run(ctx, s, dir, timeout); err != nil || t.Result != Survived {
				return t, err
			}
		}
	}
	if t.Result == "" && l.Steps > 0 {
		t.Result = Survived // as far as these steps go
	} else if t.Result == "" {
		t.Result = SameCode
	}
	return t, nil
}

// rounds are the objects of a step that are tried at one time: of a glance the
// smaller of those that most of the path is in before the larger, and before all others.
func (s step) rounds(objects []object) (all [][]object) {
	rest := slices.Clone(objects)
	for _, source := range []string{"from_tunnel.c", "from_port.c"} {
		i := slices.IndexFunc(rest, func(o object) bool { return o.source == source })
		if s.glance && i >= 0 {
			all = append(all, rest[i:i+1:i+1])
			rest = slices.Concat(rest[:i], rest[i+1:])
		}
	}
	return append(all, rest)
}

var errNotCompiled = errors.New("it does not compile")

// buildAll builds objects of a mutant that are not built yet. Those that are what they
// were are not left there.
func (l *Laboratory) buildAll(ctx context.Context, objects []object, dir string, changed map[string]bool) error {
	for _, o := range objects {
		if _, built := changed[o.name]; built {
			continue
		}
		c, err := build(ctx, o, filepath.Join(dir, "bpf"), dir)
		if err != nil {
			return fmt.Errorf("%w: %w", errNotCompiled, err)
		}
		l.mu.Lock()
		original, err := l.originalOf(ctx, o)
		l.mu.Unlock()
		if err != nil {
			return err
		}
		if changed[o.name] = c.sum != original.sum; changed[o.name] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, o.file())); err != nil {
			return fmt.Errorf("remove object that is what it was: %w", err)
		}
	}
	return nil
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

// build compiles an object and reads what it has become.
func build(ctx context.Context, o object, sources, dir string) (code, error) {
	if err := compile(ctx, o, sources, dir); err != nil {
		return code{}, err
	}
	return readCode(filepath.Join(dir, o.file()))
}

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// run tries a directory of objects in one step.
func (l *Laboratory) run(ctx context.Context, s step, dir string, timeout time.Duration) (Result, string, error) {
	if s.glance {
		return l.glance(ctx, dir, timeout)
	}
	return l.test(ctx, s, dir, timeout)
}

// command is the test program, in a mount namespace of its own, with its temporary
// files in a directory.
func (l *Laboratory) command(ctx context.Context, dir string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, l.program, arguments...)
	cmd.Dir = l.vrouter
	cmd.Env = append(os.Environ(), "WEFT_SEED="+strconv.FormatUint(l.seed, 10), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// test runs one step in a mount namespace of its own, so that nothing stays
// mounted when a mutant makes the tests hang and they must be killed.
func (l *Laboratory) test(ctx context.Context, s step, dir string, timeout time.Duration) (Result, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+10*time.Second)
	defer cancel()
	arguments := append([]string{"-test.failfast", "-test.run", s.tests, "-test.timeout", timeout.String()}, s.flags...)
	cmd := l.command(ctx, dir, arguments...)
	cmd.Env = append(cmd.Env, "WEFT_OBJECTS="+dir)
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
		return Killed, byTime, nil
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
