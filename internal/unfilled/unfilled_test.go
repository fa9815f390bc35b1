package unfilled_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/internal/unfilled"
)

// TestBuffer goes over every repeated byte and every length, and changes each byte in turn.
func TestBuffer(t *testing.T) {
	t.Parallel()
	require.True(t, unfilled.Buffer(nil))
	for value := range 256 {
		for n := 1; n <= 65; n++ {
			b := bytes.Repeat([]byte{byte(value)}, n)
			require.True(t, unfilled.Buffer(b))
			if n == 1 {
				continue
			}
			for at := range b {
				b[at] ^= 1
				require.False(t, unfilled.Buffer(b), "%d bytes of %#x, and another at %d", n, value, at)
				b[at] ^= 1
			}
		}
	}
}
