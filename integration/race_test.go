//go:build unix && race

package integration

// raceDetector says whether all this runs under the race detector.
const raceDetector = true
