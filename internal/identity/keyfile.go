package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/weftnet/weft/internal/wholefile"
)

// KeyFile is the name of the key file in a state directory: one PEM block
// "PRIVATE KEY" with the Ed25519 key in PKCS #8 (RFC 8410).
const KeyFile = "node.key"

const (
	pemType     = "PRIVATE KEY"
	maxKeyFile  = 4 << 10 // bytes; a key file has about 120
	othersMayDo = 0o077   // permission bits that a key file must not have
)

// LoadOrCreateKey returns the key in dir/[KeyFile]. If there is none, it makes
// dir (mode 0700) and the file (mode 0600) with a new key. A file is only ever
// created whole and never overwritten: processes that start at once on an empty
// directory all return the same key. A file that others can read, or that holds
// no key, is an error that says what to do.
func LoadOrCreateKey(dir string) (*Key, error) {
	if dir == "" {
		return nil, errors.New("identity: the state directory has no name")
	}
	path := filepath.Join(dir, KeyFile)
	k, err := readKeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if k, err = GenerateKey(); err != nil {
		return nil, err
	}
	if err := createKeyFile(path, k); err != nil {
		return nil, fmt.Errorf("identity: cannot create the key file: %w", err)
	}
	return readKeyFile(path) // another process may have been first
}

// readKeyFile reads and checks a key file.
func readKeyFile(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("identity: cannot open the key file: %w", err)
	}
	defer f.Close()
	// Ask the open file, not the path, which may name another file by now.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("identity: cannot check the key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("identity: %s is not a regular file; remove it or choose another state directory", path)
	}
	// Windows has no such bits; there the directory's access list protects the file.
	if m := info.Mode().Perm(); m&othersMayDo != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("identity: %s has mode %04o, so that other users can use the key; run: chmod 600 %[1]s", path, m)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("identity: cannot read the key file: %w", err)
	}
	k, err := parseKeyFile(b)
	if err != nil {
		return nil, fmt.Errorf("identity: %s is damaged (%w); restore it from a backup, or remove it to start with a new identity", path, err)
	}
	return k, nil
}

// parseKeyFile reads what formatKeyFile writes.
func parseKeyFile(b []byte) (*Key, error) {
	if len(b) > maxKeyFile {
		return nil, fmt.Errorf("longer than %d bytes", maxKeyFile)
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != pemType {
		return nil, fmt.Errorf("no PEM block %q", pemType)
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("more than one PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a PKCS #8 key")
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a %T, not an Ed25519 key", parsed)
	}
	return newKey(private)
}

// formatKeyFile returns the content of a key file.
func formatKeyFile(k *Key) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// createKeyFile puts k at path unless a file is there already, which is not an
// error. The file appears whole or not at all: a temporary file is written and
// synced first, then linked to its name, and a link never replaces.
func createKeyFile(path string, k *Key) error {
	content, err := formatKeyFile(k)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := wholefile.Temp(dir, KeyFile, content)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w (the state directory must be on a file system with hard links)", err)
	}
	syncDir(dir)
	return nil
}

// syncDir makes a new directory entry durable where the system can do that. A
// failure costs an identity only if the machine also loses power right now.
func syncDir(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	_ = d.Sync()
	_ = d.Close()
}
