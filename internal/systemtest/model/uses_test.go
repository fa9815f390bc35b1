package model_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
)

// sealed is what a key encrypted, or a MAC that it made.
type sealed struct {
	name  string
	of    *modelKey
	bytes []byte
	plain []byte

	version int // of the key
}

// keep adds what was sealed, and looks at the version that sealed it.
func (w *twins) keep(c sealed) {
	const most = 6
	if !c.of.mac {
		if info, err := kms.Inspect(c.bytes); err != nil || info.KeyVersion != len(c.of.material) {
			w.diverges("%s is of version %d, in the model of %d", c.name, info.KeyVersion, len(c.of.material))
		}
	}
	c.version = len(c.of.material)
	w.ciphertexts = append(w.ciphertexts, c)
	if len(w.ciphertexts) > most {
		w.ciphertexts = slices.Delete(w.ciphertexts, 0, 1)
	}
}

func (w *twins) nextName() string { w.made++; return fmt.Sprintf("c%d", w.made) }

func (w *twins) encrypt() {
	ref := w.ref()
	c := sealed{name: w.nextName(), of: ref.key, plain: []byte("what " + ref.shown + " encrypts")}
	if ref.key != nil && ref.key.mac && pick(w, "use", "GenerateMac", "Encrypt") == "GenerateMac" {
		if w.do("GenerateMac "+ref.shown+": "+c.name, w.answers("GenerateMac", ref.key, ""), func(m *kms.Manager) (err error) {
			c.bytes, err = m.GenerateMac(w.tb.Context(), ref.text, kms.MacHMACSHA256, c.plain)
			return err
		}) {
			w.keep(c)
		}
		return
	}
	if w.do("Encrypt "+ref.shown+": "+c.name, w.answers("Encrypt", ref.key, ""), func(m *kms.Manager) (err error) {
		c.bytes, err = m.Encrypt(w.tb.Context(), ref.text, c.plain, nil)
		return err
	}) {
		w.keep(c)
	}
}

func (w *twins) dataKey() {
	ref := w.ref()
	c := sealed{name: w.nextName(), of: ref.key}
	if w.do("GenerateDataKey "+ref.shown+": "+c.name, w.answers("GenerateDataKey", ref.key, ""), func(m *kms.Manager) error {
		k, err := m.GenerateDataKey(w.tb.Context(), ref.text, nil)
		c.bytes, c.plain = k.Ciphertext, k.Plaintext()
		return err
	}) {
		w.keep(c)
	}
}

func (w *twins) reEncrypt() {
	i := slices.IndexFunc(w.ciphertexts, func(c sealed) bool { return !c.of.mac })
	if i < 0 {
		w.encrypt()
		return
	}
	from, ref := w.ciphertexts[i], w.ref()
	want := w.decrypted(from)
	if want == done {
		want = w.answers("Encrypt", ref.key, "")
	}
	c := sealed{name: w.nextName(), of: ref.key, plain: from.plain}
	if w.do(fmt.Sprintf("ReEncrypt %s under %s: %s", from.name, ref.shown, c.name), want, func(m *kms.Manager) (err error) {
		c.bytes, err = m.ReEncrypt(w.tb.Context(), from.bytes, nil, ref.text, nil)
		return err
	}) {
		w.keep(c)
	}
}

// versions holds the number of versions against the model. Material that has expired is not
// looked at: until Maintain it is there, and cannot be used.
func (w *twins) versions() {
	ref, n := w.ref(), 0
	if w.do("KeyVersions "+ref.shown, w.answers("ListKeyVersions", ref.key, ""), func(m *kms.Manager) error {
		all, err := m.KeyVersions(w.tb.Context(), ref.text)
		n = len(all)
		return err
	}) && n != w.listed(ref.key) && !w.passed(ref.key.until) {
		w.diverges("%s has %d versions, in the model %d", ref.key.name, n, w.listed(ref.key))
	}
}

func (w *twins) listed(k *modelKey) int { return len(k.material) - max(w.lost(k)-1, 0) }

// decrypted is what a ciphertext answers: what its key does, or else its version.
func (w *twins) decrypted(c sealed) string {
	want := w.answers("Decrypt", c.of, "")
	if want == done && c.version < max(c.of.retired, c.of.retiring) {
		return "ErrRetired"
	}
	return want
}

