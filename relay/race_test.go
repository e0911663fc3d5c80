//go:build race

package relay

// raceDetector says whether all this runs under the race detector.
const raceDetector = true
