// SPDX-License-Identifier: Apache-2.0

package views

// ThoughtOf is for tests.
var ThoughtOf = thoughtOf
