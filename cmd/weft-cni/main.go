// SPDX-License-Identifier: Apache-2.0

// Command weft-cni is what a container runtime runs to connect a container: it asks the
// agent of the host and does nothing to the kernel itself (doc/cni.md).
package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"
)

// build is the version of this program; set by the build.
var build = "unknown"

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: del, Check: check, GC: gc, Status: status}, spoken(), "weft-cni "+build+": connects containers to Weft's networks")
}

// spoken are the versions of the protocol that runtimes in use speak.
func spoken() version.PluginInfo {
	return version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0")
}
