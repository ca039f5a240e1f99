// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
)

// column is one column of a kind's table.
type column struct {
	title string
	wide  bool // only with -o wide
	cell  func(v *view, o api.Object) string
}

// col makes a column of a kind's own Go type.
func col[T api.Object](title string, cell func(v *view, o T) string) column {
	return column{title: title, cell: func(v *view, o api.Object) string { return cell(v, o.(T)) }}
}

// extra makes a column that only wide tables have.
func extra[T api.Object](title string, cell func(v *view, o T) string) column {
	c := col(title, cell)
	c.wide = true
	return c
}

// refCell shows a reference as seen from the object's project.
func refCell(o api.Object, r api.Ref) string {
	return refName(projectName(o.Head().Meta.FQName), r)
}

// columnsOf is the one place that says what the table of a kind shows, beside
// the name that all have.
var columnsOf = map[api.Kind][]column{
	api.KindDomain:  {describing},
	api.KindProject: {describing},
	api.KindOrchestrator: {
		col("PLATFORM", func(_ *view, o *api.Orchestrator) string { return string(o.Spec.Platform) }),
		col("DOMAIN", func(_ *view, o *api.Orchestrator) string { return o.Spec.Domain.String() }),
		col("IDENTITY", func(_ *view, o *api.Orchestrator) string { return o.Spec.Identity }),
	},
	api.KindShare: {
		col("TARGET", func(_ *view, o *api.Share) string {
			return string(o.Spec.TargetKind) + "/" + refCell(o, o.Spec.Target)
		}),
		col("TO", func(_ *view, o *api.Share) string { return granteeText(o) }),
		col("VERBS", func(_ *view, o *api.Share) string { return joinWords(o.Spec.Verbs) }),
	},
	api.KindHost: {
		col("TUNNEL-ADDRESSES", func(_ *view, o *api.Host) string { return joinWords(o.Spec.TunnelAddresses) }),
		col("CONNECTED", func(_ *view, o *api.Host) string { return yesNo(o.Status.Connected) }),
		col("PORTS", func(_ *view, o *api.Host) string { return strconv.Itoa(o.Status.Ports) }),
		col("AGENT", func(_ *view, o *api.Host) string { return o.Status.AgentVersion }),
		col("KERNEL", func(_ *view, o *api.Host) string { return o.Status.Kernel }),
		extra("UNDERLAY-MTU", func(_ *view, o *api.Host) string { return number(o.Spec.UnderlayMTU) }),
	},
	api.KindIPAM: {describing},
	api.KindSubnetPool: {
		col("PREFIXES", func(_ *view, o *api.SubnetPool) string { return joinWords(o.Spec.Prefixes) }),
		col("LENGTH", func(_ *view, o *api.SubnetPool) string { return number(o.Length(0)) }),
	},
	api.KindNetwork: {
		col("VNI", func(_ *view, o *api.Network) string { return number(int(o.Spec.VNI)) }),
		col("MTU", func(_ *view, o *api.Network) string { return number(cmp.Or(o.Status.MTU, o.Spec.MTU)) }),
		col("SUBNETS", networkSubnets),
		extra("PORTS", func(v *view, o *api.Network) string { return strconv.Itoa(len(besideOf[*api.Port](v, o))) }),
		extra("POLICIES", networkPolicies),
		extra("IPAM", func(_ *view, o *api.Network) string { return refCell(o, o.Spec.IPAM) }),
	},
	api.KindSubnet: {
		col("NETWORK", func(_ *view, o *api.Subnet) string { return refCell(o, o.Meta.Parent) }),
		col("CIDR", func(_ *view, o *api.Subnet) string { return text(o.Spec.CIDR) }),
		col("GATEWAY", func(_ *view, o *api.Subnet) string { return text(o.Spec.Gateway) }),
		col("USED", func(_ *view, o *api.Subnet) string { return subnetCount(o, o.Status.Used) }),
		col("FREE", func(_ *view, o *api.Subnet) string { return subnetCount(o, o.Status.Free) }),
		extra("POOLS", func(_ *view, o *api.Subnet) string { return joinWords(o.Spec.Pools) }),
		extra("RESERVED", func(_ *view, o *api.Subnet) string { return joinWords(o.Spec.Reserved) }),
		extra("SUBNET-POOL", func(_ *view, o *api.Subnet) string { return refCell(o, o.Spec.SubnetPool) }),
		extra("FROM", func(_ *view, o *api.Subnet) string { return string(o.Spec.AllocateFrom) }),
		extra("RESTING", func(_ *view, o *api.Subnet) string { return subnetCount(o, o.Status.Resting) }),
	},
	api.KindPort: {
		col("NETWORK", func(_ *view, o *api.Port) string { return refCell(o, o.Spec.Network) }),
		col("ADDRESSES", portAddresses),
		col("MAC", func(_ *view, o *api.Port) string { return string(o.Spec.MAC) }),
		col("HOST", portHost),
		col("STATE", portState),
		extra("ONLINE", portOnline),
		extra("MESSAGE", func(_ *view, o *api.Port) string { return o.Status.Message }),
	},
	api.KindAddress: {
		col("NETWORK", func(_ *view, o *api.Address) string { return refCell(o, o.Meta.Parent) }),
		col("IP", func(_ *view, o *api.Address) string { return text(o.Spec.IP) }),
		col("PORT", holderOf),
		col("SUBNET", func(_ *view, o *api.Address) string { return api.BaseName(o.Spec.Subnet.String()) }),
	},
	api.KindBinding: {
		col("PORT", func(_ *view, o *api.Binding) string { return refCell(o, o.Meta.Parent) }),
		col("HOST", func(_ *view, o *api.Binding) string { return o.Spec.Host.String() }),
		col("ACTIVE", func(_ *view, o *api.Binding) string { return yesNo(o.Spec.Active) }),
	},
	api.KindNetworkPolicy: {
		col("RULES", policyRules),
		col("NETWORKS", policyNetworks),
	},
	api.KindDraft: {
		col("CHANGES", func(_ *view, o *api.Draft) string { return strconv.Itoa(len(o.Spec.Writes)) }),
		col("OBJECTS", stagedNames),
		col("HOLD", heldText),
	},
	api.KindNetworkPolicyAttachment: {
		col("POLICY", func(_ *view, o *api.NetworkPolicyAttachment) string { return refCell(o, o.Spec.Policy) }),
		col("NETWORK", func(_ *view, o *api.NetworkPolicyAttachment) string { return refCell(o, o.Spec.Network) }),
	},
}

