//go:build !unix

package main

import "io/fs"

// Where files have no owners and modes as on Unix, the directory for temporary
// files is the user's own.

func ownedByMe(fs.FileInfo) bool { return true }

func private(fs.FileInfo) bool { return true }
