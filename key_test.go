package kms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/provider"
	"github.com/stretchr/testify/require"
)

// TestCreateKey: what was asked for and what was not; and what is out of bounds.
func TestCreateKey(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	options := &kms.CreateKeyOptions{Description: "invoices", Tags: map[string]string{"team": "billing"}}
	made, err := k.CreateKey(ctx, options)
	require.NoError(t, err)
	require.Equal(t, kms.Key{
		ID: made.ID, Instance: kms.DefaultInstance, State: kms.Enabled, Underlying: kms.Enabled, Spec: kms.SpecAES256, Usage: kms.UsageEncryptDecrypt,
		Origin: kms.OriginKMS, Protection: kms.ProtectionSoftware, Description: "invoices",
		Tags: map[string]string{"team": "billing"}, CreatedAt: k.Clock.Now(), PrimaryVersion: 1, Rotation: kms.Rotation{Last: k.Clock.Now(), VersionsLeft: 49},
	}, made)
	options.Tags["team"] = "changed by the caller"
	made.Tags["team"] = "changed by the caller"
	again, err := k.Another(t).DescribeKey(ctx, made.ID)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"team": "billing"}, again.Tags)

	for name, bad := range map[string]kms.CreateKeyOptions{
		"spec": {Spec: "RSA_1024"}, "usage": {Usage: "SIGN/VERIFY"}, "origin": {Origin: "PAPER"}, "level": {Protection: "HSM"},
		"level that is none": {Protection: "PAPER"},
	} {
		require.ErrorIs(t, kit.Err(k.CreateKey(ctx, &bad)), kms.ErrUnsupported, name)
	}
	for name, bad := range map[string]kms.CreateKeyOptions{
		"long": {Description: strings.Repeat("ä", 8193)}, "not UTF-8": {Description: "\xff"}, "tags": {Tags: map[string]string{"": ""}},
	} {
		require.ErrorIs(t, kit.Err(k.CreateKey(ctx, &bad)), kms.ErrInvalid, name)
	}
	require.Len(t, kit.Keys(t, k, nil), 1)
}

// TestDescriptionAndTags: the bounds, to the character, and that all tags are replaced.
func TestDescriptionAndTags(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	require.NoError(t, kit.Err(k.SetDescription(ctx, id, strings.Repeat("€", 8192))))
	require.ErrorIs(t, kit.Err(k.SetDescription(ctx, id, strings.Repeat("€", 8193))), kms.ErrInvalid)

	most := map[string]string{}
	for i := range kms.MaxTags {
		most[fmt.Sprint("k", i)] = strings.Repeat("v", 128)
	}
	key, err := k.SetTags(ctx, id, most)
	require.NoError(t, err)
	require.Equal(t, most, key.Tags)
	key, err = k.SetTags(ctx, id, map[string]string{"a b/c\\_-.+=:@": ""})
	require.NoError(t, err)
	require.Len(t, key.Tags, 1)
	most["one more"] = ""
	for _, bad := range []map[string]string{
		most, {"": "v"}, {strings.Repeat("k", 129): ""}, {"k": strings.Repeat("v", 129)}, {"k": "ä"}, {"k\n": ""}, {"acs:x": ""}, {"aliyun": ""},
	} {
		require.ErrorIs(t, kit.Err(k.SetTags(ctx, id, bad)), kms.ErrInvalid)
	}
	key, err = k.SetTags(ctx, id, nil)
	require.NoError(t, err)
	require.Empty(t, key.Tags)
}

