//go:build !race

package kms_test

// raceDetector is whether it runs. It makes pools forget, and so more is allocated.
const raceDetector = false
