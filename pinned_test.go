package kms_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/internal/tinkkeys"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/legacy/tinkset"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/keyhold/kms/tinkkms"
	"github.com/stretchr/testify/require"
)

// oneKey is a service with keys of every kind, by what they are, and what each of them made.
type oneKey struct {
	*kmstest.KMS
	m      *kms.Manager // tells what it was asked and what it did
	ids    map[string]string
	cond   map[string]error // of a use of the key; nil: it may be used
	refs   []pinnedRef
	made   []madeCiphertext
	asked  []kms.Request
	events []kms.Event
}

// A pinnedRef names a key.
type pinnedRef struct{ how, ref, key string }

type madeCiphertext struct {
	what    string
	key     string // that made it; "": none did
	version int
	bytes   []byte
	data    []byte // the associated data
	plain   []byte
	shadows bool // it names another key, which is there: Decrypt asks that one
	foreign bool // some other key may have made it, by its looks
}

func (c *madeCiphertext) ec() kms.EncryptionContext {
	if len(c.data) == 0 {
		return nil
	}
	return kms.EncryptionContext{tinkkms.ContextKey: hex.EncodeToString(c.data)}
}

// What of another system is taken over, and what comes of it then.
var takenOver = map[string]error{
	"keyring taken": nil, "keyring deleted": kms.ErrNotFound, "transit taken": nil, "transit disabled": kms.ErrDisabled,
	"tink taken": nil, "tink with an ID": nil, "tink pending": kms.ErrPendingDeletion,
}

func newPinned(t *testing.T) *oneKey {
	ctx := t.Context()
	p := &oneKey{KMS: kmstest.New(t), ids: map[string]string{}, cond: map[string]error{}}
	encrypt := func(m *kms.Manager, key string, version int) {
		for _, data := range [][]byte{nil, []byte("7")} {
			c := madeCiphertext{what: fmt.Sprintf("%s, version %d", key, version), key: key, version: version, data: data, plain: []byte(key)}
			var err error
			c.bytes, err = m.Encrypt(ctx, p.ids[key], c.plain, c.ec())
			require.NoError(t, err)
			p.made = append(p.made, c)
		}
	}
	for _, key := range []string{"own", "another", "disabled", "pending", "deleted"} {
		p.ids[key] = p.MustCreateKey(t).ID
		encrypt(p.Manager, key, 1)
	}
	require.NoError(t, kit.Err(p.RotateKey(ctx, p.ids["own"])))
	encrypt(p.Manager, "own", 2)
	service, err := p.Service("ecs").Key(ctx)
	require.NoError(t, err)
	p.ids["service"] = service.ID
	encrypt(p.Manager, "service", 1)

	sources := kit.WithSources(p.oldKeys(t)...)
	setup := p.Another(t, sources)
	for key, cond := range takenOver {
		if p.ids[key] != "" {
			require.NoError(t, kit.Err(setup.MigrateLegacyKey(ctx, p.ids[key], "")))
			encrypt(setup, key, 1)
			p.cond[key] = cond
		}
	}
	p.name(t, setup)
	p.cond["disabled"], p.cond["pending"], p.cond["deleted"] = kms.ErrDisabled, kms.ErrPendingDeletion, kms.ErrNotFound
	for _, last := range []error{kms.ErrNotFound, kms.ErrPendingDeletion, kms.ErrDisabled} {
		for key, cond := range p.cond {
			if cond != last {
				continue
			}
			require.NoError(t, kit.Err(setup.DisableKey(ctx, p.ids[key])))
			if last != kms.ErrDisabled {
				require.NoError(t, kit.Err(setup.ScheduleKeyDeletion(ctx, p.ids[key], 7)))
			}
		}
		if last == kms.ErrNotFound {
			p.Clock.AdvanceDays(7)
		}
	}
	p.cond[""] = kms.ErrNotFound
	p.lookAlikes(t)
	p.made = append(p.made, madeCiphertext{what: "another's, with own's name", bytes: kms.Readdress(p.made[2].bytes, p.ids["own"])},
		madeCiphertext{what: "own's, with another's name", bytes: kms.Readdress(p.made[0].bytes, p.ids["another"])},
		madeCiphertext{what: "random", bytes: kit.Pattern(100), foreign: true})
	for n := range 31 {
		p.made = append(p.made, madeCiphertext{what: fmt.Sprintf("own's, cut to %d bytes", n), bytes: p.made[0].bytes[:n], foreign: true})
	}
	p.m = p.Another(t, sources, func(c *kms.Config) {
		c.Authorize = func(_ context.Context, r kms.Request) error { p.asked = append(p.asked, r); return nil }
		c.Observe = func(_ context.Context, e kms.Event) { p.events = append(p.events, e) }
	})
	return p
}