// opened holds what was sealed against what a Manager makes of it.
func (w *twins) opened(m *kms.Manager, c sealed) {
	w.Helper()
	if c.of.mac {
		w.expect("VerifyMac "+c.name, w.answers("GenerateMac", c.of, ""), m.VerifyMac(w.tb.Context(), w.ids[c.of], kms.MacHMACSHA256, c.plain, c.bytes))
		return
	}
	plain, err := m.Decrypt(w.tb.Context(), c.bytes, nil)
	w.expect("Decrypt "+c.name, w.decrypted(c), err)
	if err == nil && !bytes.Equal(plain, c.plain) {
		w.diverges("%s is decrypted to something else", c.name)
	}
}

// A modelToken is what GetParametersForImport gave.
type modelToken struct {
	name string
	of   *modelKey
	kms.ImportParameters
}

func (w *twins) parameters() {
	ref := w.ref()
	want := w.answers("GetParametersForImport", ref.key, "")
	real := want != done || pick(w, "wrapping key", false, false, false, false, false, false, false, false, false, false, false, false, true)
	t := modelToken{name: fmt.Sprintf("p%d", w.made+1), of: ref.key}
	w.made++
	if w.do("GetParametersForImport "+ref.shown+": "+t.name, want, func(m *kms.Manager) (err error) {
		if real {
			t.ImportParameters, err = m.GetParametersForImport(w.tb.Context(), ref.text, nil)
		} else {
			t.ImportParameters, err = kit.ImportParameters(w.tb.Context(), m, w.k.Store, w.root, ref.text, w.now)
		}
		return err
	}) {
		if expires := w.now.Add(24 * time.Hour); !t.ExpiresAt.Equal(expires) {
			w.diverges("%s is good until %s", t.name, t.ExpiresAt)
		}
		w.tokens = append(w.tokens, t)
	}
}

// nearer says that an import until then takes material away before its time.
func (w *twins) nearer(k *modelKey, until time.Time) bool {
	return !until.IsZero() && (k.until.IsZero() || until.Before(k.until))
}

func (w *twins) importMaterial() {
	if len(w.tokens) == 0 {
		w.parameters()
		return
	}
	t := pick(w, "token", w.tokens...)
	ref := modelRef{w.ids[t.of], t.of.name, t.of}
	if pick(w, "into", "its key", "its key", "its key", "another") == "another" {
		ref = w.ref()
	}
	kind := pick(w, "material", "A", "A", "B", "short")
	material := kit.Pattern(map[string]int{"A": 32, "B": 32, "short": 31}[kind])
	material[0] = kind[0]
	wrapped, err := kms.WrapForImport(t.ImportParameters, material)
	if err != nil {
		w.diverges("the service does not wrap: %v", err)
	}
	var until time.Time
	d := pick(w, "expiry", 0, time.Hour, 10*24*time.Hour, -1)
	switch {
	case d > 0:
		until = w.now.Add(d)
	case d < 0:
		until = w.now
	}
	args := fmt.Sprintf("material %s with %s, expiry in %s", kind, t.name, d)
	into := func(m *kms.Manager, id string) (kms.Key, error) {
		return m.ImportKeyMaterial(w.tb.Context(), id, wrapped, t.Token, until)
	}
	if d < 0 {
		w.ask("ImportKeyMaterial", ref, args, "ErrInvalid", into)
		return
	}
	w.change("ImportKeyMaterial", ref, "", args, func() string {
		k := ref.key
		switch {
		case t.of != k || w.passed(t.ExpiresAt):
			return "ErrImportToken"
		case kind == "short" || k.bound != "" && k.bound != kind:
			return "ErrMaterial"
		case w.own(k) != "PendingImport" && w.nearer(k, until) && w.guards(k):
			return "ErrProtected"
		case w.own(k) == "PendingImport":
			k.rest = k.rest || len(k.material) > 0
			k.material = []time.Time{w.now}
		}
		k.bound, k.until = kind, until
		return done
	}, into)
}

func (w *twins) deleteMaterial() {
	opts := pick(w, "options", nil, nil, &kms.DeleteMaterialOptions{Force: true, Reason: "withdrawn"})
	w.force = opts != nil
	defer func() { w.force = false }()
	w.simple("DeleteKeyMaterial", func(k *modelKey) string {
		if k.rest || len(k.material) > 0 {
			w.tell(kms.StepExpired, k.name)
		}
		k.material, k.until, k.rest = nil, time.Time{}, false
		return done
	}, func(m *kms.Manager) askedKey {
		return func(ctx context.Context, ref string) (kms.Key, error) { return m.DeleteKeyMaterial(ctx, ref, opts) }
	})
}
