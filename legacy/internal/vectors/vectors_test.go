package vectors_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/legacy/internal/vectors"
)

func TestReadDecodesHex(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("testdata", 0o700))
	require.NoError(t, os.WriteFile("testdata/vectors.json", []byte(`[{"Key":"00ff"},{"Key":""}]`), 0o600))
	type vector struct{ Key vectors.Hex }
	require.Equal(t, []vector{{vectors.Hex{0, 0xff}}, {vectors.Hex{}}}, vectors.Read[vector](t))
}

func TestHexRefusesOtherText(t *testing.T) {
	t.Parallel()
	var h vectors.Hex
	for _, bad := range []string{`"0"`, `"0g"`, `"0x00"`, `7`} {
		require.Error(t, json.Unmarshal([]byte(bad), &h), bad)
	}
}
