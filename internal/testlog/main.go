// Command testlog reads what go test -json prints and shows what a person wants to know while
// it runs: each package when it ends, each test that took long, which tests are still running, and all
// that failed, with its output.
//
//	go test -json ./... | go run ./internal/testlog
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	long  = 10 * time.Second // from then on a test is worth a line
	quiet = 30 * time.Second // how often it reports what is still running
)

func main() {
	l := newLog(os.Stdout)
	lines := make(chan string)
	go func() {
		defer close(lines)
		read(os.Stdin, lines)
	}()
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for {
		select {
		case line, more := <-lines:
			if !more {
				os.Exit(l.end())
			}
			l.line(line)
		case <-tick.C:
			l.running(time.Now())
		}
	}
}

// read sends the lines of r.
func read(r io.Reader, lines chan<- string) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		lines <- s.Text()
	}
	if err := s.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "testlog:", err)
	}
}

// line takes one line of go test. What is no event is shown as it is.
func (l *log) line(text string) {
	var e event
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Action == "" {
		fmt.Fprintln(l.out, text)
		return
	}
	l.event(e)
}
