package gossiptest

// MeshLeaves are the functions whose goroutines github.com/weaveworks/mesh leaves
// behind for each router, for goleak.IgnoreAnyFunction: it has no way to stop
// them. Goroutines of conns are not among them; those end.
var MeshLeaves = []string{
	"github.com/weaveworks/mesh.(*Router).listenTCP.func1",
	"github.com/weaveworks/mesh.(*localPeer).actorLoop",
	"github.com/weaveworks/mesh.(*Peers).actorLoop",
	"github.com/weaveworks/mesh.(*routes).run",
	"github.com/weaveworks/mesh.(*connectionMaker).queryLoop",
}