// TestKeys lists in the order of creation, by filters and by pages.
func TestKeys(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	var ids []string
	for i := range 10 {
		key, err := k.CreateKey(ctx, &kms.CreateKeyOptions{Tags: map[string]string{"n": fmt.Sprint(i % 2)}})
		require.NoError(t, err)
		ids = append(ids, key.ID)
		k.Clock.Advance(time.Duration(i%3) * time.Millisecond / 2)
	}
	require.True(t, slices.IsSorted(ids))
	require.NoError(t, kit.Err(k.DisableKey(ctx, ids[3])))
	count := func(o kms.ListOptions) int { return len(kit.Keys(t, k, &o)) }
	require.Equal(t, 10, count(kms.ListOptions{}))
	require.Equal(t, 1, count(kms.ListOptions{States: []kms.State{kms.Disabled}}))
	require.Equal(t, 10, count(kms.ListOptions{States: []kms.State{kms.Disabled, kms.Enabled}}))
	require.Equal(t, 5, count(kms.ListOptions{Tags: map[string]string{"n": "1"}}))
	require.Equal(t, 10, count(kms.ListOptions{Tags: map[string]string{"n": ""}}))
	require.Zero(t, count(kms.ListOptions{Tags: map[string]string{"m": ""}}))
	require.Equal(t, 1, count(kms.ListOptions{Tags: map[string]string{"n": "1"}, States: []kms.State{kms.Disabled}}))
	require.Equal(t, 10, count(kms.ListOptions{Specs: []kms.Spec{kms.SpecAES256}, Usages: []kms.Usage{kms.UsageEncryptDecrypt},
		Origins: []kms.Origin{kms.OriginKMS}, Protections: []kms.Protection{kms.ProtectionSoftware}}))
	require.Zero(t, count(kms.ListOptions{Protections: []kms.Protection{kms.ProtectionHSM}}))

	var paged []string
	for after := ""; ; {
		page := 0
		for key := range k.Keys(ctx, &kms.ListOptions{After: after}) {
			paged = append(paged, key.ID)
			after = key.ID
			if page++; page == 3 {
				break
			}
		}
		if page < 3 {
			break
		}
	}
	require.Equal(t, ids, paged)

	for _, err := range k.Keys(ctx, &kms.ListOptions{After: "nonsense"}) {
		require.ErrorIs(t, err, kms.ErrInvalid)
	}
	k.Store.OnList(func(string) error { return errors.New("connection refused") })
	for _, err := range k.Keys(ctx, nil) {
		require.ErrorIs(t, err, kms.ErrUnavailable)
	}
}

// TestProviderThatImportsNothing: keys of imported material are refused when they are made,
// not when it is too late.
func TestProviderThatImportsNothing(t *testing.T) {
	k := kmstest.New(t, func(c *kms.Config) { c.Software = struct{ provider.Provider }{c.Software} })
	require.ErrorIs(t, kit.Err(k.CreateKey(t.Context(), &kms.CreateKeyOptions{Origin: kms.OriginExternal})), kms.ErrUnsupported)
	require.NoError(t, kit.Err(k.CreateKey(t.Context(), nil)))
}

// noRSA makes no RSA keys, which takes seconds; TestCreationCutShort and others make them.
type noRSA struct{ provider.Provider }

func (p noRSA) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	if strings.HasPrefix(string(spec), "RSA_") {
		return nil, provider.ErrUnavailable
	}
	return p.Provider.Generate(ctx, id, spec, use)
}

func (p noRSA) Import(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	return p.Provider.(provider.Importer).Import(ctx, id, spec, use, key)
}

