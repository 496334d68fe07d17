//go:build tools

// Package tools pins h2spec 2.6.0. Its tag is no valid module version, so the commit is named by a pseudo-version.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
