// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
)

// rules writes which requests a listener's rules take. They are asked in their order, and the
// first that takes a request is remembered in a variable: HAProxy would else ask all that
// reject before any that names a pool.
func (r *render) rules(l *Listener) {
	if len(l.Rules) == 0 {
		return
	}
	owner := r.out.owner
	r.out.line("acl", "taken", "var(txn.rule)", "-m", "found")
	for i, rule := range l.Rules {
		if i >= maxRules {
			r.fault(rule.ID, TooMany, "the listener has %d rules before it: more are not asked", maxRules)
			r.passOver(&rule)
			continue
		}
		r.out.owner = rule.ID
		if r.left(rule.ID) || !r.rule(l, &rule, "r"+strconv.Itoa(i)) {
			r.passOver(&rule)
		}
		r.out.owner = owner
	}
}

// passOver notes a rule that cannot be asked. Who is to be rejected must not get in by that.
func (r *render) passOver(rule *Rule) {
	if rule.Action == "reject" && r.unasked == "" {
		r.unasked = rule.ID
	}
}

// rule writes one, and tells whether it could.
func (r *render) rule(l *Listener, rule *Rule, name string) bool {
	action, ok := r.action(l, rule)
	if !ok {
		return false
	}
	if len(rule.Requests) > maxConditions {
		r.fault(rule.ID, TooMany, "it has %d conditions, at most %d are asked", len(rule.Requests), maxConditions)
		return false
	}
	words := []string{"if", "!taken"}
	var conditions [][]string
	for i, q := range rule.Requests {
		condition := name + "c" + strconv.Itoa(i)
		lines, err := matched(q)
		if err != nil {
			r.fault(rule.ID, Unfit, "condition %d: %v; the rule is passed over", i, err)
			return false
		}
		for _, words := range lines {
			conditions = append(conditions, append([]string{"acl", condition}, words...))
		}
		if q.Invert {
			condition = "!" + condition
		}
		words = append(words, condition)
	}
	for _, c := range conditions {
		r.out.line(c...)
	}
	number := strings.TrimPrefix(name, "r")
	r.out.line(append([]string{"http-request", "set-var(txn.rule)", "int(" + number + ")"}, words...)...)
	r.out.line("acl", name, "var(txn.rule)", "-m", "int", number)
	if action[0] == "use_backend" {
		r.chosen = append(r.chosen, chosen{rule.ID, append(action, "if", name)})
	} else {
		r.actions = append(r.actions, chosen{rule.ID, append(action, "if", name)})
	}
	return true
}

// chosen is a line that is written after all conditions, and the object that it is there for.
type chosen struct {
	owner string
	words []string
}

// codes are the statuses of redirections.
var codes = []int{301, 302, 303, 307, 308}

// action is the words of what becomes of a request.
func (r *render) action(l *Listener, rule *Rule) (words []string, ok bool) {
	switch rule.Action {
	case "reject":
		return []string{"http-request", "deny", "deny_status", "403"}, true
	case "pool":
		if backend, ok := r.backend(l, rule.Pool, rule.ID); ok {
			return []string{"use_backend", backend}, true
		}
		return []string{"http-request", "deny", "deny_status", "503"}, true
	case "redirect":
		how, to := "location", rule.URL
		if to == "" {
			how, to = "prefix", rule.Prefix
		}
		code := rule.RedirectCode
		if code == 0 {
			code = 302
		}
		switch {
		case to == "" || !printable(to) || strings.Contains(to, " "):
			r.fault(rule.ID, Unfit, "%q is no place to redirect to: it is empty or has spaces or control characters", to)
			return nil, false
		case !slices.Contains(codes, code):
			r.fault(rule.ID, Unfit, "%d is no status of a redirection: use 301, 302, 303, 307 or 308", code)
			return nil, false
		}
		return []string{"http-request", "redirect", how, literal(to), "code", strconv.Itoa(code)}, true
	}
	r.fault(rule.ID, Unfit, "action %q is not known here", rule.Action)
	return nil, false
}

// fetches are the parts of a request that are compared as text.
var fetches = map[string]string{
	"host":      "req.hdr(host),host_only",
	"path":      "path",
	"file-type": `path,word(-1,/),regsub("^[^.]*$",""),field(-1,.)`, // of the last element, if it has one
}

// attribute is part of a distinguished name, as OpenSSL calls it.
var attribute = regexp.MustCompile(`^[A-Za-z]{1,32}$`)

// matched is a condition in words of HAProxy's, from what is compared on; it holds if one of the lines does.
func matched(q api.RequestMatch) (lines [][]string, err error) {
	if q.Value == "" || !printable(q.Value) {
		return nil, fmt.Errorf("the value %q is empty or has control characters", q.Value)
	}
	fetch, known := fetches[q.What]
	switch q.What {
	case "client-certificate":
		if q.Compare != "equals" || (q.Value != "true" && q.Value != "false") {
			return nil, fmt.Errorf("client-certificate equals true or false, and is not %s %q", q.Compare, q.Value)
		}
		return [][]string{{"ssl_c_used", "-m", "bool", q.Value}}, nil
	case "client-verify":
		n, err := strconv.ParseUint(q.Value, 10, 16)
		if err != nil || q.Compare != "equals" {
			return nil, fmt.Errorf("client-verify equals a number of OpenSSL's, 0 for good, and is not %s %q", q.Compare, q.Value)
		}
		return [][]string{{"ssl_c_verify", "-m", "int", strconv.FormatUint(n, 10)}}, nil
	case "client-name":
		if !attribute.MatchString(q.Key) {
			return nil, fmt.Errorf("key %q is no part of a name such as CN or OU", q.Key)
		}
		fetch = "ssl_c_s_dn(" + q.Key + ")"
	case "header", "cookie":
		if !token.MatchString(q.Key) {
			return nil, fmt.Errorf("key %q is no name of a %s: letters, digits and _.- are", q.Key, q.What)
		}
		fetch = map[string]string{"header": "req.fhdr(", "cookie": "req.cook("}[q.What] + q.Key + ")"
	default:
		if !known {
			return nil, fmt.Errorf("%q is not known here", q.What)
		}
	}
	return compared(fetch, q)
}

// methods are how texts are compared.
var methods = map[string]string{"equals": "str", "starts-with": "beg", "ends-with": "end", "contains": "sub"}

func compared(fetch string, q api.RequestMatch) ([][]string, error) {
	words := func(method, value string) []string {
		if q.What == "host" {
			return []string{fetch, "-m", method, "-i", "--", value}
		}
		return []string{fetch, "-m", method, "--", value}
	}
	switch q.Compare {
	case "regex":
		value, err := expression(q.Value)
		if err != nil {
			return nil, fmt.Errorf("%q %w", q.Value, err)
		}
		return [][]string{words("reg", value)}, nil
	case "path-prefix":
		if q.What != "path" {
			return nil, fmt.Errorf("path-prefix compares paths, and not %s", q.What)
		}
		if prefix := strings.TrimRight(q.Value, "/"); prefix != "" {
			return [][]string{words("str", prefix), words("beg", prefix+"/")}, nil
		}
		return [][]string{words("beg", "/")}, nil
	}
	method, known := methods[q.Compare]
	if !known {
		return nil, fmt.Errorf("compare %q is not known here", q.Compare)
	}
	return [][]string{words(method, q.Value)}, nil
}
