package transit_test

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/transit"
)

var body = base64.StdEncoding.EncodeToString(make([]byte, 28))

var badCiphertexts = []string{
	"vault", "vault:", "vault:v", "vault:v1", "vault:v1:", "vault:v:" + body, "vault:1:" + body, "vault:v0:" + body, "vault:v01:" + body,
	"vault:v+1:" + body, "vault:v-1:" + body, "vault:v1.0:" + body, "vault:v 1:" + body, "vault:v1234567890:" + body, "vault:vx:" + body,
	"Vault:v1:" + body, "vault:V1:" + body, " vault:v1:" + body, "vault:v1: " + body, "vault:v1:" + body + " ", "vault:v1:" + body + "\n",
	"vault:v1:" + body[:8] + "\r\n" + body[8:], "vault:v1:" + strings.TrimRight(body, "="), "vault:v1:" + body + "=", "vault:v1:" + body + body,
	"vault:v1:" + base64.StdEncoding.EncodeToString(make([]byte, 27)), "vault:v1:" + strings.Repeat("_", 40), "vault:v1:v1:" + body, "bao:v1:" + body,
	"vault:v1:" + strings.Replace(body, "A==", "B==", 1),
}

func TestLocate(t *testing.T) {
	t.Parallel()
	s, err := transit.New()
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(body, "A=="))
	require.Equal(t, []string{"v1"}, s.Locate([]byte("vault:v1:"+body)))
	require.Equal(t, []string{"v123456789"}, s.Locate([]byte("vault:v123456789:"+body)))
	for _, bad := range badCiphertexts {
		require.Empty(t, s.Locate([]byte(bad)), bad)
	}
}

const key32 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

const goodExport = `{"name":"orders","type":"aes256-gcm96","keys":{"10":"` + key32 + `","2":"` + key32 + `"}}`

const goodInfo = `{"request_id":"r","data":{"name":"orders","type":"aes256-gcm96","derived":false,"imported_key":true,"auto_rotate_period":2592000,
	"keys":{"1":1442851412,"2":1442851413,"10":1442851414},"some":["later","field"]}}`

func one(t *testing.T, s *transit.Source) (key legacy.Key) {
	n := 0
	for k, err := range s.Keys(t.Context()) {
		require.NoError(t, err)
		key = k
		n++
	}
	require.Equal(t, 1, n)
	return key
}