// describing is for kinds that have nothing of their own to show.
var describing = column{title: "DESCRIPTION", cell: func(_ *view, o api.Object) string {
	m := o.Head().Meta
	return cmp.Or(m.Description, m.DisplayName)
}}

// identity are the last columns of every wide table.
var identity = []column{
	{title: "LABELS", wide: true, cell: func(_ *view, o api.Object) string { return labelsText(o.Head().Meta.Labels) }},
	{title: "OWNER", wide: true, cell: func(_ *view, o api.Object) string { return o.Head().Meta.Owner }},
	{title: "UUID", wide: true, cell: func(_ *view, o api.Object) string { return o.Head().Meta.UUID }},
}

// tableColumns are the columns of a kind; with all, objects of several
// projects stand in one table and each says which.
func tableColumns(kind api.Kind, wide, all bool) []column {
	columns := []column{{title: "NAME", cell: func(_ *view, o api.Object) string { return shownName(o) }}}
	if all && inProject(kind) {
		columns = append(columns, column{title: "PROJECT", cell: func(_ *view, o api.Object) string {
			return projectName(o.Head().Meta.FQName)
		}})
	}
	for _, c := range append(kindColumns(kind), identity...) {
		if wide || !c.wide {
			columns = append(columns, c)
		}
	}
	return columns
}

// inProject tells whether objects of a kind live in projects.
func inProject(kind api.Kind) bool { return depth(kind) > 2 }

// shownName is the name within the object's project.
func shownName(o api.Object) string {
	h := o.Head()
	if !inProject(h.Kind) {
		return h.Meta.FQName
	}
	return within(projectName(h.Meta.FQName), h.Meta.FQName)
}

// titles are the header of columns.
func titles(columns []column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.title
	}
	return names
}

// cells is the row of an object.
func (v *view) cells(columns []column, o api.Object) []string {
	row := make([]string, len(columns))
	for i, c := range columns {
		row[i] = c.cell(v, o)
	}
	return row
}

