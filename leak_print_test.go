package kms_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/xml"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	crdb "github.com/cockroachdb/errors"
	"github.com/davecgh/go-spew/spew"
	"github.com/keyhold/kms/internal/leaktest"
	"github.com/stretchr/testify/require"
)

// sinks are all the ways in which a program might print a value without meaning to: those of
// leaktest, those of this file, and verbs of fmt.
var sinks = allSinks()

// ownSinks are ways that leaktest does not have: it may not import gob and xml, and
// cockroachdb/errors is for the root package alone.
var ownSinks = map[string]leaktest.Printer{
	"xml": func(out *bytes.Buffer, v any) {
		b, _ := xml.Marshal(v)
		out.Write(b)
	},
	"spew":               func(out *bytes.Buffer, v any) { spew.Fdump(out, v) },
	"spew %#+v":          func(out *bytes.Buffer, v any) { spew.Fprintf(out, "%#+v", v) },
	"gob":                func(out *bytes.Buffer, v any) { _ = gob.NewEncoder(out).Encode(v) },
	"cockroachdb/errors": func(out *bytes.Buffer, v any) { reportError(out, crdb.Newf("a value: %v %+v", v, v)) },
	"an error, reported": func(out *bytes.Buffer, v any) {
		if err, ok := v.(error); ok {
			reportError(out, err)
			reportError(out, fmt.Errorf("wrapped: %w", err))
			reportError(out, crdb.Wrap(err, "wrapped"))
		}
	},
}

func allSinks() map[string]leaktest.Printer {
	sinks := leaktest.Printers()
	maps.Copy(sinks, ownSinks)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%T", "%p", "%o", "%b", "%t", "%e"} {
		sinks[verb] = func(out *bytes.Buffer, v any) { fmt.Fprintf(out, verb, v) }
	}
	return sinks
}

// hiding are the sinks that need not find a plain []byte: they print what is exported, or
// redact, or are for errors alone.
var hiding = map[string]bool{"json": true, "slog JSON": true, "xml": true, "gob": true, "an error, reported": true, "%T": true, "%p": true, "%t": true, "%e": true, "%b": true, "%o": true}

func reportError(out *bytes.Buffer, err error) {
	fmt.Fprintf(out, "%v %+v %#v %q %s\n", err, err, err, err, crdb.Redact(err))
	for _, details := range crdb.GetAllSafeDetails(err) {
		fmt.Fprintf(out, "%+v\n", details)
	}
	fmt.Fprintln(out, crdb.GetSafeDetails(err), crdb.FlattenHints(err), crdb.FlattenDetails(err))
	event, extra := crdb.BuildSentryReport(err)
	fmt.Fprintf(out, "%+v %+v\n", event, extra)
}

// A scanner finds secrets in what was printed.
type scanner map[[8]byte][]form

type form struct{ secret, how, text string }

// add looks for a secret: for any 16 bytes of it, in any form in which they get printed.
func (s scanner) add(secret string, b []byte) {
	const window = 16
	for i := range len(b) - window + 1 {
		w := b[i : i+window]
		texts := leaktest.Forms(w)
		maps.Copy(texts, map[string]string{
			"URL":  base64.URLEncoding.EncodeToString(w[:15]),
			"list": strings.ReplaceAll(texts["decimals"], " ", ","), "list ": strings.ReplaceAll(texts["decimals"], " ", ", "),
			"octal": strings.Trim(fmt.Sprintf("%o", w), "[]"), "binary": strings.Trim(fmt.Sprintf("%b", w), "[]"),
			"quoted": strings.Trim(strconv.Quote(string(w)), `"`), "ASCII": strings.Trim(strconv.QuoteToASCII(string(w)), `"`), "twice quoted": strings.Trim(strconv.Quote(strconv.Quote(string(w))), `\"`),
		})
		for how, text := range texts {
			if len(text) >= 8 {
				start := [8]byte([]byte(text))
				s[start] = append(s[start], form{secret, how, text})
			}
		}
	}
}

// find names the first secret in a text, and how it is written there.
func (s scanner) find(text []byte) string {
	for i := range len(text) - 7 {
		for _, f := range s[[8]byte(text[i:])] {
			if bytes.HasPrefix(text[i:], []byte(f.text)) {
				return f.secret + ", " + f.how
			}
		}
	}
	return ""
}

// sweep prints values in every way and returns where a secret was seen.
func (s scanner) sweep(name string, values []any) (leaks []string) {
	var out bytes.Buffer
	for i, v := range values {
		for sink, print := range sinks {
			out.Reset()
			func() {
				defer func() { _ = recover() }() // gob and others panic at some types
				print(&out, v)
			}()
			if found := s.find(out.Bytes()); found != "" {
				leaks = append(leaks, fmt.Sprintf("%s [%d] by %s: %s", name, i, sink, found))
			}
		}
	}
	return leaks
}

// nested is v by itself and in all that values are kept in.
func nested[T any](v T) []any {
	type exported struct{ V T }
	type hidden struct{ v T }
	type pointer struct{ v *T }
	type boxed struct{ v any }
	return []any{v, &v, exported{v}, hidden{v}, &hidden{v}, pointer{&v}, boxed{v}, []T{v}, [1]T{v}, map[string]T{"k": v},
		map[string]any{"k": hidden{v}}, []*T{&v}, boxed{[]hidden{{v}}}, func() T { return v }, error(crdb.WithDetailf(crdb.New("x"), "%v", v))}
}

// TestSweepFinds proves the sweep: a plain []byte is found by every sink that shows all, and
// in every nesting that a printer can look into.
func TestSweepFinds(t *testing.T) {
	secret := pattern(32)
	s := scanner{}
	s.add("the secret", secret)
	type careless struct{ key []byte }
	for sink := range sinks {
		if !hiding[sink] {
			leaks := strings.Join(s.sweep("", nested(careless{secret})), "\n")
			require.Contains(t, leaks, "by "+sink+":", "nothing is found by this sink")
		}
	}
	for i, v := range nested(careless{secret}) {
		if i != 13 { // a closure is where secrets may be
			require.NotEmpty(t, s.sweep("", []any{v}), "nothing is found in %T", v)
		}
	}
	for _, v := range []any{struct{ Key []byte }{secret}, struct{ Key [32]byte }{[32]byte(secret)}, string(secret)} {
		leaks := strings.Join(s.sweep("", []any{v}), "\n")
		for _, sink := range []string{"json", "gob", "%v", "%+v", "%#v", "reflection", "testify diff"} {
			if _, text := v.(string); !text || sink != "json" { // JSON replaces what is no UTF-8
				require.Contains(t, leaks, "by "+sink+":", "%T", v)
			}
		}
	}
}
