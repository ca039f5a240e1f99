// SPDX-License-Identifier: Apache-2.0

package command

import (
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// parseKind reads a kind as people write it.
func parseKind(word string) (api.Info, error) {
	info, ok := api.ParseKind(strings.ToLower(word))
	if ok {
		return info, nil
	}
	if slices.Contains(api.HostTables(), word) {
		return info, usagef("%q is a table of a host, not a kind: weft get %s --host HOST", word, word)
	}
	var known []string
	for _, k := range api.Kinds() {
		known = append(known, k.Plural)
	}
	return info, usagef("%q is not a kind: want one of %s", word, strings.Join(known, ", "))
}

// target is one object as named on the command line.
type target struct {
	info api.Info
	ref  api.Ref
}

// parseTargets reads KIND REF..., or KIND/REF....
func (s *session) parseTargets(args []string) ([]target, error) {
	var targets []target
	if !strings.Contains(args[0], "/") {
		info, err := parseKind(args[0])
		if err != nil {
			return nil, err
		}
		for _, a := range args[1:] {
			ref, err := s.ref(info.Kind, a)
			if err != nil {
				return nil, err
			}
			targets = append(targets, target{info, ref})
		}
		return targets, nil
	}
	for _, a := range args {
		t, err := s.parseSlashed(a)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// parseSlashed reads KIND/REF.
func (s *session) parseSlashed(text string) (target, error) {
	word, name, ok := strings.Cut(text, "/")
	if !ok {
		return target{}, usagef("%q: want KIND/NAME", text)
	}
	info, err := parseKind(word)
	if err != nil {
		return target{}, err
	}
	ref, err := s.ref(info.Kind, name)
	return target{info, ref}, err
}

// ref reads a reference as people write it: a UUID, a full name, or a name
// whose left part is that of the project in use.
func (s *session) ref(kind api.Kind, text string) (api.Ref, error) {
	if lower := strings.ToLower(text); api.IsUUID(lower) {
		return api.Ref{UUID: lower}, nil
	}
	name, err := completeName(s.project, kind, text)
	return api.Ref{Name: name}, err
}

// completeName adds the missing left part of a name from a project's name.
func completeName(project string, kind api.Kind, name string) (string, error) {
	want := depth(kind)
	have := strings.Count(name, ":") + 1
	base := strings.Split(project, ":")
	missing := want - have
	switch {
	case name == "" || strings.HasPrefix(name, ":") || strings.HasSuffix(name, ":") || strings.Contains(name, "::"):
		return "", usagef("%q is not the name of a %s: want %s", name, kind, nameForm(kind))
	case missing == 0:
		return name, nil
	case missing < 0:
		return "", usagef("%q has too many parts for the name of a %s: want %s", name, kind, nameForm(kind))
	case missing > len(base):
		return "", usagef("%q does not say which %s the %s is in: want %s", name, parentOf(kind), kind, nameForm(kind))
	}
	return strings.Join(base[:missing], ":") + ":" + name, nil
}

// depth is how many parts the name of a kind has.
func depth(kind api.Kind) int { return len(ancestry(kind)) }

// ancestry is the kinds along a name, from the root to the kind itself.
func ancestry(kind api.Kind) []api.Kind {
	info, ok := api.KindInfo(kind)
	if !ok || info.Parent == "" {
		return []api.Kind{kind}
	}
	return append(ancestry(info.Parent), kind)
}

// parentOf is the kind that contains a kind.
func parentOf(kind api.Kind) api.Kind {
	info, _ := api.KindInfo(kind)
	return info.Parent
}

// nameForm shows how a kind is named: [DOMAIN:PROJECT:]NETWORK:NAME.
func nameForm(kind api.Kind) string {
	var optional, rest []string
	for _, k := range ancestry(kind) {
		switch {
		case k == kind:
			rest = append(rest, "NAME")
		case k == api.KindDomain || k == api.KindProject:
			optional = append(optional, strings.ToUpper(string(k)))
		default:
			rest = append(rest, strings.ToUpper(string(k)))
		}
	}
	if len(optional) == 0 {
		return strings.Join(rest, ":")
	}
	return "[" + strings.Join(optional, ":") + ":]" + strings.Join(rest, ":")
}

// parentName is a full name without its last part.
func parentName(fqName string) string {
	i := strings.LastIndexByte(fqName, ':')
	if i < 0 {
		return ""
	}
	return fqName[:i]
}

// projectName is the first two parts of a full name.
func projectName(fqName string) string {
	parts := strings.SplitN(fqName, ":", 3)
	return strings.Join(parts[:min(2, len(parts))], ":")
}

// within shortens a full name as seen from a project.
func within(project, fqName string) string {
	return strings.TrimPrefix(fqName, project+":")
}

// nameWithin makes one word of an object's name, as short as it is still
// unique among what a project holds: a name inside it loses the project.
func nameWithin(project, fqName string) string {
	name := within(project, fqName)
	if name == fqName {
		domain, _, _ := strings.Cut(project, ":")
		name = within(domain, fqName)
	}
	return strings.ReplaceAll(name, ":", "-")
}

// refName is how a reference is shown beside an object of a project.
func refName(project string, r api.Ref) string { return within(project, r.String()) }
