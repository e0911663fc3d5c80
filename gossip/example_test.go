package gossip_test

import (
	"fmt"

	"github.com/weftnet/weft/gossip"
	"github.com/weftnet/weft/internal/identity"
)

func ExampleDirectory() {
	directory := gossip.NewDirectory(gossip.DirectoryConfig{})
	key := identity.PublicKey{1}
	peer := identity.Peer{ID: key.ID(), Key: key, Names: []string{"kv-1"}} // from a session
	err := directory.Put(peer, gossip.Attachment{Relay: 1, Names: []string{"kv-1"}, Epoch: 1})
	fmt.Println(err)
	record, err := directory.Lookup(identity.Target{Name: "kv-1"})
	fmt.Println(record.ID == peer.ID, err)
	// Output:
	// <nil>
	// true <nil>
}
