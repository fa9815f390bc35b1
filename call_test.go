package kms_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// everyCall calls each exported method of a Manager that does an operation, with arguments
// that would do if it were allowed. The test below reads the methods by reflection, so that
// none is forgotten.
func everyCall(ctx context.Context, s *subject, m *kms.Manager) map[string]func() error {
	return map[string]func() error{
		"CreateKey":       func() error { return only(m.CreateKey(ctx, nil)) },
		"DescribeKey":     func() error { return only(m.DescribeKey(ctx, s.id)) },
		"SetDescription":  func() error { return only(m.SetDescription(ctx, s.id, "d")) },
		"SetTags":         func() error { return only(m.SetTags(ctx, s.id, nil)) },
		"EnableKey":       func() error { return only(m.EnableKey(ctx, s.id)) },
		"DisableKey":      func() error { return only(m.DisableKey(ctx, s.id)) },
		"AddDependent":    func() error { return only(m.AddDependent(ctx, s.id, kms.Dependent{Name: "d"})) },
		"CreateAlias":     func() error { return m.CreateAlias(ctx, "alias/n", s.id) },
		"UpdateAlias":     func() error { return m.UpdateAlias(ctx, s.elsewhere, s.id) },
		"DeleteAlias":     func() error { return m.DeleteAlias(ctx, s.alias) },
		"GenerateDataKey": func() error { return only(m.GenerateDataKey(ctx, s.id, nil)) },
		"Encrypt":         func() error { return only(m.Encrypt(ctx, s.id, nil, nil)) },
		"Decrypt":         func() error { return only(m.Decrypt(ctx, s.ciphertext, nil)) },
		"ReEncrypt":       func() error { return only(m.ReEncrypt(ctx, s.ciphertext, nil, s.id, nil)) },
		"AppendDataKey":   func() error { return only(m.AppendDataKey(ctx, nil, s.id, make([]byte, 16), nil)) },
		"AppendEncrypt":   func() error { return only(m.AppendEncrypt(ctx, nil, s.id, nil, nil)) },
		"AppendDecrypt":   func() error { return only(m.AppendDecrypt(ctx, nil, s.ciphertext, nil)) },
		"Maintain":        func() error { return only(m.Maintain(ctx)) },
		"RotateRoot":      func() error { return m.RotateRoot(ctx, s.Root) },
		"GenerateDataKeyN": func() error {
			return only(m.GenerateDataKeyN(ctx, s.id, 16, nil))
		},
		"GenerateDataKeyWithoutPlaintext": func() error {
			return only(m.GenerateDataKeyWithoutPlaintext(ctx, s.id, 16, nil))
		},
		"ScheduleKeyDeletion": func() error { return only(m.ScheduleKeyDeletion(ctx, s.id, 7)) },
		"CancelKeyDeletion":   func() error { return only(m.CancelKeyDeletion(ctx, s.id)) },
		"SetDeletionProtection": func() error {
			return only(m.SetDeletionProtection(ctx, s.id, true, ""))
		},
		"RemoveDependent": func() error { return only(m.RemoveDependent(ctx, s.id, kms.Dependent{Name: "d"})) },
		"Keys": func() (err error) {
			for _, err = range m.Keys(ctx, nil) {
				break
			}
			return err
		},
		"Aliases": func() (err error) {
			for _, err = range m.Aliases(ctx, "") {
				break
			}
			return err
		},
		"KeyVersions": func() error { return only(m.KeyVersions(ctx, s.id)) },
		"Rewrap": func() error {
			return only(m.Rewrap(ctx, s.id, shelf{}.items, shelf{}.put, nil))
		},
		"NeedsRewrap":            func() error { return only(m.NeedsRewrap(ctx, s.ciphertext)) },
		"RotateKey":              func() error { return only(m.RotateKey(ctx, s.id)) },
		"UpdateRotationPolicy":   func() error { return only(m.UpdateRotationPolicy(ctx, s.id, 30)) },
		"GetParametersForImport": func() error { return only(m.GetParametersForImport(ctx, s.id, nil)) },
		"ImportKeyMaterial": func() error {
			return only(m.ImportKeyMaterial(ctx, s.id, s.wrapped, s.token, time.Time{}))
		},
		"DeleteKeyMaterial": func() error { return only(m.DeleteKeyMaterial(ctx, s.id)) },
		"Sign":              func() error { return only(m.Sign(ctx, s.id, kms.SignEd25519, nil)) },
		"SignDigest": func() error {
			return only(m.SignDigest(ctx, s.id, kms.SignECDSASHA256, make([]byte, 32)))
		},
		"Verify": func() error { return m.Verify(ctx, s.id, kms.SignEd25519, nil, nil) },
		"VerifyDigest": func() error {
			return m.VerifyDigest(ctx, s.id, kms.SignECDSASHA256, make([]byte, 32), nil)
		},
		"GenerateMac":       func() error { return only(m.GenerateMac(ctx, s.id, kms.MacHMACSHA256, nil)) },
		"VerifyMac":         func() error { return m.VerifyMac(ctx, s.id, kms.MacHMACSHA256, nil, nil) },
		"GetPublicKey":      func() error { return only(m.GetPublicKey(ctx, s.id)) },
		"AsymmetricEncrypt": func() error { return only(m.AsymmetricEncrypt(ctx, s.id, nil)) },
		"AsymmetricDecrypt": func() error { return only(m.AsymmetricDecrypt(ctx, s.id, nil)) },
		"Signer":            func() error { return only(m.Signer(ctx, s.id)) },
		"Decrypter":         func() error { return only(m.Decrypter(ctx, s.id)) },
		"Run":               nil, // does Maintain and nothing else
		"MigrateLegacyKey":  func() error { return only(m.MigrateLegacyKey(ctx, s.id, "")) },
		"Close":             nil, // keeps what was counted
		"Service":           nil, // asks nothing; TestServiceKeys calls what it has
		"CreateInstance":    func() error { return only(m.CreateInstance(ctx, nil)) },
		"DescribeInstance":  func() error { return only(m.DescribeInstance(ctx, kms.DefaultInstance)) },
		"Instances": func() (err error) {
			for _, err = range m.Instances(ctx) {
				break
			}
			return err
		},
		"RenewInstance":   func() error { return only(m.RenewInstance(ctx, kms.DefaultInstance, time.Time{})) },
		"DeletionReceipt": func() error { return only(m.DeletionReceipt(ctx, s.id)) },
		"Shred":           func() error { return only(m.Shred(ctx, s.instance)) },
		"ReleaseInstance": func() error { return only(m.ReleaseInstance(ctx, s.instance, nil)) },
		"SetInstanceDeletionProtection": func() error {
			return only(m.SetInstanceDeletionProtection(ctx, kms.DefaultInstance, true, ""))
		},
		"BackupInstance": func() error {
			return only(m.BackupInstance(ctx, kms.DefaultInstance, io.Discard, s.Root, nil))
		},
		"Restore": func() error { return only(m.Restore(ctx, bytes.NewReader(s.backup), s.Root, nil)) },
		"Tombstones": func() (err error) {
			for _, err = range m.Tombstones(ctx) {
				break
			}
			return err
		},
		"SetBrownout":  func() error { return only(m.SetBrownout(ctx, s.id, 0, time.Time{})) },
		"PlanDeletion": func() error { return only(m.PlanDeletion(ctx, s.id)) },
		"Explain":      func() error { return only(m.Explain(ctx, kms.OpDisableKey, s.id)) },
		"KeyUsage":     func() error { return only(m.KeyUsage(ctx, s.id)) },
	}
}

