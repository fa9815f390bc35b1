//go:build cgo

package hsm_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/provider"
)

// A specimen is one key in the token, with what pkcs11-tool has to say of it.
type specimen struct {
	label, usage string
	class        uint
	imported     bool
}

// specimens makes a key of every kind, and imports one.
func specimens(t *testing.T, token *hsm.Token) []specimen {
	t.Helper()
	kinds := []struct {
		spec  provider.Spec
		use   provider.Use
		class uint
		usage string
	}{
		{provider.AES256, provider.UseEncrypt, pkcs11.CKO_SECRET_KEY, "encrypt, decrypt"},
		{provider.HMAC256, provider.UseMac, pkcs11.CKO_SECRET_KEY, "sign"},
		{provider.HMAC384, provider.UseMac, pkcs11.CKO_SECRET_KEY, "sign"},
		{provider.HMAC512, provider.UseMac, pkcs11.CKO_SECRET_KEY, "sign"},
		{provider.ECP256, provider.UseSign, pkcs11.CKO_PRIVATE_KEY, "sign"},
		{provider.ECP384, provider.UseSign, pkcs11.CKO_PRIVATE_KEY, "sign"},
		{provider.RSA2048, provider.UseSign, pkcs11.CKO_PRIVATE_KEY, "sign"},
		{provider.RSA2048, provider.UseDecrypt, pkcs11.CKO_PRIVATE_KEY, "decrypt"},
		{provider.RSA3072, provider.UseSign, pkcs11.CKO_PRIVATE_KEY, "sign"},
		{provider.RSA4096, provider.UseDecrypt, pkcs11.CKO_PRIVATE_KEY, "decrypt"},
	}
	made := []specimen{{label: "keyhold-witness", usage: "encrypt, decrypt", class: pkcs11.CKO_SECRET_KEY}}
	for _, k := range kinds {
		id := fmt.Sprintf("%s-%s", k.spec, k.use)
		m, err := token.Generate(t.Context(), id, k.spec, k.use)
		require.NoError(t, err, id)
		t.Cleanup(func() { require.NoError(t, token.Destroy(context.Background(), id, m)) })
		made = append(made, specimen{"keyhold:" + id, k.usage, k.class, false})
		if raw := ownKey(t, k.spec); raw != nil {
			m, err := token.Import(t.Context(), "own-"+id, k.spec, k.use, raw)
			require.NoError(t, err, id)
			t.Cleanup(func() { require.NoError(t, token.Destroy(context.Background(), "own-"+id, m)) })
			made = append(made, specimen{"keyhold:own-" + id, k.usage, k.class, true})
		}
	}
	_, err := token.CreateRoot(t.Context(), "store")
	if !errors.Is(err, fs.ErrExist) {
		require.NoError(t, err)
	}
	return append(made, specimen{"keyhold-root:store", "encrypt, decrypt", pkcs11.CKO_SECRET_KEY, false})
}

// ownKey is a key that was made outside, as it is imported.
func ownKey(t testing.TB, spec provider.Spec) []byte {
	t.Helper()
	var private any
	var err error
	switch spec {
	case provider.AES256, provider.HMAC256:
		return random(32)
	case provider.HMAC384:
		return random(48)
	case provider.HMAC512:
		return random(64)
	case provider.ECP256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case provider.ECP384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case provider.RSA2048:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		return nil
	}
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return der
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: without randomness it ends the program
	return b
}

// pkcs11Tool runs another program's view of the token.
func (tk token) pkcs11Tool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	program, err := exec.LookPath("pkcs11-tool")
	require.NoError(t, err, "this test needs pkcs11-tool: apt-get install opensc")
	args = append([]string{"--module", tk.Module, "--token-label", tk.Label, "--login", "--pin", tk.PIN}, args...)
	out, err := exec.CommandContext(t.Context(), program, args...).Output()
	return string(out), err
}

var objectHead = regexp.MustCompile(`(?m)^(Secret|Private|Public) Key Object`)

