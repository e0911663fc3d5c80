// Package overlaytest is a laboratory for programs that use package overlay: a
// simulated network of named hosts, some of which run relays, without sockets.
// Tests make links slow and lossy, cut hosts off, and kill and restart
// processes, and then look at what their program makes of it.
//
//	func TestMyService(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			lab := overlaytest.New(t, overlaytest.Config{
//				Seed: 1,
//				Link: overlaytest.Impairment{Latency: 10 * time.Millisecond, Loss: 0.02},
//			})
//			lab.Relay("relay")
//			server := lab.Node("server", overlay.Config{})
//			client := lab.Node("client", overlay.Config{})
//			...
//			lab.Kill("relay")
//			lab.Restart("relay")
//		})
//	}
//
// Everything works in testing/synctest bubbles, where time is simulated: an
// hour passes at once, and durations that a test measures are exact. Outside of
// bubbles everything works, too, in real time. Under the race detector of Go 1.26
// have TestMain call runtime.GOMAXPROCS(1): it crashes now and then when two
// threads run timers of one bubble.
//
// # What is simulated
//
// Between any two hosts there is a link with the [Impairment] that was set last,
// perfect at first. Links take packets of 64 KiB and no order among different
// links is kept, while each link alone keeps order unless told to reorder.
// Unlike TCP, whose losses show as delays, a lossy link really loses what nodes
// send to each other, so that the nodes must make up for it. Making a link takes
// one round trip; while one of both hosts is cut off, the attempt is repeated
// after 1, 2, 4 seconds and so on, as TCP does, and where nobody listens it fails
// at once.
//
// # NATs and direct paths
//
// Nodes that have UDP find direct paths to each other, around the relays. A host
// of a lab has UDP if [Lab.Place] says where it is:
//
//	lab.NAT("home", overlaytest.NAT{})
//	lab.NAT("office", overlaytest.NAT{Kind: overlaytest.Symmetric, Hairpin: true})
//	lab.Place("laptop", "home")
//	lab.Place("desk", "office")
//	lab.Place("server", "") // on the internet
//	...
//	lab.Place("laptop", "office") // somebody takes it there
//
// Relays are on the internet and answer STUN. What passes the internet by UDP is
// impaired as the link between the two hosts is: with [Lab.Impair] for two nodes
// only their direct path gets worse, for a node and a relay only what they send
// each other. What stays behind a NAT is perfect, but for pairs that Impair names.
// There is no queue of a whole host or NAT: [Impairment.Bandwidth] is of a pair.
// NATs do not concern links to relays. IPv4 addresses of the internet are from
// 198.18.0.0/15, others from 10.0.0.0/8.
//
// Besides the faults of hosts ([Lab.Cut], [Lab.Sleep], [Lab.InterfaceDown],
// [Lab.Roam], [Lab.Place], [Lab.Kill]) there are those of NATs: [Lab.RebootNAT]
// and [Lab.RenumberNAT].
//
// # Repetition
//
// What happens to the packets of a link follows from [Config].Seed. Keys and the
// order in which goroutines run do not, so two runs of one seed are alike but not
// the same to the last packet.
package overlaytest
