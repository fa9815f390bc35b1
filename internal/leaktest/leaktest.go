// Package leaktest prints values in the ways in which programs print them by mistake, so that
// tests can look for secrets in the output. Only tests import it. A failed assertion of testify
// prints values, too: that is why this package imports testify, which otherwise only files of
// tests do.
package leaktest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"github.com/stretchr/testify/assert"

	"github.com/keyhold/kms/internal/reach"
)

// Printer writes v to out in one way.
type Printer func(out *bytes.Buffer, v any)

// Printers returns a Printer for each way but the verbs of fmt, by its name. The map is the
// caller's.
func Printers() map[string]Printer {
	return map[string]Printer{
		"slog text": func(out *bytes.Buffer, v any) { slog.New(slog.NewTextHandler(out, nil)).Info("message", "v", v) },
		"slog JSON": func(out *bytes.Buffer, v any) { slog.New(slog.NewJSONHandler(out, nil)).Info("message", "v", v) },
		"json": func(out *bytes.Buffer, v any) {
			b, _ := json.Marshal(v)
			out.Write(b)
		},
		"testify diff": func(out *bytes.Buffer, v any) { assert.Equal(failures{out}, []any{v}, []any{"another"}) },
		"reflection":   printReachable,
		"panic": func(out *bytes.Buffer, v any) {
			defer func() { fmt.Fprint(out, recover()) }()
			panic(v)
		},
	}
}

// failures is a testing.T for testify that keeps what testify prints.
type failures struct{ *bytes.Buffer }

func (f failures) Errorf(format string, args ...any) { fmt.Fprintf(f, format, args...) }

// printReachable writes every byte and string that reflection can reach.
func printReachable(out *bytes.Buffer, v any) {
	new(reach.Walker).Walk(v, func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			out.WriteString(v.String() + "\n")
		case reflect.Uint8:
			out.WriteByte(byte(v.Uint()))
		}
	})
}

// EveryPrint returns v as every Printer writes it, and by every verb of fmt with many flags.
func EveryPrint(v any) string {
	var out bytes.Buffer
	for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
		for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "# ", "20.40"} {
			fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", v)
		}
	}
	for _, print := range Printers() {
		print(&out, v)
	}
	return out.String()
}

// Forms returns how printers write b, by the name of the form. Each text is the part of the
// form that does not depend on what stands around b. b has 8 bytes or more.
func Forms(b []byte) map[string]string {
	return map[string]string{
		"raw":      string(b),
		"hex":      hex.EncodeToString(b),
		"HEX":      strings.ToUpper(hex.EncodeToString(b)),
		"spaced":   fmt.Sprintf("% x", b[:8]), // hex.Dump has a gap after 8 bytes
		"base64":   base64.StdEncoding.EncodeToString(b[:len(b)/3*3]),
		"decimals": strings.Trim(fmt.Sprint(b), "[]"),
		"Go":       strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}"),
	}
}

// Found prints v in every way and returns the form in which the output shows the first 8 bytes
// of a secret, or "" where it shows none.
func Found(v any, secrets ...[]byte) (form string) {
	out := EveryPrint(v)
	for _, secret := range secrets {
		for form, text := range Forms(secret[:8]) {
			if strings.Contains(out, text) {
				return form
			}
		}
	}
	return ""
}
