package kit

import (
	"bytes"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/software"
)

// Root makes a root. Different numbers make different roots.
func Root(t testing.TB, n byte) kms.Root {
	t.Helper()
	key := bytes.Repeat([]byte{n}, 32)
	key[0] ^= 0xff
	root, err := software.NewRoot(key)
	must(t, "making a root", err)
	return root
}

// Backup makes a backup of an instance.
func Backup(t testing.TB, m *kms.Manager, id string, recipient kms.Root) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, "BackupInstance", Err(m.BackupInstance(t.Context(), id, &b, recipient, nil)))
	return b.Bytes()
}

// Restore restores a backup, which has to succeed.
func Restore(t testing.TB, m *kms.Manager, backup []byte, recipient kms.Root, opts *kms.RestoreOptions) kms.RestoreReport {
	t.Helper()
	report, err := m.Restore(t.Context(), bytes.NewReader(backup), recipient, opts)
	must(t, "Restore", err)
	return report
}

// NewService makes a service on a new key store, with a root of its own and the clock of k.
func NewService(t testing.TB, k *kmstest.KMS, changes ...func(*kms.Config)) *kmstest.KMS {
	t.Helper()
	root := Root(t, 9)
	own := func(c *kms.Config) { c.Now, c.Root = k.Clock.Now, root }
	other := kmstest.New(t, append([]func(*kms.Config){own}, changes...)...)
	other.Clock, other.Root = k.Clock, root
	return other
}

// Tombstones lists the tombstones of a service.
func Tombstones(t testing.TB, m *kms.Manager) (all []kms.Tombstone) {
	t.Helper()
	for tomb, err := range m.Tombstones(t.Context()) {
		must(t, "Tombstones", err)
		all = append(all, tomb)
	}
	return all
}

// Outcome is what a store came to, as callers see it: keys, tombstones, aliases and instances.
func Outcome(t testing.TB, m *kms.Manager) (all []any) {
	t.Helper()
	for key, err := range m.Keys(t.Context(), nil) {
		must(t, "Keys", err)
		all = append(all, key)
	}
	for _, tomb := range Tombstones(t, m) {
		all = append(all, tomb)
	}
	for alias, err := range m.Aliases(t.Context(), "") {
		must(t, "Aliases", err)
		all = append(all, alias)
	}
	for in, err := range m.Instances(t.Context()) {
		must(t, "Instances", err)
		all = append(all, in)
	}
	return all
}