// TestEveryCallIsAuthorized: no method of a Manager does anything that Authorize refused, or
// forgets to tell Observe.
func TestEveryCallIsAuthorized(t *testing.T) {
	s := newSubject(t, kms.OriginExternal, kms.Enabled)
	var asked []kms.Request
	var told []kms.Event
	no := errors.New("no")
	m := s.Another(t, func(c *kms.Config) {
		c.Authorize = func(_ context.Context, r kms.Request) error { asked = append(asked, r); return no }
		c.Observe = func(_ context.Context, e kms.Event) { told = append(told, e) }
	})
	s.Store.OnPut(func(name string) (bool, error) { t.Errorf("put %s", name); return true, nil })
	var read []string
	s.Store.OnGet(func(name string) error { read = append(read, name); return nil })
	calls := everyCall(t.Context(), s, m)
	of := reflect.TypeFor[*kms.Manager]()
	require.Equal(t, of.NumMethod(), len(calls))
	for i := range of.NumMethod() {
		name := of.Method(i).Name
		call, ok := calls[name]
		require.True(t, ok, "%s is not in the list of calls", name)
		if call == nil {
			continue
		}
		asked, told, read = nil, nil, nil
		err := call()
		if name != "DeleteAlias" { // asks about the key that the alias names, if that is there
			require.NotContains(t, read, "key/"+s.id, "%s read before it asked", name)
		}
		require.ErrorIs(t, err, kms.ErrDenied, name)
		require.ErrorIs(t, err, no, name)
		require.Len(t, asked, 1, name)
		require.Len(t, told, 1, name)
		require.Equal(t, asked[0].Op, told[0].Op, name)
		require.Equal(t, s.Clock.Now(), told[0].Time, name)
		require.ErrorIs(t, told[0].Err, kms.ErrDenied, name)
	}
}