func networkSubnets(v *view, o *api.Network) string {
	var ranges []netip.Prefix
	for _, s := range besideOf[*api.Subnet](v, o) {
		ranges = append(ranges, s.Spec.CIDR)
	}
	slices.SortFunc(ranges, netip.Prefix.Compare)
	return joinWords(ranges)
}

// shownCount is the largest count that is shown as a number: beyond it nobody
// is waiting for the last address.
const shownCount = 1e12

// subnetCount is a count of a subnet's addresses; none before the first count.
func subnetCount(o *api.Subnet, n uint64) string {
	switch {
	case o.Status.Assignable == 0 && o.Status.Used == 0 && o.Status.Reserved == 0:
		return ""
	case n > shownCount:
		return "many"
	}
	return strconv.FormatUint(n, 10)
}

func networkPolicies(v *view, o *api.Network) string {
	var names []string
	for _, a := range besideOf[*api.NetworkPolicyAttachment](v, o) {
		names = append(names, refCell(o, a.Spec.Policy))
	}
	return joinWords(names)
}

func portAddresses(v *view, o *api.Port) string {
	var ips []netip.Addr
	for _, a := range besideOf[*api.Address](v, o) {
		ips = append(ips, a.Spec.IP)
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return joinWords(ips)
}

func portHost(v *view, o *api.Port) string {
	for _, b := range besideOf[*api.Binding](v, o) {
		if b.Spec.Active {
			return b.Spec.Host.String()
		}
	}
	return o.Status.Host // of a sub-port: where the port is that carries it
}

// portState is what the host reports, or what follows from the binding when
// no host has reported.
func portState(v *view, o *api.Port) string {
	switch {
	case o.Status.State != "":
		return string(o.Status.State)
	case portHost(v, o) == "":
		return string(api.PortUnbound)
	}
	return string(api.PortWaiting)
}

// portOnline says what the health-checks of a port come to.
func portOnline(_ *view, o *api.Port) string {
	var words []string
	for _, c := range o.Status.HealthChecks {
		word := refCell(o, c.Check) + " " + c.Reason
		if c.Message != "" {
			word += ": " + c.Message
		}
		words = append(words, word)
	}
	if o.Status.Withdrawn {
		words = append(words, "routes taken back")
	}
	return strings.Join(words, "; ")
}

func policyRules(_ *view, o *api.NetworkPolicy) string {
	var rules []string
	for _, r := range o.Spec.Rules {
		rules = append(rules, ruleText(projectName(o.Meta.FQName), r))
	}
	return strings.Join(rules, "; ")
}

// stagedNames are the objects of what a draft stages.
func stagedNames(_ *view, o *api.Draft) string {
	var names []string
	for _, w := range o.Spec.Writes {
		if op, err := w.Operation(); err == nil {
			names = append(names, string(op.Object.Head().Kind)+"/"+within(projectName(o.Meta.FQName), api.StagedRef(op.Object).Name))
		}
	}
	return shorten(names)
}

// heldText says for whom the change waits that a draft holds.
func heldText(_ *view, o *api.Draft) string {
	switch {
	case o.Spec.Hold == nil:
		return ""
	case o.Status.Expired:
		return "expired without " + waitingText(o.Status)
	case o.Status.Behind > 0:
		return "waiting for " + waitingText(o.Status)
	}
	return "held"
}

func policyNetworks(v *view, o *api.NetworkPolicy) string {
	var names []string
	for _, a := range besideOf[*api.NetworkPolicyAttachment](v, o) {
		names = append(names, refCell(o, a.Spec.Network))
	}
	return joinWords(names)
}

func granteeText(o *api.Share) string {
	if o.Spec.GranteeKind == api.GranteeAll {
		return string(api.GranteeAll)
	}
	return string(o.Spec.GranteeKind) + "/" + o.Spec.Grantee.String()
}

// joinWords joins anything printable with commas.
func joinWords[T any](words []T) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = fmt.Sprint(w)
	}
	return strings.Join(all, ",")
}

// labelsText is labels as -l takes them.
func labelsText(labels map[string]string) string {
	var all []string
	for k, v := range labels {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// number is empty for 0, which means unset wherever it is used.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// text is empty for an address or range that is not set.
func text[T interface {
	IsValid() bool
	String() string
}](v T) string {
	if !v.IsValid() {
		return ""
	}
	return v.String()
}
