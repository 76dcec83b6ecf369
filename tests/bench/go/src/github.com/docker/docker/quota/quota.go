// Copyright (c) 2026, The strata.overlay2 authors
// BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
// SPDX-License-Identifier: BSD-2-Clause

// Package quota stands in for moby's, which Debian's package of its source lacks: the benchmark sets no quota.
package quota

import "errors"

var errNone = errors.New("built without quota")

// Quota is a limit in bytes.
type Quota struct{ Size uint64 }

// Control would set quotas.
type Control struct{}

// NewControl always fails, so that the driver goes without.
func NewControl(string) (*Control, error) { return nil, errNone }

// SetQuota is never called.
func (*Control) SetQuota(string, Quota) error { return errNone }
