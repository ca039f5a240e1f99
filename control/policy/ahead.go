// SPDX-License-Identifier: Apache-2.0

package policy

// asked is what the sets for projects ask, as runRulesets wants it: of one
// project after another.
type asked struct {
	finder *finder
	of     string // the project of which tiers are; its workloads come one after another
	tiers  *tiers

	projects []string    // that follow in found
	found    chan *tiers // nil: nothing is found ahead
}

// How many projects make it worth while to find ahead, and how far ahead.
const (
	manyProjects = 64
	foundAhead   = 32
)

// tiersOf are the sets that may be for the workloads of a project.
func (u *update) tiersOf(project string) *tiers {
	a := &u.asked
	if a.tiers != nil && a.of == project {
		return a.tiers
	}
	a.of = project
	if len(a.projects) > 0 && a.projects[0] == project {
		a.tiers, a.projects = <-a.found, a.projects[1:]
	} else {
		a.tiers = u.finder().tiersOf(project)
	}
	return a.tiers
}

func (u *update) finder() *finder {
	if u.asked.finder == nil {
		f := &finder{snapshot: u.snapshot, objects: u.objects}
		for _, set := range u.global {
			f.global = append(f.global, f.askedOf(set))
		}
		u.asked.finder = f
	}
	return u.asked.finder
}

// findAhead begins to find what will be asked for on another core, if there is
// much: what sets name lies anywhere in memory, and to wait for it is a quarter
// of compiling from nothing. What it returns ends that.
func (u *update) findAhead() (end func()) {
	var projects []string
	for _, id := range u.stale.order {
		c, ok := u.classes.Get(id)
		if ok && c.ports != nil && (len(projects) == 0 || projects[len(projects)-1] != c.Project) {
			projects = append(projects, c.Project)
		}
	}
	if len(projects) < manyProjects {
		return func() {}
	}
	f, found, stop, ended := u.finder(), make(chan *tiers, foundAhead), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for _, project := range projects {
			select {
			case found <- f.tiersOf(project):
			case <-stop:
				return
			}
		}
	}()
	u.asked.projects, u.asked.found = projects, found
	return func() {
		close(stop)
		<-ended
		u.asked.projects = nil
	}
}
