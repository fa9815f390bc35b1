package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func someResults() ([]task, [][]*result) {
	own := []float64{300, 200, 250, 400, 220, 230, 210, 260, 270, 280}
	return []task{{"Encrypt", 32, 10_000, 2}}, [][]*result{{
		newResult("keyhold", 1, own, own),
		newResult("raw & <others>", 0, []float64{100, 100, 100, 100, 100, 100, 100, 100, 100, 1000}, own),
	}}
}

func TestTable(t *testing.T) {
	require.Equal(t, `| Operation | Bytes | Keys | Goroutines | Whose | ns/op | allocs/op | keyhold / it | in the middle round | in four fifths of them |
|---|---|---|---|---|---|---|---|---|---|
| Encrypt | 32 | 10 000 | 2 | keyhold | 210 | 1 | | | |
| Encrypt | 32 | 10 000 | 2 | raw & <others> | 100 | 0 | 2.10 | 2.50 | 2.00 to 3.00 |
`, table(someResults()))
}

func TestSpaced(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 999.4: "999", 1000: "1 000", 1234567: "1 234 567"} {
		require.Equal(t, want, spaced(f))
	}
}

func TestReplaced(t *testing.T) {
	document := "# Results\n" + begin + "\nold\n" + end + "\nmore\n"
	changed, err := replaced(document, "new\n")
	require.NoError(t, err)
	require.Equal(t, "# Results\n"+begin+"\nnew\n"+end+"\nmore\n", changed)
	again, err := replaced(changed, "new\n")
	require.NoError(t, err)
	require.Equal(t, changed, again)
	for _, bad := range []string{"", begin, end, end + begin} {
		_, err := replaced(bad, "new")
		require.Error(t, err)
	}
}

// TestPlot: it is XML, whatever the names are, and no bar leaves it.
func TestPlot(t *testing.T) {
	_, results := someResults()
	d := xml.NewDecoder(strings.NewReader(plot([]chart{{"a title", results[0]}}, "a < caption")))
	bars := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	require.Equal(t, 1+2, bars, "the ground, and one for each contestant")
}

// TestEveryContestantWorks: each opens what it sealed, with each of its keys.
func TestEveryContestantWorks(t *testing.T) {
	for _, keys := range []int{1, 3} {
		contestants := newContestants(t.Context(), keys)
		require.NotEmpty(t, contestants)
		for _, task := range tasksOf(keys) {
			for _, r := range measure(task, contestants, 2) {
				require.Positive(t, r.quiet, r.name)
			}
		}
	}
	require.NotEmpty(t, scale(t.Context(), t.TempDir(), 100))
}
