//go:build tools

// Package tools pins other people's tlog programs: torchwood's witness, and tessera's checker of log folders.
package tools

import (
	_ "filippo.io/torchwood/cmd/litewitness"
	_ "github.com/transparency-dev/tessera/cmd/fsck"
)
