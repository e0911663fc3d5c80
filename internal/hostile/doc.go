// Package hostile plays attackers: each of its tests attacks a small network of
// honest nodes and relays with real code, on simulated links and in simulated
// time, and checks what an attack may reach at most. docs/security-tests.md lists
// all attacks that the project knows, with the test that plays each, here or
// elsewhere. The package is nothing but tests.
//
// # What every attack is measured by
//
//   - Nobody reads or changes what others say. All frames that cross a link of
//     [world] are searched for what the honest nodes say to each other, and they
//     check each byte that arrives.
//   - Others go on as before. Pairs of honest nodes (bystanders) transfer bytes and
//     make round trips for a while without the attack, and again under it. Neither
//     throughput nor the median of the latency may get worse by more than a fifth.
//     Links have latency and bandwidth, so that who takes more than his share shows.
//   - Memory is bounded by a limit that has a name. What lives on the heap at the
//     end of an attack may exceed what lived before it by the costs that the test
//     names, each a limit times what one entry of it takes, and by a little noise.
//   - Work is bounded by counters: handshakes done, frames forwarded, answers sent.
//     No test looks at the wall clock.
//
// # How to add an attack
//
// Write one test function, named after what the attacker does, in the file of its
// group (identity, topology, data path, resources, robustness, privacy, bare mesh):
//
//	func TestStrangersFillTheRelaysPlaces(t *testing.T) {
//		inWorld(t, func(w *world) {
//			r := w.relay("relay", &relay.Server{MaxLinks: 10})
//			b := w.bystanders(r)
//			b.withstand(assault{
//				play: func(ctx context.Context) { ... }, // until ctx ends, or once
//				may:  []cost{{"MaxLinks", 10, perLink}},
//			})
//			... counters, Status, Stats
//		})
//	}
//
// A world gives attackers conns on which they send any bytes ([world.stream]), links that
// nobody has proven to hold ([world.claim]), links of members on which they
// send what they like ([world.send]), members with code of their own for sessions
// ([world.rogue]), and the place on the way between a host and a
// relay ([world.onPath]). Hosts that are placed ([world.place]) have UDP and direct
// paths; there an attacker forges addresses ([world.raider]), counts what third
// parties get ([world.sink]) and stands on the path ([world.onDirect]), and bystanders
// are near each other, too ([bystanders.nearby]). The endpoint and the switch of a member that went bad are in
// its RelayHost. Then add a row to docs/security-tests.md; a test of internal/arch
// checks that each test named there exists.
package hostile
