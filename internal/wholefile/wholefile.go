// Package wholefile writes files that appear whole or not at all, with mode
// 0600.
package wholefile

import (
	"errors"
	"os"
	"path/filepath"
)

// Temp writes content, durably, to a new file in dir, whose name begins with
// name, and returns its path. The caller moves or removes it.
func Temp(dir, name string, content []byte) (path string, err error) {
	f, err := os.CreateTemp(dir, name+".*.tmp") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// Replace makes content what the file at path holds. Its directory must exist.
func Replace(path string, content []byte) error {
	tmp, err := Temp(filepath.Dir(path), filepath.Base(path), content)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return nil
}
