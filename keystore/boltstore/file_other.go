//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package boltstore

import (
	"io/fs"
	"os"
)

// Elsewhere Open still looks for a symbolic link before it opens the file.
const noFollow = 0

// openToOthers is not known where modes are made up.
func openToOthers(fs.FileMode) bool { return false }

func abandon(f *os.File) error { return f.Close() }

func syncFolder(string) error { return nil }