// oldKeys makes the sources of other systems, with keys that have one locator and some that do not.
func (p *oneKey) oldKeys(t *testing.T) (sources []legacy.Source) {
	old := func(key string, data, ciphertext []byte) {
		p.made = append(p.made, madeCiphertext{what: key + ", the old version", key: key, bytes: ciphertext, data: data, plain: []byte("old"), foreign: true})
	}
	var ring []legacy.Key
	for _, key := range []string{"keyring source's", "keyring taken", "keyring deleted"} {
		version := legacy.NameID("test", key+" version")
		p.ids[key] = legacy.NameID("test", key)
		ring = append(ring, legacy.Key{ID: p.ids[key], Versions: []legacy.Version{keyring.NewVersion(version, p.Clock.Now(), kit.OldMaterial(key))}})
		associated := sha256.Sum256([]byte(tinkkms.ContextKey + "=37"))
		gcm := kit.GCM(t, kit.OldMaterial(key))
		old(key, nil, gcm.Seal([]byte(version), nil, []byte("old"), nil))
		old(key, []byte("7"), gcm.Seal([]byte(version), nil, []byte("old"), associated[:]))
	}
	rings, err := keyring.New(ring...)
	require.NoError(t, err)

	var exports []transit.Export
	for _, key := range []string{"transit source's", "transit taken", "transit disabled"} {
		name := strings.Fields(strings.ReplaceAll(key, "'", ""))[1]
		exports = append(exports, transitExport(name, 1))
		only, err := transit.New(transitExport(name, 1))
		require.NoError(t, err)
		for k := range only.Keys(t.Context()) {
			p.ids[key] = k.ID
		}
		old(key, nil, transitCiphertext(t, name, "1"))
	}
	transits, err := transit.New(exports...)
	require.NoError(t, err)
	sources = []legacy.Source{rings, transits}
	if fips140.Enforced() {
		return sources
	}

	var sets []tinkset.Keyset
	for _, key := range []string{"tink source's", "tink taken", "tink pending", "tink with an ID"} {
		handle := tinkkeys.Handle(t, tinkkeys.AESGCM(t, kit.OldMaterial(key), p.tinkID(key)))
		sets = append(sets, tinkset.Keyset{Name: key, Handle: handle})
		p.ids[key] = legacy.NameID(tinkset.Scheme, key)
		a := tinkkeys.AEAD(t, tinkkeys.AESGCM(t, kit.OldMaterial(key), p.tinkID(key)))
		for _, data := range [][]byte{nil, []byte("7")} {
			ciphertext, err := a.Encrypt([]byte("old"), data)
			require.NoError(t, err)
			old(key, data, ciphertext)
		}
	}
	tinks, err := tinkset.New(sets...)
	require.NoError(t, err)
	return append(sources, tinks)
}

// tinkID is 0 but for the key whose prefix is how a ciphertext of own begins.
func (p *oneKey) tinkID(key string) uint32 {
	if key != "tink with an ID" {
		return 0
	}
	return binary.BigEndian.Uint32(p.made[0].bytes[1:5])
}

