package transfer

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// A File is one to send.
type File struct {
	Path string // on this machine
	Name string // that the receiver is told, with slashes
	Size int64  // bytes
}

// Collect returns the files that paths name: each as it is, and all in directories, under
// the name of these. In directories, what is no ordinary file, or has a name that no
// receiver takes, is skipped.
func Collect(paths []string) (files []File, skipped []string, err error) {
	for _, p := range paths {
		abs, err := filepath.Abs(p) // "." has a name, too
		if err != nil {
			return nil, nil, err
		}
		info, err := os.Stat(abs)
		if err != nil {
			return nil, nil, err
		}
		name := filepath.Base(abs)
		if err := CheckName(name); err != nil {
			return nil, nil, err
		}
		switch {
		case info.Mode().IsRegular():
			files = append(files, File{abs, name, info.Size()})
		case info.IsDir():
			if files, skipped, err = walk(abs, name, files, skipped); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, fmt.Errorf("%s is neither a file nor a directory", p)
		}
	}
	return files, skipped, nil
}

func walk(dir, name string, files []File, skipped []string) ([]File, []string, error) {
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		full := path.Join(name, filepath.ToSlash(rel))
		if CheckName(full) != nil || !d.IsDir() && !d.Type().IsRegular() {
			skipped = append(skipped, full)
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err == nil {
			files = append(files, File{p, full, info.Size()})
		}
		return err
	})
	return files, skipped, err
}
