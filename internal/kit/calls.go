package kit

import (
	"bytes"
	"context"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/keyhold/kms"
)

// A Shelf is where a caller keeps ciphertexts, by ID.
type Shelf map[string]kms.Wrapped

// Items lists what is on the shelf after an ID, by ID.
func (s Shelf) Items(after string) iter.Seq2[kms.Wrapped, error] {
	return func(yield func(kms.Wrapped, error) bool) {
		var ids []string
		for id := range s {
			if id > after {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		for _, id := range ids {
			if !yield(s[id], nil) {
				return
			}
		}
	}
}

// Put puts a ciphertext in the place of another.
func (s Shelf) Put(_ context.Context, w kms.Wrapped, ciphertext []byte) error {
	w.Ciphertext = ciphertext
	s[w.ID] = w
	return nil
}

// EveryCall calls each exported method of a Manager that does an operation, with arguments that
// would do if it were allowed. TestEveryCallIsAuthorized reads the methods by reflection, so that
// none is forgotten.
func EveryCall(ctx context.Context, s *Subject, m *kms.Manager) map[string]func() error {
	return map[string]func() error{
		"CreateKey":       func() error { return Err(m.CreateKey(ctx, nil)) },
		"DescribeKey":     func() error { return Err(m.DescribeKey(ctx, s.ID)) },
		"SetDescription":  func() error { return Err(m.SetDescription(ctx, s.ID, "d")) },
		"SetTags":         func() error { return Err(m.SetTags(ctx, s.ID, nil)) },
		"EnableKey":       func() error { return Err(m.EnableKey(ctx, s.ID)) },
		"DisableKey":      func() error { return Err(m.DisableKey(ctx, s.ID)) },
		"AddDependent":    func() error { return Err(m.AddDependent(ctx, s.ID, kms.Dependent{Name: "d"})) },
		"CreateAlias":     func() error { return m.CreateAlias(ctx, "alias/n", s.ID) },
		"UpdateAlias":     func() error { return m.UpdateAlias(ctx, s.Elsewhere, s.ID) },
		"DeleteAlias":     func() error { return m.DeleteAlias(ctx, s.Alias) },
		"GenerateDataKey": func() error { return Err(m.GenerateDataKey(ctx, s.ID, nil)) },
		"Encrypt":         func() error { return Err(m.Encrypt(ctx, s.ID, nil, nil)) },
		"Decrypt":         func() error { return Err(m.Decrypt(ctx, s.Ciphertext, nil)) },
		"DecryptWithKey":  func() error { _, _, err := m.DecryptWithKey(ctx, s.ID, s.Ciphertext, nil); return err },
		"ReEncrypt":       func() error { return Err(m.ReEncrypt(ctx, s.Ciphertext, nil, s.ID, nil)) },
		"AppendDataKey":   func() error { return Err(m.AppendDataKey(ctx, nil, s.ID, make([]byte, 16), nil)) },
		"AppendEncrypt":   func() error { return Err(m.AppendEncrypt(ctx, nil, s.ID, nil, nil)) },
		"AppendDecrypt":   func() error { return Err(m.AppendDecrypt(ctx, nil, s.Ciphertext, nil)) },
		"Maintain":        func() error { return Err(m.Maintain(ctx)) },
		"RotateRoot":      func() error { return m.RotateRoot(ctx, s.Root) },
		"ReEncryptWithKey": func() error {
			_, _, err := m.ReEncryptWithKey(ctx, s.ID, s.Ciphertext, nil, s.ID, nil)
			return err
		},
		"GenerateDataKeyN": func() error {
			return Err(m.GenerateDataKeyN(ctx, s.ID, 16, nil))
		},
		"GenerateDataKeyWithoutPlaintext": func() error {
			return Err(m.GenerateDataKeyWithoutPlaintext(ctx, s.ID, 16, nil))
		},
		"ScheduleKeyDeletion": func() error { return Err(m.ScheduleKeyDeletion(ctx, s.ID, 7)) },
		"CancelKeyDeletion":   func() error { return Err(m.CancelKeyDeletion(ctx, s.ID)) },
		"SetDeletionProtection": func() error {
			return Err(m.SetDeletionProtection(ctx, s.ID, true, ""))
		},
		"RemoveDependent": func() error { return Err(m.RemoveDependent(ctx, s.ID, kms.Dependent{Name: "d"})) },
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
		"KeyVersions": func() error { return Err(m.KeyVersions(ctx, s.ID)) },
		"Rewrap": func() error {
			return Err(m.Rewrap(ctx, s.ID, Shelf{}.Items, Shelf{}.Put, nil))
		},
		"NeedsRewrap":          func() error { return Err(m.NeedsRewrap(ctx, s.Ciphertext)) },
		"RotateKey":            func() error { return Err(m.RotateKey(ctx, s.ID)) },
		"UpdateRotationPolicy": func() error { return Err(m.UpdateRotationPolicy(ctx, s.ID, 30)) },
		"RetireKeyVersions": func() error {
			return Err(m.RetireKeyVersions(ctx, s.ID, kms.RetireOptions{Before: 2, Days: 7, Force: true, Reason: "r"}))
		},
		"CancelRetirement":       func() error { return Err(m.CancelRetirement(ctx, s.ID)) },
		"GetParametersForImport": func() error { return Err(m.GetParametersForImport(ctx, s.ID, nil)) },
		"ImportKeyMaterial": func() error {
			return Err(m.ImportKeyMaterial(ctx, s.ID, s.Wrapped, s.Token, time.Time{}))
		},
		"DeleteKeyMaterial": func() error { return Err(m.DeleteKeyMaterial(ctx, s.ID, nil)) },
		"Sign":              func() error { return Err(m.Sign(ctx, s.ID, kms.SignEd25519, nil)) },
		"SignDigest": func() error {
			return Err(m.SignDigest(ctx, s.ID, kms.SignECDSASHA256, make([]byte, 32)))
		},
		"Verify": func() error { return m.Verify(ctx, s.ID, kms.SignEd25519, nil, nil) },
		"VerifyDigest": func() error {
			return m.VerifyDigest(ctx, s.ID, kms.SignECDSASHA256, make([]byte, 32), nil)
		},
		"GenerateMac":       func() error { return Err(m.GenerateMac(ctx, s.ID, kms.MacHMACSHA256, nil)) },
		"VerifyMac":         func() error { return m.VerifyMac(ctx, s.ID, kms.MacHMACSHA256, nil, nil) },
		"GetPublicKey":      func() error { return Err(m.GetPublicKey(ctx, s.ID)) },
		"AsymmetricEncrypt": func() error { return Err(m.AsymmetricEncrypt(ctx, s.ID, nil)) },
		"AsymmetricDecrypt": func() error { return Err(m.AsymmetricDecrypt(ctx, s.ID, nil)) },
		"Signer":            func() error { return Err(m.Signer(ctx, s.ID)) },
		"Decrypter":         func() error { return Err(m.Decrypter(ctx, s.ID)) },
		"Run":               nil, // does Maintain and nothing else
		"MigrateLegacyKey":  func() error { return Err(m.MigrateLegacyKey(ctx, s.ID, "")) },
		"Close":             nil, // keeps what was counted
		"Service":           nil, // asks nothing; TestServiceKeys calls what it has
		"CreateInstance":    func() error { return Err(m.CreateInstance(ctx, nil)) },
		"DescribeInstance":  func() error { return Err(m.DescribeInstance(ctx, kms.DefaultInstance)) },
		"Instances": func() (err error) {
			for _, err = range m.Instances(ctx) {
				break
			}
			return err
		},
		"RenewInstance":   func() error { return Err(m.RenewInstance(ctx, kms.DefaultInstance, time.Time{})) },
		"DeletionReceipt": func() error { return Err(m.DeletionReceipt(ctx, s.ID)) },
		"Shred":           func() error { return Err(m.Shred(ctx, s.Instance)) },
		"ReleaseInstance": func() error { return Err(m.ReleaseInstance(ctx, s.Instance, nil)) },
		"SetInstanceDeletionProtection": func() error {
			return Err(m.SetInstanceDeletionProtection(ctx, kms.DefaultInstance, kms.InstanceProtection{On: true}))
		},
		"BackupInstance": func() error {
			return Err(m.BackupInstance(ctx, kms.DefaultInstance, io.Discard, s.Root, nil))
		},
		"Restore": func() error { return Err(m.Restore(ctx, bytes.NewReader(s.Backup), s.Root, nil)) },
		"Tombstones": func() (err error) {
			for _, err = range m.Tombstones(ctx) {
				break
			}
			return err
		},
		"SetBrownout":    func() error { return Err(m.SetBrownout(ctx, s.ID, 0, time.Time{})) },
		"PlanDeletion":   func() error { return Err(m.PlanDeletion(ctx, s.ID)) },
		"PlanRelease":    func() error { return Err(m.PlanRelease(ctx, s.Instance)) },
		"ReleaseReceipt": func() error { return Err(m.ReleaseReceipt(ctx, s.Instance)) },
		"Explain":        func() error { return Err(m.Explain(ctx, kms.OpDisableKey, s.ID)) },
		"KeyUsage":       func() error { return Err(m.KeyUsage(ctx, s.ID)) },
	}
}
