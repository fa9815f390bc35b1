package legacytest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/keyhold/kms/internal/reach"
	"github.com/keyhold/kms/internal/suite"
)

func secretCases() []promise {
	return []promise{{
		Name: "nothing prints material",
		Why:  "Values are logged by mistake: no printer, however deep it looks, may find material in a Source, a Key or an Opener.",
		Run:  nothingPrints,
	}, {
		Name: "errors are silent",
		Why:  "Errors are logged and shown: their text may hold nothing of material, a plaintext, a ciphertext or a context.",
		Run:  errorsAreSilent,
	}}
}

func nothingPrints(f *fixture) {
	values := map[string]any{"the Source": f.Source, "the bare Source": f.Bare, "the keys": f.keys()}
	for i, known := range f.Known {
		o, c := f.openerOf(known)
		values[knownName(i)+"'s Opener"] = o
		values[knownName(i)+"'s version"] = c.version
	}
	for what, v := range values {
		out := printed(v)
		for _, k := range f.keys() {
			for _, version := range k.Versions {
				if shows(out, version.Material()) {
					f.Fatalf("%s shows material when it is printed", what)
				}
			}
		}
	}
}

// printed is v by the verbs of fmt, by encoding/json, and by reflection as deep as it goes.
func printed(v any) string {
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", v)
	}
	if b, err := json.Marshal(v); err == nil {
		out.Write(b)
	}
	printReachable(&out, v)
	return out.String()
}

// printReachable writes every byte and string that reflection can reach.
func printReachable(out *strings.Builder, v any) {
	new(reach.Walker).Walk(v, func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			out.WriteString(v.String() + "\n")
		case reflect.Slice, reflect.Array:
			var run []byte
			for i := range v.Len() {
				if e := v.Index(i); e.Kind() == reflect.Uint8 {
					run = append(run, byte(e.Uint()))
				}
			}
			out.WriteString(hex.EncodeToString(run) + "\n")
		}
	})
}

func errorsAreSilent(f *fixture) {
	for i, known := range f.Known {
		o, c := f.openerOf(known)
		m := c.version.Material()
		secrets := map[string][]byte{"plaintext": known.Plaintext, "ciphertext": known.Ciphertext, "material": m}
		for k, v := range known.EncryptionContext {
			secrets["value of "+k+" in the context"] = []byte(v)
		}
		texts := []error{
			f.refused(o, suite.Flip(known.Ciphertext, len(known.Ciphertext)*8-1), known.EncryptionContext, "last bit flipped"),
			f.refused(o, known.Ciphertext, merged(known.EncryptionContext, "one pair", "more"), "another context"),
		}
		for _, bad := range [][]byte{m[:len(m)-1], suite.Join(m, []byte{0}), suite.Flip(m, 0), nil} {
			if _, err := f.Source.Open(c.version.Locator, bad); err != nil {
				texts = append(texts, err)
			}
		}
		for _, err := range texts {
			for what, secret := range secrets {
				if shows(err.Error(), secret) || len(secret) >= 6 && strings.Contains(err.Error(), string(secret)) {
					// The text itself is not printed again.
					f.Errorf("%s: the text of an error of type %T shows the %s", knownName(i), err, what)
				}
			}
		}
	}
}

// shows is whether eight bytes of the secret in a row can be read in the text. Eight bytes of
// readable text do not count as they are, for material may hold names.
func shows(text string, secret []byte) bool {
	const window = 8
	lower := strings.ToLower(text)
	for i := range max(0, len(secret)-window+1) {
		w := secret[i : i+window]
		readable := bytes.IndexFunc(w, func(r rune) bool { return r < ' ' || r > '~' }) < 0
		if readable {
			continue
		}
		if strings.Contains(text, string(w)) ||
			strings.Contains(lower, hex.EncodeToString(w)) ||
			strings.Contains(lower, fmt.Sprintf("% x", w)) ||
			strings.Contains(text, base64.RawStdEncoding.EncodeToString(w[:6])) ||
			strings.Contains(text, strings.Trim(fmt.Sprintf("%d", w), "[]")) ||
			strings.Contains(lower, goBytes(w)) {
			return true
		}
	}
	return false
}

// goBytes is how %#v shows bytes.
func goBytes(w []byte) string {
	s := fmt.Sprintf("%#v", w)
	return s[strings.Index(s, "{")+1 : len(s)-1]
}