func TestExport(t *testing.T) {
	t.Parallel()
	whole := `{"request_id":"r","lease_duration":0,"data":` + goodExport + `,"warnings":null}`
	for _, text := range []string{goodExport, whole, "\n " + goodExport + "\n"} {
		s, err := transit.New(transit.Export{Key: []byte(text)})
		require.NoError(t, err)
		k := one(t, s)
		require.Equal(t, legacy.NameID("vault-transit", "orders"), k.ID)
		require.Equal(t, "orders", k.Description)
		require.True(t, k.CreatedAt.IsZero())
		require.False(t, k.Imported)
		require.False(t, k.Rotates)
		require.Len(t, k.Versions, 2)
		require.Equal(t, "v2", k.Versions[0].Locator, "by number")
		require.Equal(t, "v10", k.Versions[1].Locator)
		require.True(t, k.Versions[0].CreatedAt.IsZero())
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	s, err := transit.New(transit.Export{Key: []byte(goodExport), Info: []byte(goodInfo), Mount: "payments/transit"})
	require.NoError(t, err)
	k := one(t, s)
	require.Equal(t, legacy.NameID("vault-transit", "payments/transit/orders"), k.ID)
	require.Equal(t, "payments/transit/orders", k.Description)
	require.True(t, k.Imported)
	require.True(t, k.Rotates)
	require.Equal(t, time.Unix(1442851412, 0).UTC(), k.CreatedAt)
	require.Equal(t, time.Unix(1442851413, 0).UTC(), k.Versions[0].CreatedAt)
	require.Equal(t, time.Unix(1442851414, 0).UTC(), k.Versions[1].CreatedAt)

	for text, rotates := range map[string]bool{`0`: false, `"0s"`: false, `null`: false, `"720h"`: true, `1`: true} {
		info := strings.Replace(goodInfo, "2592000", text, 1)
		s, err := transit.New(transit.Export{Key: []byte(goodExport), Info: []byte(info)})
		require.NoError(t, err)
		require.Equal(t, rotates, one(t, s).Rotates, text)
	}
}

func TestExportIsRefused(t *testing.T) {
	t.Parallel()
	change := func(old, new string) transit.Export {
		require.Contains(t, goodExport, old)
		return transit.Export{Key: []byte(strings.Replace(goodExport, old, new, 1))}
	}
	informed := func(old, new string) transit.Export {
		require.Contains(t, goodInfo, old)
		return transit.Export{Key: []byte(goodExport), Info: []byte(strings.Replace(goodInfo, old, new, 1))}
	}
	for name, c := range map[string]struct {
		export transit.Export
		want   error
	}{
		"nothing":             {transit.Export{}, transit.ErrExport},
		"no JSON":             {transit.Export{Key: []byte("vault")}, transit.ErrExport},
		"null":                {transit.Export{Key: []byte("null")}, transit.ErrExport},
		"no data":             {transit.Export{Key: []byte(`{"data":null}`)}, transit.ErrExport},
		"an error":            {transit.Export{Key: []byte(`{"errors":["permission denied"]}`)}, transit.ErrExport},
		"trailing data":       {change("}}", "}}{}"), transit.ErrExport},
		"an unknown field":    {change(`"name"`, `"nonce":"","name"`), transit.ErrExport},
		"no name":             {change("orders", ""), transit.ErrExport},
		"no keys":             {transit.Export{Key: []byte(`{"name":"n","type":"aes256-gcm96","keys":{}}`)}, transit.ErrExport},
		"version 0":           {change(`"2"`, `"0"`), transit.ErrExport},
		"version 02":          {change(`"2"`, `"02"`), transit.ErrExport},
		"latest":              {change(`"2"`, `"latest"`), transit.ErrExport},
		"a short key":         {change(key32, key32[:43]), transit.ErrExport},
		"of another size":     {change("aes256-gcm96", "aes128-gcm96"), transit.ErrExport},
		"loose base64":        {change("ZWY=", "ZWZ="), transit.ErrExport},
		"RSA":                 {change("aes256-gcm96", "rsa-4096"), legacy.ErrUnsupported},
		"a managed key":       {change("aes256-gcm96", "managed_key"), legacy.ErrUnsupported},
		"no type":             {change("aes256-gcm96", ""), legacy.ErrUnsupported},
		"derived":             {informed(`"derived":false`, `"derived":true`), legacy.ErrUnsupported},
		"convergent":          {informed(`"derived":false`, `"convergent_encryption":true`), legacy.ErrUnsupported},
		"info of another key": {informed("orders", "other"), transit.ErrExport},
		"of another type":     {informed("aes256-gcm96", "aes128-gcm96"), transit.ErrExport},
		"info in no JSON":     {transit.Export{Key: []byte(goodExport), Info: []byte("x")}, transit.ErrExport},
		"empty info":          {transit.Export{Key: []byte(goodExport), Info: []byte{}}, transit.ErrExport},
		"no UTF-8":            {transit.Export{Key: []byte(goodExport), Mount: "\xff"}, transit.ErrExport},
	} {
		s, err := transit.New(c.export)
		require.ErrorIs(t, err, c.want, name)
		require.Nil(t, s)
		for _, input := range []string{"orders", "MDEy", "0123"} {
			require.NotContains(t, err.Error(), input, name)
		}
	}
	good := transit.Export{Key: []byte(goodExport)}
	_, err := transit.New(good, good)
	require.ErrorIs(t, err, transit.ErrExport, "a key twice")
	other := good
	other.Mount = "other"
	_, err = transit.New(good, other)
	require.NoError(t, err, "of another mount")
}

// TestContexts: associated data have one spelling.
func TestContexts(t *testing.T) {
	t.Parallel()
	v := openable(t)[0]
	s := source(t, openable(t)[:1])
	k := one(t, s)
	o, err := s.Open(k.Versions[0].Locator, k.Versions[0].Material())
	require.NoError(t, err)
	m := v.Messages[0]
	require.Empty(t, m.AssociatedData)
	_, err = o.Decrypt([]byte(m.Ciphertext), map[string]string{})
	require.NoError(t, err)
	for _, ec := range []map[string]string{
		{transit.ContextKey: ""}, {"": ""}, {"associatedData": ""}, {transit.ContextKey: "", "b": ""}, {transit.ContextKey: "x"},
	} {
		_, err = o.Decrypt([]byte(m.Ciphertext), ec)
		require.ErrorIs(t, err, legacy.ErrCiphertext)
	}
}

var grammar = regexp.MustCompile(`\Avault:v[1-9][0-9]{0,8}:(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)\z`)

// FuzzTransitDecrypt: what is located is spelled as it should be, and nothing opens but what
// was encrypted.
func FuzzTransitDecrypt(f *testing.F) {
	messages := openable(f)[0].Messages
	for _, m := range messages {
		f.Add([]byte(m.Ciphertext), m.AssociatedData)
	}
	for _, bad := range badCiphertexts {
		f.Add([]byte(bad), "")
	}
	s := source(f, openable(f)[:1])
	var openers []legacy.Opener
	for k, err := range s.Keys(f.Context()) {
		require.NoError(f, err)
		for _, v := range k.Versions {
			o, err := s.Open(v.Locator, v.Material())
			require.NoError(f, err)
			openers = append(openers, o)
		}
	}
	f.Fuzz(func(t *testing.T, c []byte, data string) {
		if located := s.Locate(c); len(located) > 0 {
			require.Len(t, located, 1)
			require.True(t, legacy.ValidLocator(located[0]))
			require.Regexp(t, grammar, string(c))
			require.True(t, strings.HasPrefix(string(c), "vault:"+located[0]+":"))
		}
		for _, o := range openers {
			plaintext, err := o.Decrypt(c, contextOf(data))
			if err != nil {
				require.ErrorIs(t, err, legacy.ErrCiphertext)
				require.Nil(t, plaintext)
				continue
			}
			opened := false
			for _, m := range messages {
				opened = opened || m.Ciphertext == string(c) && m.AssociatedData == data && string(m.Plaintext) == string(plaintext)
			}
			require.True(t, opened, "something opened that nobody encrypted")
		}
	})
}

// FuzzTransitExport: nothing panics, what is refused is quoted nowhere, and what is taken is as
// the contract wants it.
func FuzzTransitExport(f *testing.F) {
	f.Add([]byte(goodExport), []byte(goodInfo))
	f.Add([]byte(`{"data":`+goodExport+`}`), []byte(`{}`))
	f.Add([]byte(`{"data":{"name":1}}`), []byte(`{"data":[]}`))
	f.Fuzz(func(t *testing.T, key, info []byte) {
		for _, e := range []transit.Export{{Key: key}, {Key: key, Info: info, Mount: "m"}} {
			s, err := transit.New(e)
			if err != nil {
				require.True(t, strings.Contains(err.Error(), "transit: ") || strings.Contains(err.Error(), "legacy: "))
				continue
			}
			k := one(t, s)
			require.NoError(t, k.Check())
			for _, v := range k.Versions {
				require.Regexp(t, `\Av[1-9][0-9]*\z`, v.Locator)
			}
		}
	})
}