// lookAlikes makes ciphertexts of Tink's keys that begin like those of this service.
func (p *oneKey) lookAlikes(t *testing.T) {
	nobody := p.ids["own"][:35] + string("10"[p.ids["own"][35]&1])
	for _, key := range []string{"tink source's", "tink taken", "tink pending", "tink with an ID"} {
		named := map[string]string{"own": p.ids["own"], "nobody": nobody}
		if key != "tink with an ID" {
			named["deleted"], named["itself"], named["disabled"] = p.ids["deleted"], p.ids[key], p.ids["disabled"]
		}
		for name, id := range named {
			for _, data := range [][]byte{nil, []byte("7")} {
				if p.ids[key] == "" {
					continue
				}
				start := kms.Readdress(p.made[0].bytes[:23], id)
				c := madeCiphertext{what: key + ", looks like one of " + name, key: key, data: data}
				c.bytes, c.plain = tinkkeys.Beginning(t, kit.OldMaterial(key), p.tinkID(key), start, data)
				c.shadows = name == "own" || name == "disabled"
				c.foreign = true
				info, err := kms.Inspect(c.bytes)
				require.NoError(t, err)
				require.Equal(t, kms.CiphertextInfo{KeyID: id, KeyVersion: 1, Protection: kms.ProtectionSoftware}, info)
				p.made = append(p.made, c)
			}
		}
	}
}

// name gives each key the names that it can have.
func (p *oneKey) name(t *testing.T, m *kms.Manager) {
	n := 0
	for key, id := range p.ids {
		p.refs = append(p.refs, pinnedRef{"ID", id, key})
		switch {
		case key == "service":
			p.refs = append(p.refs, pinnedRef{"alias", p.Service("ecs").Alias(), key})
		case !strings.HasSuffix(key, "source's"): // which can have no alias
			n++
			alias, moved := fmt.Sprintf("alias/k%d", n), fmt.Sprintf("alias/moved%d", n)
			before := p.ids["another"]
			if key == "another" {
				before = p.ids["own"]
			}
			require.NoError(t, m.CreateAlias(t.Context(), alias, id))
			require.NoError(t, m.CreateAlias(t.Context(), moved, before))
			require.NoError(t, m.UpdateAlias(t.Context(), moved, id))
			p.refs = append(p.refs, pinnedRef{"alias", alias, key}, pinnedRef{"alias that moved", moved, key})
		}
	}
	p.refs = append(p.refs, pinnedRef{"alias of nothing", "alias/nothing", ""}, pinnedRef{"ID of nothing", "01890000-0000-7000-8000-000000000000", ""})
}

// last is the event of an operation, and nothing of one before.
func (p *oneKey) last(t *testing.T, op kms.Op) kms.Event {
	t.Helper()
	require.NotEmpty(t, p.events)
	require.Equal(t, op, p.events[0].Op)
	return p.events[0]
}

// TestPinned: a call that names its key succeeds if and only if that key made the ciphertext and
// may be used; the key version that it returns is the one that Observe is told; and nobody is
// asked about another key.
func TestPinned(t *testing.T) {
	p := newPinned(t)
	ctx := t.Context()
	type opened struct {
		plain []byte
		used  *kms.Used // nil: the call does not say
		err   error
	}
	calls := map[string]func(ref string, c madeCiphertext) (kms.Op, opened){
		"DecryptWithKey": func(ref string, c madeCiphertext) (kms.Op, opened) {
			plain, used, err := p.m.DecryptWithKey(ctx, ref, c.bytes, c.ec())
			return kms.OpDecrypt, opened{plain, &used, err}
		},
		"ReEncryptWithKey": func(ref string, c madeCiphertext) (kms.Op, opened) {
			moved, used, err := p.m.ReEncryptWithKey(ctx, ref, c.bytes, c.ec(), p.ids["own"], nil)
			if err != nil {
				return kms.OpReEncryptFrom, opened{moved, &used, err}
			}
			plain, err := p.Decrypt(ctx, moved, nil)
			return kms.OpReEncryptFrom, opened{plain, &used, err}
		},
		"tinkkms": func(ref string, c madeCiphertext) (kms.Op, opened) {
			plain, err := tinkkms.AEAD(p.m, ref).Decrypt(c.bytes, c.data)
			return kms.OpDecrypt, opened{plain, nil, err}
		},
	}
	succeeded := map[string]bool{}
	for name, call := range calls {
		for _, r := range p.refs {
			for _, c := range p.made {
				at := fmt.Sprintf("%s of %s by %s of %s", name, c.what, r.how, r.key)
				p.asked, p.events = nil, nil
				op, got := call(r.ref, c)
				event := p.last(t, op)
				for _, request := range p.asked {
					if request.Op == op {
						require.Equal(t, kms.Request{Op: op, KeyID: p.ids[r.key], Alias: request.Alias, EncryptionContext: c.ec()}, withoutID(request, r), at)
						require.Equal(t, strings.HasPrefix(r.ref, "alias/"), request.Alias == r.ref, at)
					}
				}
				want := p.cond[r.key]
				if want == nil && c.key != r.key {
					want = kms.ErrCiphertext
				}
				if want != nil {
					require.ErrorIs(t, got.err, want, at)
					require.Len(t, kit.Conditions(got.err), 1, at)
					require.ErrorIs(t, event.Err, want, at)
					require.Nil(t, got.plain, at)
					require.True(t, got.used == nil || *got.used == kms.Used{}, at)
					require.True(t, event.KeyID == p.ids[r.key] || r.key == "", at)
					continue
				}
				require.NoError(t, got.err, at)
				require.Equal(t, string(c.plain), string(got.plain), at)
				require.Equal(t, kms.Used{KeyID: p.ids[r.key], KeyVersion: c.version}, kms.Used{KeyID: event.KeyID, KeyVersion: event.KeyVersion}, at)
				if got.used != nil {
					require.Equal(t, kms.Used{KeyID: event.KeyID, KeyVersion: event.KeyVersion}, *got.used, at)
				}
				succeeded[c.what] = true
			}
		}
	}
	for _, c := range p.made {
		require.Equal(t, c.key != "" && p.cond[c.key] == nil, succeeded[c.what], c.what)
	}
}