// listed is what pkcs11-tool says of each secret and private key, by label.
func (tk token) listed(t *testing.T) map[string]string {
	t.Helper()
	out, err := tk.pkcs11Tool(t, "--list-objects")
	require.NoError(t, err, out)
	of := map[string]string{}
	heads := objectHead.FindAllStringIndex(out, -1)
	require.NotEmpty(t, heads)
	for i, h := range heads {
		end := len(out)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		text := out[h[0]:end]
		if m := regexp.MustCompile(`label: +(.*)`).FindStringSubmatch(text); m != nil && !strings.HasPrefix(text, "Public") {
			of[m[1]] = text
		}
	}
	return of
}

// TestKeysStayInside: another program sees each key as sensitive, not extractable, and for its own
// use alone, and cannot read it.
func TestKeysStayInside(t *testing.T) {
	tk := anyToken(t)
	made := specimens(t, tk.open(t))
	keys := tk.listed(t)
	require.GreaterOrEqual(t, len(keys), len(made))
	for _, k := range made {
		text := keys[k.label]
		require.NotEmpty(t, text, k.label)
		usage := k.usage
		if strings.Contains(k.label, "HMAC") {
			usage = "(sign|none)" // of secret keys pkcs11-tool does not say whether they sign
		}
		require.Regexp(t, `Usage: +`+usage+"\n", text, k.label)
		if k.imported {
			require.Regexp(t, "Access: +sensitive\n", text, k.label)
		} else {
			require.Regexp(t, "Access: +sensitive, always sensitive, never extractable, local\n", text, k.label)
		}
		id := regexp.MustCompile(`ID: +([0-9a-f:]{32,47})`).FindStringSubmatch(text)
		require.NotNil(t, id, k.label)
		if k.class == pkcs11.CKO_SECRET_KEY { // others it never reads
			_, err := tk.pkcs11Tool(t, "--read-object", "--type", "secrkey", "--id", id[1])
			require.Error(t, err, "%s was read", k.label)
		}
	}
}

// TestAttacks: what is known to get keys out of tokens gets none of these out, nor makes them do
// what they are not for.
func TestAttacks(t *testing.T) {
	tk := anyToken(t)
	made := specimens(t, tk.open(t))
	before := tk.listed(t)

	p := pkcs11.New(tk.Module)
	require.NotNil(t, p)
	defer p.Destroy()
	slots, err := p.GetSlotList(true)
	require.NoError(t, err)
	var session pkcs11.SessionHandle
	fresh := func() { // an attack may leave an operation behind
		t.Helper()
		session, err = p.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		require.NoError(t, err)
	}
	fresh()
	mech := func(m uint, param any) []*pkcs11.Mechanism { return []*pkcs11.Mechanism{pkcs11.NewMechanism(m, param)} }
	// The attacker is logged in, and has keys of its own for everything.
	own, err := p.GenerateKey(session, mech(pkcs11.CKM_AES_KEY_GEN, nil), []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, true), pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, true), pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false)})
	require.NoError(t, err)
	wrapped, err := p.WrapKey(session, mech(pkcs11.CKM_AES_KEY_WRAP, nil), own, own)
	require.NoError(t, err, "the attack works on keys that allow it")

	for _, k := range made {
		require.NoError(t, p.FindObjectsInit(session, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, k.class), pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.label)}))
		found, _, err := p.FindObjects(session, 2)
		require.NoError(t, err)
		require.NoError(t, p.FindObjectsFinal(session))
		require.Len(t, found, 1, k.label)
		for what, attack := range attacks(p, func() pkcs11.SessionHandle { return session }, found[0], own, wrapped, k) {
			fresh()
			require.Error(t, attack(), "%s: %s", k.label, what)
		}
	}
	after := tk.listed(t)
	for _, k := range made {
		require.Equal(t, before[k.label], after[k.label])
	}
}

