// Package recovery decides when a sent packet is acknowledged or lost, when a
// peer must be probed, and how much may be sent: loss detection and congestion
// control as in RFC 9002, with CUBIC (RFC 9438) or NewReno and HyStart++
// (RFC 9406), or with BBR version 3 (draft-ietf-ccwg-bbr, sections as in its version 05).
//
// It is a pure state machine. The time is an argument, nothing is read from a
// clock, and there is no goroutine, timer or lock: one goroutine owns a
// [Detector], tells it what was sent and what an ACK frame said, and calls
// [Detector.Expired] once [Detector.Deadline] has come. Times that are passed in must not
// run backwards.
//
// It differs from RFC 9002 in six places, each because packets of a session
// reach 64 KiB and paths come and go:
//
//   - the initial window on paths with very large packets (see [NewCUBIC]);
//   - above 3 MiB the window of such a path does not grow while a standing queue
//     delays packets, for TCP below hides every other sign of congestion;
//   - the back-off of probes ends at five seconds, so that a healed path is found soon;
//   - the reordering thresholds grow while the path proves them wrong, as RFC 8985 does for TCP;
//   - paths of datagrams have BBR and paths with very large packets CUBIC;
//   - a congestion response whose losses all turn out to be late packets is taken back
//     (RFC 9438 section 4.9).
//
// BBR differs from its draft in that
//
//   - two percent of a flight or round must be lost beyond chance before anything
//     answers to losses, so that random losses of one percent cost one percent;
//   - after a probe that lost more, the sender gives up queue as CUBIC does and waits as
//     long as CUBIC needs, so that both share a link;
//   - packets that were only late are counted as delivered after all.
package recovery