// withoutID is a request in which the ID is that of the key, also where the ref names nothing.
func withoutID(r kms.Request, ref pinnedRef) kms.Request {
	if ref.key == "" {
		r.KeyID = ""
	}
	return r
}

// TestPinnedReads: a call that names its key reads nothing of another, whatever it is given.
func TestPinnedReads(t *testing.T) {
	p := newPinned(t)
	for _, key := range []string{"own", "keyring taken", "transit taken"} {
		for _, c := range p.made {
			m := p.Another(t, kit.WithSources(p.oldSources(t)...))
			var read []string
			p.Store.OnGet(func(name string) error { read = append(read, name); return nil })
			_, _, err := m.DecryptWithKey(t.Context(), p.ids[key], c.bytes, c.ec())
			p.Store.OnGet(nil)
			require.Equal(t, c.key == key, err == nil, c.what)
			for _, name := range read {
				about, isKey := strings.CutPrefix(name, "key/")
				require.True(t, !isKey || about == p.ids[key], "%s: it read %s", c.what, name)
				require.NotContains(t, name, "legacy/", c.what)
			}
		}
	}
}

// oldSources makes the sources again, for another Manager.
func (p *oneKey) oldSources(t *testing.T) []legacy.Source {
	again := &oneKey{KMS: p.KMS, ids: map[string]string{}, made: p.made[:1:1]}
	return again.oldKeys(t)
}

