// SPDX-License-Identifier: Apache-2.0

// Package store keeps intent in etcd: every write is one etcd transaction over
// all its objects, and every rule that needs more than one object is kept by a
// key which that transaction compares. An in-memory twin of the objects
// follows etcd by one watch and answers all reads from immutable snapshots.
//
// # Keys
//
//	object/<kind>/<uuid>                    the object: header and spec, schema version, shares it relies on
//	status/<kind>/<uuid>                    what the system reports of it
//	name/<kind>/<parent uuid or ->/<name>   the object that has the name
//	ref/<target kind>/<target uuid>/<referrer kind>/<referrer uuid>/<field>
//	                                        one reference; parent, owner and relied-on shares are references too
//	claim/<claim key>                       the object that holds the claim (address, MAC, VNI, …)
//	foreign/<owner>/<kind>/<id>             the object that has this identity in its orchestrator
//	rest/<address space>/<ip>               an address that was freed and is in quarantine, under a lease
//	guard/<guard>                           touched by every write that changes a guarded set
//	token/<id>                              a bearer token: identity, expiry, hash of the secret
//	write/<id>                              a committed (or fenced) write, under a lease
//	meta/epoch                              rises when the store is restored from a backup
//	meta/deleted                            put by every transaction that deletes an object: its revision is that of the last one
//	meta/written                            put by every transaction, but of drafts and foreign-documents alone: its revision is that of the last one
//	meta/default-networks                   the default networks have been made, and are not made again
//	meta/schema                             the lowest schema whose controllers may take part
//	meta/authority                          hash of the certificate authority all controllers have
//	authority/state                         which certificate authorities there are, once one has been replaced; keys only sealed
//	authority/controller/<name>             up to which generation of them a running controller is, under its lease
//	authority/certificate/<key>             who has which certificate
//	peer/<topic>/<id>                       what one controller tells the others, under its lease (package peers)
//	leader/<work>/<lease>                   candidates for work that one controller does; the oldest leads (package peers)
//
// The name, ref, claim and foreign keys of an object are a function of its
// record (heldKeys). A transaction computes the keys held before and after by
// all the objects it touches, and puts and deletes the difference; that is the
// only code that writes them.
//
// # Invariants
//
// doc/invariants.md lists every invariant with the key that guards it.
package store
