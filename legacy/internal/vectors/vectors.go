// Package vectors reads the frozen vectors of the packages under legacy. Only tests import it.
package vectors

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// Hex is bytes that a file of vectors has in hex.
type Hex []byte

// UnmarshalText decodes hex.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Read returns the vectors in testdata/vectors.json of the package under test. A file without
// vectors is a failure.
func Read[V any](t testing.TB) (all []V) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("testdata/vectors.json has no vectors")
	}
	return all
}