// TestUnpinned: calls that take the key from the ciphertext open what a key made that may be used,
// and tell Observe which one it was, whatever the ciphertext says of itself.
func TestUnpinned(t *testing.T) {
	p := newPinned(t)
	ctx := t.Context()
	calls := map[string]func(c madeCiphertext) (kms.Op, []byte, error){
		"Decrypt": func(c madeCiphertext) (kms.Op, []byte, error) {
			plain, err := p.m.Decrypt(ctx, c.bytes, c.ec())
			return kms.OpDecrypt, plain, err
		},
		"AppendDecrypt": func(c madeCiphertext) (kms.Op, []byte, error) {
			plain, err := p.m.AppendDecrypt(ctx, []byte{}, c.bytes, c.ec())
			return kms.OpDecrypt, plain, err
		},
		"ReEncrypt": func(c madeCiphertext) (kms.Op, []byte, error) {
			moved, err := p.m.ReEncrypt(ctx, c.bytes, c.ec(), p.ids["another"], nil)
			if err != nil {
				return kms.OpReEncryptFrom, nil, err
			}
			plain, used, err := p.DecryptWithKey(ctx, p.ids["another"], moved, nil)
			require.Equal(t, kms.Used{KeyID: p.ids["another"], KeyVersion: 1}, used)
			return kms.OpReEncryptFrom, plain, err
		},
	}
	for name, call := range calls {
		for _, c := range p.made {
			at := name + " of " + c.what
			p.events = nil
			op, plain, err := call(c)
			event := p.last(t, op)
			require.Equal(t, c.key != "" && p.cond[c.key] == nil && !c.shadows, err == nil, "%s: %v", at, err)
			if err == nil {
				require.Equal(t, string(c.plain), string(plain), at)
				require.Equal(t, kms.Used{KeyID: p.ids[c.key], KeyVersion: c.version}, kms.Used{KeyID: event.KeyID, KeyVersion: event.KeyVersion}, at)
			}
		}
	}
	for _, c := range p.made {
		p.events = nil
		needs, err := p.m.NeedsRewrap(ctx, c.bytes)
		switch {
		case c.foreign || p.cond[c.key] == kms.ErrNotFound || c.key == "":
		default:
			require.NoError(t, err, c.what)
			require.Equal(t, c.key == "own" && c.version == 1, needs, c.what)
			require.Equal(t, p.ids[c.key], p.last(t, kms.OpDescribeKey).KeyID, c.what)
		}
	}
}

// TestPinnedRewrap: Rewrap encrypts anew what its key made with an older version, all of it, and
// nothing of another key. What may be its own and does not open is an error.
func TestPinnedRewrap(t *testing.T) {
	p := newPinned(t)
	ctx := t.Context()
	for _, r := range p.refs {
		for _, c := range p.made {
			at := fmt.Sprintf("Rewrap of %s by %s of %s", c.what, r.how, r.key)
			shelf := kit.Shelf{"a": kms.Wrapped{ID: "a", Ciphertext: c.bytes, Context: c.ec()}}
			p.events = nil
			report, err := p.m.Rewrap(ctx, r.ref, shelf.Items, shelf.Put, nil)
			if p.cond[r.key] == kms.ErrNotFound {
				require.ErrorIs(t, err, kms.ErrNotFound, at)
				continue
			}
			require.Equal(t, p.ids[r.key], report.KeyID, at)
			changed := !bytes.Equal(c.bytes, shelf["a"].Ciphertext)
			require.Equal(t, report.Rewrapped == 1, changed, at)
			require.Equal(t, err == nil, report.Rewrapped+report.Current+report.Others == 1, at)
			switch {
			case c.key != r.key:
				require.False(t, changed, at)
				info, bad := kms.Inspect(c.bytes)
				if p.cond[r.key] == nil && (bad == nil && info.KeyID != report.KeyID || c.key != "" && p.cond[c.key] == nil && !c.shadows) {
					require.NoError(t, err, at)
					require.Equal(t, 1, report.Others, at)
				}
			case strings.HasSuffix(c.key, "source's"):
				require.True(t, err != nil || report.Current == 1 && c.version == 0, at) // it cannot encrypt
			case p.cond[r.key] != nil && err != nil:
				require.ErrorIs(t, err, p.cond[r.key], at)
			case changed:
				require.NoError(t, err, at)
				plain, used, err := p.m.DecryptWithKey(ctx, r.ref, shelf["a"].Ciphertext, c.ec())
				require.NoError(t, err, at)
				require.Equal(t, string(c.plain), string(plain), at)
				require.Equal(t, kms.Used{KeyID: report.KeyID, KeyVersion: report.Version}, used, at)
			default:
				require.Equal(t, 1, report.Current, at)
			}
		}
	}

	// Of two keys that have one locator, the one that is asked for; a wrong context is no other
	// key's.
	for _, data := range []string{"transit taken", "keyring taken"} {
		for _, c := range p.made {
			if c.key == data && c.version == 0 {
				shelf := kit.Shelf{"a": kms.Wrapped{ID: "a", Ciphertext: c.bytes, Context: kms.EncryptionContext{"wrong": "context"}}}
				report, err := p.m.Rewrap(ctx, p.ids[data], shelf.Items, shelf.Put, nil)
				require.Error(t, err, c.what)
				require.False(t, report.Complete, c.what)
			}
		}
	}
}

