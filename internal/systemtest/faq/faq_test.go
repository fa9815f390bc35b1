// Package faq_test asks the service what people ask about a key management service.
package faq_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// The questions that people ask about a key management service, answered by this one:
// each file in testdata is a conversation with it.

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }

// TestFAQ holds each conversation. With -update it writes down what is answered now.
func TestFAQ(t *testing.T) {
	kit.EachStore(t, func(t *testing.T) {
		if *update {
			require.NoError(t, setRewrite())
		}
		files, err := filepath.Glob("testdata/*.txt")
		require.NoError(t, err)
		require.NotEmpty(t, files, "no conversation found")
		for _, file := range files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				require.True(t, strings.HasPrefix(string(text), "# "), "a file begins with its question")
				f := newFAQ(t)
				datadriven.RunTest(t, file, f.answer)
			})
		}
	})
}

// setRewrite is -update under datadriven's own name for it.
func setRewrite() error { return flag.Set("rewrite", "true") }

// faq is one conversation: the service, and the names that its user has for things.
type faq struct {
	k     *kmstest.KMS
	m     *kms.Manager // who is asked
	spy   *kit.Spy
	keys  map[string]*faqKey
	named *strings.Replacer // key ID -> name
	kept  map[string]*keptCiphertext
	heard []string // notices
	old   kit.OldKey

	hardware hardware
}

type faqKey struct {
	id       string
	material []byte
}

type keptCiphertext struct {
	ciphertext, plaintext []byte
	dataKey               bool
	ec                    kms.EncryptionContext
}

func newFAQ(t *testing.T) *faq {
	f := &faq{
		spy:  &kit.Spy{Provider: software.New()},
		keys: map[string]*faqKey{}, named: strings.NewReplacer(), kept: map[string]*keptCiphertext{},
	}
	f.k = kit.New(t, func(c *kms.Config) {
		c.Software = f.spy
		c.Observe = func(_ context.Context, e kms.Event) { f.hear(e) }
	})
	f.m = f.k.Manager
	return f
}

