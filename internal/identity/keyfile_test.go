package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestKeyFileIsCreatedPrivateAndReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "weft")
	k, err := LoadOrCreateKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateKey(dir)
	if err != nil || again.Public() != k.Public() {
		t.Fatalf("second load: %v, %v; want %v", again, err, k)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, KeyFile): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", path, got, want)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files in the state directory, want the key file alone", len(entries))
	}
}

func TestStartingManyTimesAtOnceMakesOneKey(t *testing.T) {
	dir := t.TempDir()
	keys := make([]*Key, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := LoadOrCreateKey(dir)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = k
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k == nil || k.Public() != keys[0].Public() {
			t.Fatalf("keys differ: %v", keys)
		}
	}
}

func TestKeyFileThatOthersCanReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadOrCreateKey(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, KeyFile)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreateKey(dir)
		if err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: error %v, want one that says what to run", mode, err)
		}
	}
}

func TestDamagedKeyFileIsAnErrorAndStaysAsItIs(t *testing.T) {
	good, err := formatKeyFile(newTestKey(t))
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, content string }{
		{"empty", ""},
		{"text", "hello\n"},
		{"cut off", string(good[:len(good)/2])},
		{"two keys", string(good) + string(good)},
		{"trailing text", string(good) + "x"},
		{"another kind of block", strings.ReplaceAll(string(good), pemType, "PUBLIC KEY")},
		{"a block that is not PKCS #8", string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("x")}))},
		{"a key that is not Ed25519", string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: ecDER}))},
		{"huge", string(good) + strings.Repeat("\n", maxKeyFile)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, KeyFile)
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			k, err := LoadOrCreateKey(dir)
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("got %v, %v; want an error that names the file and says what to do", k, err)
			}
			if b, _ := os.ReadFile(path); string(b) != tt.content {
				t.Errorf("the file was changed to %q", b)
			}
		})
	}
}

func TestKeyFileErrorsNameTheTrouble(t *testing.T) {
	if _, err := LoadOrCreateKey(""); err == nil {
		t.Error("no error for an empty directory name")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, KeyFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateKey(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("key file is a directory: error %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateKey(filepath.Join(file, "state")); err == nil {
		t.Error("no error for a state directory below a file")
	}
}

func FuzzParseKeyFile(f *testing.F) {
	good, err := formatKeyFile(newTestKey(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseKeyFile(b)
		if err != nil {
			return
		}
		content, err := formatKeyFile(k)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseKeyFile(content); err != nil || again.Public() != k.Public() {
			t.Errorf("read back %v, %v; want %v", again, err, k)
		}
	})
}
