// SPDX-License-Identifier: Apache-2.0

// Package reference writes the reference page of every kind from the kind
// itself: fields from the Go type and its tags; references, claims and what is
// fixed from what the type's own methods answer for an object with every field
// set; and an example that the tests give to a real store. So a page cannot
// say what the code does not do.
package reference

//go:generate go run ./write ../../doc/reference
