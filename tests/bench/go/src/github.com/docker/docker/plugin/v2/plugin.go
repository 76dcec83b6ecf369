// Copyright (c) 2026, The strata.overlay2 authors
// BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
// SPDX-License-Identifier: BSD-2-Clause

// Package v2 stands in for moby's, which Debian's package of its source lacks: the benchmark loads no plugin.
package v2

import (
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/pkg/plugingetter"
)

// Plugin has what the driver's loader of plugins asks for.
type Plugin struct {
	plugingetter.CompatPlugin
	PluginObj types.Plugin
}
