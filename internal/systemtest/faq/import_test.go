package faq_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/keyhold/kms"
	"github.com/stretchr/testify/require"
)

// The commands about imported material.

func (f *faq) createExternal(t *testing.T, d *datadriven.TestData) (string, error) {
	key, err := f.m.CreateKey(t.Context(), &kms.CreateKeyOptions{Origin: kms.OriginExternal})
	if err != nil {
		return "", err
	}
	f.name(first(t, d), &faqKey{id: key.ID})
	return told(key), nil
}

// importMaterial imports 32 bytes that their owner calls by a name, for so many days.
func (f *faq) importMaterial(t *testing.T, d *datadriven.TestData) (string, error) {
	material := sha256.Sum256([]byte(word(d, "material")))
	id := f.key(t, d)
	p, err := f.m.GetParametersForImport(t.Context(), id, nil)
	if err != nil {
		return "", err
	}
	wrapped, err := kms.WrapForImport(p, material[:])
	require.NoError(t, err)
	var expires time.Time
	if days := number(t, d, "days"); days > 0 {
		expires = f.k.Clock.Now().AddDate(0, 0, days)
	}
	return tell(f.m.ImportKeyMaterial(t.Context(), id, wrapped, p.Token, expires))
}