// TestUsedIsTold: Observe is told which key did the work, whatever name it was called by, for uses
// whose results name no key.
func TestUsedIsTold(t *testing.T) {
	ctx := t.Context()
	var event kms.Event
	k := kmstest.New(t, func(c *kms.Config) {
		c.Observe = func(_ context.Context, e kms.Event) { event = e }
	})
	message := []byte("message")
	for name, row := range map[string]struct {
		spec  kms.Spec
		usage kms.Usage
		make  func(ref string) ([]byte, error)
		check func(id string, made []byte) error
	}{
		"Sign": {kms.SpecEd25519, kms.UsageSignVerify,
			func(ref string) ([]byte, error) { return k.Sign(ctx, ref, kms.SignEd25519, message) },
			func(id string, made []byte) error { return k.Verify(ctx, id, kms.SignEd25519, message, made) }},
		"GenerateMac": {kms.SpecHMAC256, kms.UsageGenerateVerifyMac,
			func(ref string) ([]byte, error) { return k.GenerateMac(ctx, ref, kms.MacHMACSHA256, message) },
			func(id string, made []byte) error { return k.VerifyMac(ctx, id, kms.MacHMACSHA256, message, made) }},
		"AsymmetricEncrypt": {kms.SpecRSA2048, kms.UsageEncryptDecrypt,
			func(ref string) ([]byte, error) { return k.AsymmetricEncrypt(ctx, ref, message) },
			func(id string, made []byte) error { return kit.Err(k.AsymmetricDecrypt(ctx, id, made)) }},
		"Encrypt": {kms.SpecAES256, kms.UsageEncryptDecrypt,
			func(ref string) ([]byte, error) { return k.Encrypt(ctx, ref, message, nil) },
			func(id string, made []byte) error {
				_, used, err := k.DecryptWithKey(ctx, id, made, nil)
				require.Equal(t, err == nil, used == kms.Used{KeyID: id, KeyVersion: 1})
				return err
			}},
	} {
		first, second := kit.Key(t, k, row.spec, row.usage), kit.Key(t, k, row.spec, row.usage)
		alias := "alias/" + name
		require.NoError(t, k.CreateAlias(ctx, alias, first))
		for i, ref := range []string{first, alias, alias, second} {
			want, other := first, second
			if i > 1 {
				require.NoError(t, k.UpdateAlias(ctx, alias, second))
				want, other = second, first
			}
			made, err := row.make(ref)
			require.NoError(t, err, name)
			require.Equal(t, kms.Used{KeyID: want, KeyVersion: 1}, kms.Used{KeyID: event.KeyID, KeyVersion: event.KeyVersion}, name)
			require.NoError(t, row.check(want, made), name)
			require.Error(t, row.check(other, made), name)
		}
	}
}

// TestDecrypterOfOneKey: a Decrypter opens with the key that its alias named when it was made.
func TestDecrypterOfOneKey(t *testing.T) {
	ctx := t.Context()
	var events []kms.Event
	k := kmstest.New(t, func(c *kms.Config) {
		c.Observe = func(_ context.Context, e kms.Event) { events = append(events, e) }
	})
	first, second := kit.Key(t, k, kms.SpecRSA2048, kms.UsageEncryptDecrypt), kit.Key(t, k, kms.SpecRSA2048, kms.UsageEncryptDecrypt)
	require.NoError(t, k.CreateAlias(ctx, "alias/a", first))
	d, err := k.Decrypter(ctx, "alias/a")
	require.NoError(t, err)
	require.NoError(t, k.UpdateAlias(ctx, "alias/a", second))
	for id, ok := range map[string]bool{first: true, second: false} {
		c, err := k.AsymmetricEncrypt(ctx, id, []byte("x"))
		require.NoError(t, err)
		plain, err := d.Decrypt(nil, c, &rsa.OAEPOptions{Hash: crypto.SHA256})
		require.Equal(t, ok, err == nil)
		require.Equal(t, ok, string(plain) == "x")
		require.Equal(t, first, events[len(events)-1].KeyID)
	}
}
