// Package docs holds the documents that the program itself shows, so that what it
// says and what is published are one text.
package docs

import _ "embed"

//go:embed findings.md
var findings []byte

// Findings returns findings.md: what each class of finding means.
func Findings() []byte { return findings }