// answer does what one command says and tells what the service said.
func (f *faq) answer(t *testing.T, d *datadriven.TestData) string {
	command, known := faqCommands[d.Cmd]
	if !known {
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	said, err := command(f, t, d)
	if err != nil {
		said = "refused: " + err.Error() + "\ncode: " + kms.Code(err) + "\nhint: " + kms.Hint(err)
	}
	return f.named.Replace(said) + "\n"
}

type faqCommand func(f *faq, t *testing.T, d *datadriven.TestData) (string, error)

var faqCommands = map[string]faqCommand{
	"create":          (*faq).create,
	"describe":        onKey((*kms.Manager).DescribeKey),
	"enable":          onKey((*kms.Manager).EnableKey),
	"disable":         onKey((*kms.Manager).DisableKey),
	"cancel":          onKey((*kms.Manager).CancelKeyDeletion),
	"schedule":        (*faq).schedule,
	"protect":         (*faq).protect,
	"unprotect":       (*faq).protect,
	"depends":         (*faq).depends,
	"no-longer":       (*faq).depends,
	"create-external": (*faq).createExternal,
	"import":          (*faq).importMaterial,
	"delete-material": (*faq).deleteMaterial,
	"rotate":          onKey((*kms.Manager).RotateKey),
	"list":            (*faq).list,
	"encrypt":         (*faq).encrypt,
	"data-key":        (*faq).dataKey,
	"decrypt":         (*faq).decrypt,
	"advance":         (*faq).advance,
	"maintain":        (*faq).maintain,
	"another-manager": (*faq).anotherManager,
	"another-root":    (*faq).anotherRoot,
	"search":          (*faq).search,

	"backup":             (*faq).backup,
	"verify-backup":      (*faq).verifyBackup,
	"restore":            (*faq).restore,
	"new-key-store":      (*faq).newKeyStore,
	"old-edition":        (*faq).oldEdition,
	"forget-keyring":     (*faq).forgetKeyring,
	"migrate":            (*faq).migrate,
	"create-instance":    (*faq).createInstance,
	"describe-instance":  (*faq).describeInstance,
	"renew":              (*faq).renew,
	"release":            (*faq).release,
	"plan-release":       (*faq).planRelease,
	"protect-instance":   (*faq).protectInstance,
	"unprotect-instance": (*faq).protectInstance,
	"service":            (*faq).service,
	"plan":               (*faq).plan,
	"explain":            (*faq).explain,
	"usage":              (*faq).usage,
	"brownout":           (*faq).brownout,
	"name":               (*faq).addAlias,
	"unname":             (*faq).dropAlias,
	"notices":            (*faq).notices,
	"open-token":         (*faq).openToken,
	"create-in-token":    (*faq).createInToken,
	"look-into-token":    (*faq).lookInto,
	"take-out":           (*faq).takeOut,
	"token-away":         (*faq).takeAway,
	"token-back":         (*faq).bringBack,
	"store":              (*faq).store,
}

func (f *faq) create(t *testing.T, d *datadriven.TestData) (string, error) {
	key, err := f.m.CreateKey(t.Context(), &kms.CreateKeyOptions{Description: word(d, "description"), Instance: word(d, "in")})
	if err != nil {
		return "", err
	}
	f.name(first(t, d), &faqKey{key.ID, f.spy.Materials[len(f.spy.Materials)-1]})
	return told(key), nil
}

// name has the answers call a key by its name.
func (f *faq) name(name string, key *faqKey) {
	f.keys[name] = key
	var pairs []string
	for name, k := range f.keys {
		pairs = append(pairs, k.id, name)
	}
	f.named = strings.NewReplacer(pairs...)
}

// onKey is a command that takes a key and nothing else.
func onKey(verb func(*kms.Manager, context.Context, string) (kms.Key, error)) faqCommand {
	return func(f *faq, t *testing.T, d *datadriven.TestData) (string, error) {
		return tell(verb(f.m, t.Context(), f.key(t, d)))
	}
}

func (f *faq) schedule(t *testing.T, d *datadriven.TestData) (string, error) {
	return tell(f.m.ScheduleKeyDeletion(t.Context(), f.key(t, d), number(t, d, "days")))
}

func (f *faq) protect(t *testing.T, d *datadriven.TestData) (string, error) {
	return tell(f.m.SetDeletionProtection(t.Context(), f.key(t, d), d.Cmd == "protect", word(d, "why")))
}

func (f *faq) depends(t *testing.T, d *datadriven.TestData) (string, error) {
	on := kms.Dependent{Name: word(d, "name")}
	if d.Cmd == "depends" {
		return tell(f.m.AddDependent(t.Context(), f.key(t, d), on))
	}
	return tell(f.m.RemoveDependent(t.Context(), f.key(t, d), on))
}

func (f *faq) list(t *testing.T, _ *datadriven.TestData) (string, error) {
	var lines []string
	for key, err := range f.m.Keys(t.Context(), nil) {
		if err != nil {
			return "", err
		}
		lines = append(lines, told(key))
	}
	if lines == nil {
		return "no keys", nil
	}
	return strings.Join(lines, "\n"), nil
}

func (f *faq) encrypt(t *testing.T, d *datadriven.TestData) (string, error) {
	kept := &keptCiphertext{plaintext: []byte(word(d, "text")), ec: encryptionContext(d)}
	var err error
	if kept.ciphertext, err = f.m.Encrypt(t.Context(), f.key(t, d), kept.plaintext, kept.ec); err != nil {
		return "", err
	}
	f.kept[word(d, "as")] = kept
	return "encrypted, kept as " + word(d, "as"), nil
}

func (f *faq) dataKey(t *testing.T, d *datadriven.TestData) (string, error) {
	ec := encryptionContext(d)
	k, err := f.m.GenerateDataKey(t.Context(), f.key(t, d), ec)
	if err != nil {
		return "", err
	}
	f.kept[word(d, "as")] = &keptCiphertext{ciphertext: k.Ciphertext, plaintext: k.Plaintext(), dataKey: true, ec: ec}
	return fmt.Sprintf("a data key of %d bytes, kept encrypted as %s", len(k.Plaintext()), word(d, "as")), nil
}

// decrypt gives the encryption context that the ciphertext was made with, or another.
func (f *faq) decrypt(t *testing.T, d *datadriven.TestData) (string, error) {
	kept := f.kept[first(t, d)]
	require.NotNil(t, kept, "%s: nothing is kept under that name", d.Pos)
	ec := kept.ec
	if d.HasArg("context") {
		ec = encryptionContext(d)
	}
	plain, err := f.m.Decrypt(t.Context(), kept.ciphertext, ec)
	if err != nil {
		require.Nil(t, plain)
		return "", err
	}
	require.Equal(t, kept.plaintext, plain)
	if kept.dataKey {
		return "the same data key", nil
	}
	return string(plain), nil
}

func (f *faq) advance(t *testing.T, d *datadriven.TestData) (string, error) {
	f.k.Clock.AdvanceDays(number(t, d, "days"))
	f.k.Clock.Advance(time.Duration(number(t, d, "seconds")) * time.Second)
	return "it is " + f.k.Clock.Now().Format(time.RFC3339), nil
}

func (f *faq) maintain(t *testing.T, _ *datadriven.TestData) (string, error) {
	report, err := f.m.Maintain(t.Context())
	lines := []string{fmt.Sprintf("looked at %d", report.Keys)}
	for _, part := range []struct {
		what string
		keys []string
	}{{"noted", report.Noted}, {"waiting", report.Waiting}, {"purged", report.Purged}, {"material over", report.Expired}, {"rotated", report.Rotated}} {
		if len(part.keys) > 0 {
			lines = append(lines, part.what+": "+strings.Join(part.keys, ", "))
		}
	}
	for _, part := range []struct {
		what      string
		instances []string
	}{{"grace over", report.Instances.Noted}, {"released", report.Instances.Released}} {
		if len(part.instances) > 0 {
			lines = append(lines, part.what+": "+strings.Join(part.instances, ", "))
		}
	}
	return strings.Join(lines, "\n"), err
}

// anotherManager is what a further process over the same store would be. It is asked from
// here on.
func (f *faq) anotherManager(t *testing.T, _ *datadriven.TestData) (string, error) {
	m, err := kms.Open(t.Context(), f.k.ConfigWith())
	if err != nil {
		return "", err
	}
	f.m = m
	return "opened", nil
}

func (f *faq) anotherRoot(t *testing.T, _ *datadriven.TestData) (string, error) {
	root, err := software.NewRoot([]byte("another root, of 32 bytes like it"[:32]))
	require.NoError(t, err)
	_, err = kms.Open(t.Context(), f.k.ConfigWith(func(c *kms.Config) { c.Root = root }))
	return "opened", err
}

// store makes the key store behave like one whose network is gone.
func (f *faq) store(t *testing.T, d *datadriven.TestData) (string, error) {
	gone := errors.New("connection refused")
	s := f.k.Store
	s.OnGet(nil)
	s.OnPut(nil)
	s.OnList(nil)
	switch how := first(t, d); how {
	case "back":
		return "the store answers", nil
	case "read-only":
		s.OnPut(func(string) (bool, error) { return false, gone })
		return "the store answers, but to writes it does not", nil
	case "out-of-reach":
		s.OnGet(func(string) error { return gone })
		s.OnPut(func(string) (bool, error) { return false, gone })
		s.OnList(func(string) error { return gone })
		return "the store does not answer", nil
	default:
		d.Fatalf(t, "a store is back, read-only or out-of-reach, not %q", how)
		return "", nil
	}
}

// search looks for something in every byte that the key store holds.
func (f *faq) search(t *testing.T, d *datadriven.TestData) (string, error) {
	var secret []byte
	switch {
	case d.HasArg("text"):
		secret = []byte(word(d, "text"))
	case d.HasArg("plaintext-of"):
		secret = f.kept[word(d, "plaintext-of")].plaintext
	case d.HasArg("material-of"):
		secret = f.keys[word(d, "material-of")].material
	}
	require.NotEmpty(t, secret, "%s: what to search for", d.Pos)
	items, found := 0, 0
	for item, err := range f.k.Store.List(t.Context(), "", "") {
		require.NoError(t, err)
		items++
		if holds(item, secret) {
			found++
		}
	}
	return fmt.Sprintf("found in %d of %d items", found, items), nil
}

// holds tells whether any 12 bytes of the secret that follow each other are in the item.
func holds(item keystore.Item, secret []byte) bool {
	piece := min(12, len(secret))
	for i := 0; i+piece <= len(secret); i++ {
		if bytes.Contains(item.Value, secret[i:i+piece]) {
			return true
		}
	}
	return false
}

// told is what a person would want to know of a key.
func told(k kms.Key) string {
	s := k.ID + " is " + k.State.String()
	if k.Owner == kms.OwnerLegacy {
		s += ", a key of another system"
	}
	if k.State == kms.Unavailable {
		s += ", and " + k.Underlying.String() + " by itself"
	}
	if !k.DeletionDate.IsZero() {
		s += ", to be deleted at " + k.DeletionDate.Format(time.RFC3339)
	}
	if k.Protected {
		s += "\nprotected: " + k.ProtectedWhy
	}
	if !k.MaterialExpiresAt.IsZero() {
		s += ", its material expires at " + k.MaterialExpiresAt.Format(time.RFC3339)
	}
	for _, d := range k.Dependents {
		s += "\nneeded by: " + d.Name
	}
	return s
}

func tell(k kms.Key, err error) (string, error) { return told(k), err }

// first is what a command is about: its first argument, which has no value.
func first(t *testing.T, d *datadriven.TestData) string {
	require.NotEmpty(t, d.CmdArgs, "%s: about what?", d.Pos)
	require.Empty(t, d.CmdArgs[0].Vals, "%s: about what?", d.Pos)
	return d.CmdArgs[0].Key
}

// key is the ID of the key that a command is about.
func (f *faq) key(t *testing.T, d *datadriven.TestData) string {
	k := f.keys[first(t, d)]
	require.NotNil(t, k, "%s: there never was a key of that name", d.Pos)
	return k.id
}

// word is the value of an argument: name=value, or name=(several words, and so on).
func word(d *datadriven.TestData, name string) string {
	arg, _ := d.Arg(name)
	return strings.Join(arg.Vals, ", ")
}

func number(t *testing.T, d *datadriven.TestData, name string) int {
	n := 0
	d.MaybeScanArgs(t, name, &n)
	return n
}

// encryptionContext reads context=table:7 and context=(table:7, tenant:a).
func encryptionContext(d *datadriven.TestData) kms.EncryptionContext {
	arg, _ := d.Arg("context")
	ec := kms.EncryptionContext{}
	for _, pair := range arg.Vals {
		key, value, _ := strings.Cut(pair, ":")
		ec[key] = value
	}
	return ec
}