// TestObserve: what is told of calls that were done, and that an alias is told as its key.
func TestObserve(t *testing.T) {
	ctx := t.Context()
	var told []kms.Event
	var asked []kms.Request
	k := kmstest.New(t, func(c *kms.Config) {
		c.Observe = func(_ context.Context, e kms.Event) { told = append(told, e) }
		c.Authorize = func(_ context.Context, r kms.Request) error { asked = append(asked, r); return nil }
	})
	id := k.MustCreateKey(t).ID
	require.NoError(t, k.CreateAlias(ctx, "alias/a", id))
	asked, told = nil, nil
	ec := kms.EncryptionContext{"a": "b"}
	c, err := k.Encrypt(ctx, "alias/a", nil, ec)
	require.NoError(t, err)
	require.NoError(t, only(k.ReEncrypt(ctx, c, ec, id, nil)))
	require.Error(t, only(k.Decrypt(ctx, c, nil)))
	now := k.Clock.Now()
	require.Equal(t, []kms.Request{
		{Op: kms.OpEncrypt, KeyID: id, Alias: "alias/a", EncryptionContext: ec},
		{Op: kms.OpReEncryptFrom, KeyID: id, EncryptionContext: ec},
		{Op: kms.OpReEncryptTo, KeyID: id},
		{Op: kms.OpDecrypt, KeyID: id},
	}, asked)
	require.Len(t, told, 4)
	require.ErrorIs(t, told[3].Err, kms.ErrCiphertext)
	told[3].Err = nil
	require.Equal(t, []kms.Event{
		{Time: now, Op: kms.OpEncrypt, KeyID: id, KeyVersion: 1},
		{Time: now, Op: kms.OpReEncryptFrom, KeyID: id, KeyVersion: 1},
		{Time: now, Op: kms.OpReEncryptTo, KeyID: id, KeyVersion: 1},
		{Time: now, Op: kms.OpDecrypt, KeyID: id, KeyVersion: 1},
	}, told)
}

// TestCancelledContext: a context that ended before the call gives an error that says so, or
// what needs no waiting is done; nothing is half done.
func TestCancelledContext(t *testing.T) {
	s := newSubject(t, kms.OriginExternal, kms.Enabled)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range everyCall(ctx, s, s.Another(t)) {
		if call == nil {
			continue
		}
		if err := call(); err != nil {
			require.ErrorIs(t, err, context.Canceled, name)
			require.ErrorIs(t, err, kms.ErrUnavailable, name)
		}
	}
}
