package uplink

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weftnet/weft/internal/control"
	"github.com/weftnet/weft/internal/identity"
	"github.com/weftnet/weft/internal/link"
	"github.com/weftnet/weft/internal/wholefile"
)

const (
	// maxLearned bounds the relays that are remembered; the one of which was
	// heard least recently goes first.
	maxLearned = 64
	// maxMemoryFile is how much of a file is read: four times what 64 relays
	// with the longest addresses need.
	maxMemoryFile = 256 << 10
)

// A Known is a relay that another relay told of.
type Known struct {
	ID    identity.NodeID `json:"id"`
	Addrs []string        `json:"addrs"` // best first
	Seen  time.Time       `json:"seen"`  // when a relay last told of it
}

// valid returns the known relay without the addresses that cannot be dialled,
// and false if none is left.
func (k Known) valid() (Known, bool) {
	var addrs []string
	for _, addr := range k.Addrs {
		if _, err := link.ParseAddr(addr); err == nil && len(addr) <= control.MaxAddr && len(addrs) < control.MaxRelayAddrs {
			addrs = append(addrs, addr)
		}
	}
	k.Addrs = addrs
	return k, k.ID != 0 && len(addrs) > 0
}

// A Memory keeps the relays that a node has learned of over its restarts.
type Memory interface {
	// Load returns what Save was given last, nothing if it never was. An error
	// says that what there was is lost.
	Load() ([]Known, error)
	// Save replaces what is remembered.
	Save(relays []Known) error
}

// FileMemory remembers relays of one network in a file that only this user can
// read. It appears whole or not at all.
func FileMemory(path string, network [32]byte) Memory {
	return &fileMemory{path: path, network: hex.EncodeToString(network[:])}
}

type fileMemory struct{ path, network string }

// A memoryFile is what the file holds, as JSON.
type memoryFile struct {
	Network string  `json:"network"` // ID; relays of another network are of no use
	Relays  []Known `json:"relays"`  // newest first
}

func (m *fileMemory) Load() ([]Known, error) {
	f, err := os.Open(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("uplink: the relays learned before cannot be read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMemoryFile+1))
	if err != nil {
		return nil, fmt.Errorf("uplink: the relays learned before cannot be read: %w", err)
	}
	if len(b) > maxMemoryFile {
		return nil, fmt.Errorf("uplink: %s is longer than %d bytes, which this node never writes; it will be replaced", m.path, maxMemoryFile)
	}
	var content memoryFile
	if err := json.Unmarshal(b, &content); err != nil {
		return nil, fmt.Errorf("uplink: %s is damaged (%w); it will be replaced", m.path, err)
	}
	if content.Network != m.network {
		return nil, nil
	}
	var relays []Known
	for _, k := range content.Relays {
		if k, ok := k.valid(); ok && len(relays) < maxLearned {
			relays = append(relays, k)
		}
	}
	return relays, nil
}

func (m *fileMemory) Save(relays []Known) error {
	b, err := json.MarshalIndent(memoryFile{m.network, relays}, "", "\t")
	if err != nil {
		return err
	}
	if err := m.replace(append(b, '\n')); err != nil {
		return fmt.Errorf("uplink: the learned relays cannot be written: %w", err)
	}
	return nil
}

func (m *fileMemory) replace(content []byte) error {
	dir := filepath.Dir(m.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return wholefile.Replace(m.path, content)
}
