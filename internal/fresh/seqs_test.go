package fresh

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSeqs holds the table to a map, also if many keys have one place.
func TestSeqs(t *testing.T) {
	for name, hash := range map[string]func(int) uint64{
		"well spread": func(k int) uint64 { return uint64(k) * 0x9E3779B97F4A7C15 >> 20 },
		"in ten":      func(k int) uint64 { return uint64(k % 10) },
	} {
		t.Run(name, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(1, 2))
			table, want := &seqs[int]{}, map[int]uint64{}
			require.Zero(t, table.get(7, hash(7)))
			for range 20_000 {
				k, seq := dice.IntN(2000), dice.Uint64N(50)
				table.raise(k, seq, hash)
				want[k] = max(want[k], seq)
				other := dice.IntN(4000)
				require.Equal(t, want[other], table.get(other, hash(other)))
			}
			require.Less(t, len(table.slots), 3100, "slots for 2000 keys")
		})
	}
}
