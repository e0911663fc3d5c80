//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedByMe reports whether a file is this user's.
func ownedByMe(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// private reports whether only its owner may do anything with a file.
func private(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 == 0 }