// attacks are what may not succeed on a key.
func attacks(p *pkcs11.Ctx, session func() pkcs11.SessionHandle, key, own pkcs11.ObjectHandle, wrapped []byte, k specimen) map[string]func() error {
	mech := func(m uint, param any) []*pkcs11.Mechanism { return []*pkcs11.Mechanism{pkcs11.NewMechanism(m, param)} }
	all := map[string]func() error{}
	for name, change := range map[string]*pkcs11.Attribute{
		"EXTRACTABLE": pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true), "SENSITIVE": pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false),
		"PRIVATE": pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false), "MODIFIABLE": pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, true),
		"COPYABLE": pkcs11.NewAttribute(pkcs11.CKA_COPYABLE, true), "WRAP": pkcs11.NewAttribute(pkcs11.CKA_WRAP, true),
		"UNWRAP": pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, true), "DERIVE": pkcs11.NewAttribute(pkcs11.CKA_DERIVE, true),
		"SIGN": pkcs11.NewAttribute(pkcs11.CKA_SIGN, true), "DECRYPT": pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
		"ID": pkcs11.NewAttribute(pkcs11.CKA_ID, make([]byte, 16)), "LABEL": pkcs11.NewAttribute(pkcs11.CKA_LABEL, "mine"),
	} {
		all["set "+name] = func() error {
			return p.SetAttributeValue(session(), key, []*pkcs11.Attribute{change})
		}
		all["copy with "+name] = func() error {
			_, err := p.CopyObject(session(), key, []*pkcs11.Attribute{change})
			return err
		}
	}
	all["copy"] = func() error { _, err := p.CopyObject(session(), key, nil); return err }
	for name, m := range map[string]uint{"AES_KEY_WRAP": pkcs11.CKM_AES_KEY_WRAP, "AES_KEY_WRAP_PAD": pkcs11.CKM_AES_KEY_WRAP_PAD} {
		all["wrap by "+name] = func() error { _, err := p.WrapKey(session(), mech(m, nil), own, key); return err }
		all["wrap with it by "+name] = func() error { _, err := p.WrapKey(session(), mech(m, nil), key, own); return err }
		all["unwrap with it by "+name] = func() error {
			_, err := p.UnwrapKey(session(), mech(m, nil), key, wrapped, []*pkcs11.Attribute{
				pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)})
			return err
		}
	}
	all["derive"] = func() error {
		_, err := p.DeriveKey(session(), mech(pkcs11.CKM_AES_ECB_ENCRYPT_DATA, make([]byte, 16)), key, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)})
		return err
	}
	for name, value := range map[string]uint{"VALUE": pkcs11.CKA_VALUE, "PRIVATE_EXPONENT": pkcs11.CKA_PRIVATE_EXPONENT, "PRIME_1": pkcs11.CKA_PRIME_1} {
		all["read "+name] = func() error {
			read, err := p.GetAttributeValue(session(), key, []*pkcs11.Attribute{pkcs11.NewAttribute(value, nil)})
			if err == nil && len(read) == 1 && len(read[0].Value) == 0 {
				return fmt.Errorf("nothing was read")
			}
			return err
		}
	}
	if k.usage != "sign" {
		all["sign"] = func() error { return p.SignInit(session(), mech(pkcs11.CKM_RSA_PKCS, nil), key) }
		all["make a MAC"] = func() error { return p.SignInit(session(), mech(pkcs11.CKM_SHA256_HMAC, nil), key) }
		all["make a CMAC"] = func() error { return p.SignInit(session(), mech(pkcs11.CKM_AES_CMAC, nil), key) }
	}
	if k.usage == "sign" {
		all["decrypt"] = func() error { return p.DecryptInit(session(), mech(pkcs11.CKM_RSA_PKCS, nil), key) }
		all["decrypt with AES"] = func() error { return p.DecryptInit(session(), mech(pkcs11.CKM_AES_CBC, make([]byte, 16)), key) }
	}
	return all
}
