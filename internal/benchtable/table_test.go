package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const firstRun = `goos: linux
cpu: A CPU @ 1 GHz
BenchmarkUse/op=Encrypt/size=32/keys=1/goroutines=2/impl=keyhold-2         	   1000	      1500 ns/op	     257 B/op	       3 allocs/op
BenchmarkUse/op=Encrypt/size=32/keys=1/goroutines=2/impl=least-2           	   1000	       500.0 ns/op	     128 B/op	       2 allocs/op
BenchmarkUse/op=Encrypt/size=32/keys=1/goroutines=2/impl=raw    	   1000	       300.5 ns/op	 10.5 MB/s	     128 B/op	       2 allocs/op
BenchmarkDurable/op=CreateKey/size=0/keys=1/goroutines=64/impl=keyhold-2         	   10	   5009685 ns/op	   16641 B/op	     138 allocs/op
PASS
`

const secondRun = `BenchmarkUse/op=Encrypt/size=32/keys=1/goroutines=2/impl=keyhold-2  10  2000 ns/op  257 B/op  3 allocs/op
BenchmarkUse/op=Encrypt/size=32/keys=1/goroutines=2/impl=least-2  10  400 ns/op  257 B/op  3 allocs/op
`

func TestTable(t *testing.T) {
	require.Equal(t, `| Operation | Bytes | Keys | Goroutines | ns/op | allocs/op | least KMS, ns/op | ratio to it | raw, ns/op | ratio to it |
|---|---|---|---|---|---|---|---|---|---|
| Encrypt | 32 | 1 | 2 | 2 000 | 3 | 500 | 5.0 (3.0–5.0) | 300 | 5.0 (5.0–5.0) |
| CreateKey | – | 1 | 64 | 5 009 685 | 138 | – | – | – | – |
`, table(parse([]string{firstRun, secondRun})))
	require.Equal(t, "A CPU @ 1 GHz", cpuLine.FindStringSubmatch(firstRun)[1])
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
