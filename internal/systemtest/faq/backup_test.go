package faq_test

import (
	"bytes"
	"cmp"
	"fmt"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
)

// The commands about backups. A conversation has one recipient, whose root the key store does
// not know.

func (f *faq) backup(t *testing.T, d *datadriven.TestData) (string, error) {
	var b bytes.Buffer
	info, err := f.m.BackupInstance(t.Context(), first(t, d), &b, kit.Root(t, 7), nil)
	if err == nil {
		f.kept[word(d, "as")] = &keptCiphertext{ciphertext: b.Bytes()}
	}
	return tellBackup(info), err
}

// verifyBackup may be given how many bytes of the backup are to be had.
func (f *faq) verifyBackup(t *testing.T, d *datadriven.TestData) (string, error) {
	b := f.backupOf(t, d)
	if d.HasArg("without-the-last-byte") {
		b = b[:len(b)-1]
	}
	info, err := kms.VerifyBackup(t.Context(), bytes.NewReader(b), kit.Root(t, 7))
	return tellBackup(info), err
}

func (f *faq) restore(t *testing.T, d *datadriven.TestData) (string, error) {
	report, err := f.m.Restore(t.Context(), bytes.NewReader(f.backupOf(t, d)), kit.Root(t, 7), nil)
	s, _ := tellInstance(report.Instance, nil)
	s += fmt.Sprintf("\n%d restored, %d merged, %d unchanged, %d aliases", report.Restored, len(report.Merged), report.Unchanged, report.Aliases)
	for _, item := range report.Skipped {
		s += fmt.Sprintf("\nskipped: %s: %s", cmp.Or(item.Alias, item.KeyID), item.Why)
	}
	return s, err
}

func (f *faq) backupOf(t *testing.T, d *datadriven.TestData) []byte {
	kept := f.kept[first(t, d)]
	if kept == nil {
		d.Fatalf(t, "there is no backup of that name")
	}
	return kept.ciphertext
}

// newKeyStore goes on with another Manager, on a key store that has nothing in it.
func (f *faq) newKeyStore(t *testing.T, _ *datadriven.TestData) (string, error) {
	f.m = kit.NewService(t, f.k).Manager
	return "a new key store", nil
}

func tellBackup(info kms.BackupInfo) string {
	return fmt.Sprintf("%s: %d keys, %d of them tombstones, %d aliases", info.Instance, info.Keys, info.Tombstones, info.Aliases)
}