// TestEveryOptionOfCreateKey: the full cross product of the options makes the key that was asked
// for, or refuses with one condition and leaves nothing behind. None panics.
func TestEveryOptionOfCreateKey(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	k = kmstest.New(t, func(c *kms.Config) { c.Software = noRSA{k.ConfigWith().Software} })
	kit.Tenant(t, k, "tenant", 100)
	specs := append(kms.Specs(), "", "RSA_1024", "aes_256")
	usages := []kms.Usage{"", kms.UsageEncryptDecrypt, kms.UsageSignVerify, kms.UsageGenerateVerifyMac, "ENCRYPT"}
	refused, made := map[string]int{}, 0
	for _, spec := range specs {
		for _, usage := range usages {
			for _, origin := range []kms.Origin{"", kms.OriginKMS, kms.OriginExternal, "PAPER"} {
				for _, protection := range []kms.Protection{"", kms.ProtectionSoftware, kms.ProtectionHSM, "PAPER"} {
					for _, instance := range []string{"", kms.DefaultInstance, "tenant", "nobody"} {
						o := kms.CreateKeyOptions{Spec: spec, Usage: usage, Origin: origin, Protection: protection, Instance: instance}
						key, err := k.CreateKey(ctx, &o)
						if err != nil {
							conditions := kit.Conditions(err)
							require.Len(t, conditions, 1, "%+v: %v", o, err)
							refused[conditions[0]]++
							continue
						}
						made++
						for want, got := range map[string]string{string(spec): string(key.Spec), string(usage): string(key.Usage), string(origin): string(key.Origin), string(protection): string(key.Protection), instance: key.Instance} {
							require.True(t, want == "" || want == got, "%+v made %+v", o, key)
						}
						again, err := k.DescribeKey(ctx, key.ID)
						require.NoError(t, err)
						require.Equal(t, key, again)
					}
				}
			}
		}
	}
	t.Log(made, "made, refused:", refused)
	require.Greater(t, made, 100)
	require.Equal(t, made+1, len(kit.Keys(t, k, nil)), "and that of the tenant")
	require.ElementsMatch(t, []string{"ErrUnsupported", "ErrNotFound", "ErrUnavailable"}, slices.Collect(maps.Keys(refused)))
}

// TestMadeUpNamesFillNothing: 100 000 IDs that no key has and as many encryption contexts leave
// nothing in memory.
func TestMadeUpNamesFillNothing(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, func(c *kms.Config) { c.CacheKeys = 8 })
	id := k.MustCreateKey(t).ID
	sound, err := k.Encrypt(ctx, id, []byte("x"), nil)
	require.NoError(t, err)
	round := func(n int) {
		for i := range n {
			// The ID is in the 16 bytes after the first three.
			made := append(bytes.Clone(sound[:3]), fmt.Appendf(nil, "made up %08d", i)...)
			require.ErrorIs(t, kit.Err(k.Decrypt(ctx, append(made, sound[19:]...), nil)), kms.ErrNotFound)
			ec := kms.EncryptionContext{"request": fmt.Sprint(i)}
			require.ErrorIs(t, kit.Err(k.Decrypt(ctx, sound, ec)), kms.ErrCiphertext)
			require.NoError(t, kit.Err(k.GenerateDataKeyWithoutPlaintext(ctx, id, 32, ec)))
		}
	}
	round(1000)
	before := liveHeap()
	round(100_000)
	grown := int64(liveHeap()) - int64(before)
	t.Log("live heap grew by", grown, "bytes")
	require.Less(t, grown, int64(1<<20), "ten bytes for each that was made up")
	require.LessOrEqual(t, kms.Cached(k.Manager), 8)
	require.NoError(t, kit.Err(k.Decrypt(ctx, sound, nil)))
}

func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestNamesOfNone: a number that is no state and no operation has a name that says so, and no panic.
func TestNamesOfNone(t *testing.T) {
	for _, none := range []struct {
		of   fmt.Stringer
		name string
	}{
		{kms.State(0), "none"}, {kms.State(math.MaxUint8), "none"},
		{kms.InstanceState(0), "none"}, {kms.InstanceState(math.MaxUint8), "none"},
		{kms.Op(math.MaxUint8), "unknown"}, {kms.NumOps, "unknown"},
	} {
		require.Equal(t, none.name, none.of.String())
	}
}

// TestKeyIDSpelling: a key has one spelling. What is as long and is written otherwise names no key.
func TestKeyIDSpelling(t *testing.T) {
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	k.Store.OnGet(func(name string) error { t.Errorf("get %s", name); return nil })
	for _, other := range []string{
		strings.ToUpper(id), strings.ReplaceAll(id, "-", "0"), strings.Replace(id, "-", "_", 1), id[:35] + "g",
		id[:35], id + "0", " " + id[1:], id[:23] + "0" + id[24:], "{" + id[:34] + "}",
	} {
		require.NotEqual(t, id, other)
		require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(kit.Err(k.DescribeKey(t.Context(), other))), other)
	}
}
