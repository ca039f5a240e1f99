// SPDX-License-Identifier: Apache-2.0

package api

import "net/netip"

// MaxConversations is how many conversations are judged at once.
const MaxConversations = 5000

// Conversation is one that was, is, or was refused, as it began.
type Conversation struct {
	Port       string     `json:"port" doc:"UUID of the port at one of its ends."`
	Began      bool       `json:"began,omitempty" doc:"That port began it; else it was spoken to."`
	Protocol   Protocol   `json:"protocol" doc:"Name in lower case or number."`
	From       netip.Addr `json:"from" doc:"Of who began."`
	To         netip.Addr `json:"to" doc:"Of who is spoken to."`
	SourcePort uint16     `json:"sourcePort,omitempty"`
	TargetPort uint16     `json:"targetPort,omitempty" doc:"Of ICMP: the type, times 256, and the code."`
}

// JudgeRequest asks which conversations policy would judge otherwise after changes.
type JudgeRequest struct {
	Conversations []Conversation `json:"conversations" minItems:"1" maxItems:"5000"`
	Operations    []Operation    `json:"operations" doc:"Changes that are only thought of, as in a transaction."`
}

// Judgements are the conversations that would be judged otherwise.
type Judgements struct {
	Revision int64         `json:"revision"`
	Distinct int           `json:"distinct" doc:"How many conversations it was, each once."`
	Differ   []Judgement   `json:"differ" doc:"Those that pass now and would not, or the other way; each once."`
	Unknown  []Unjudgeable `json:"unknown,omitempty" doc:"Those of which nothing can be said."`
}

// Judgement is a conversation that would be judged otherwise.
type Judgement struct {
	Index int     `json:"index" doc:"Which one, from 0."`
	From  Speaker `json:"from"`
	To    Speaker `json:"to"`
	Now   Verdict `json:"now"`
	After Verdict `json:"after"`
}

// Unjudgeable is a conversation of which nothing can be said.
type Unjudgeable struct {
	Index int    `json:"index"`
	Why   string `json:"why"`
}

// Speaker is an end of a conversation.
type Speaker struct {
	Address netip.Addr `json:"address"`
	Port    Ref        `json:"port,omitzero" doc:"Absent: it is outside, or nobody says whose it is."`
	Network Ref        `json:"network,omitzero"`
}

// Verdict is what becomes of a conversation, and what each layer says.
type Verdict struct {
	Passes bool           `json:"passes"`
	Reason string         `json:"reason,omitempty" doc:"Why it does not pass where policy is not what refuses it, as no route."`
	Layers []LayerVerdict `json:"layers,omitempty" doc:"In the order in which they are asked, until one refuses."`
}

// LayerVerdict is what one layer says at one end.
type LayerVerdict struct {
	End    Side   `json:"end" doc:"egress at the port that begins, ingress at the one that is spoken to."`
	Port   Ref    `json:"port"`
	Layer  string `json:"layer"`
	Action string `json:"action" doc:"pass, deny, reject, next or identity-pending."`
	Rule   string `json:"rule,omitempty" doc:"Kind and name of the object that has the rule, and which of its rules; absent: no rule matches, or it may not be seen."`
	Object string `json:"object,omitempty" doc:"Its UUID."`
	Owner  string `json:"owner,omitempty" doc:"Whose object it is."`
	Via    string `json:"via,omitempty" doc:"By what it comes to the port: its group, or policy and set."`
	Hidden bool   `json:"hidden,omitempty" doc:"There is a rule that these credentials may not see."`
}
