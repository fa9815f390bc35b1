// Package kmstest gives a test a key management service of its own: real keys in memory,
// a clock that the test moves, and a store that fails when the test says so.
//
//	func TestInvoice(t *testing.T) {
//		k := kmstest.New(t)
//		invoices := NewInvoices(k.Manager) // the code under test
//		…
//		k.Clock.AdvanceDays(30)
//	}
//
// Nothing sleeps, nothing is shared between tests, nothing needs to be closed. As in life, a
// Manager keeps keys that it used: one whose Store fails goes on with those. Another begins
// with none.
package kmstest

import (
	"crypto/sha256"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/software"
)

// KMS is a Manager for one test, with what the test needs to steer it.
type KMS struct {
	*kms.Manager
	Clock *Clock
	Store *keystoretest.Flaky // what the Manager keeps its keys in; it fails on demand
	Root  kms.Root

	config kms.Config
}

// New returns a service with an empty key store. Changes to the Config that it is opened
// with may be given; by default there are software keys only and PurgeDelay is none. A Store
// that is given fails on demand, too. What goes wrong fails the test.
func New(t testing.TB, changes ...func(*kms.Config)) *KMS {
	t.Helper()
	root, err := software.NewRoot(rootKey(t))
	if err != nil {
		t.Fatalf("kmstest: making the root: %v", err)
	}
	k := &KMS{Clock: newClock(), Store: keystoretest.NewFlaky(new(keystore.Memory)), Root: root}
	k.config = kms.Config{Store: k.Store, Root: root, Software: software.New(), Now: k.Clock.Now, PurgeDelay: -1}
	k.config = k.ConfigWith(changes...)
	if f, ok := k.config.Store.(*keystoretest.Flaky); !ok || f != k.Store { // one was given
		k.Store = keystoretest.NewFlaky(k.config.Store)
		k.config.Store = k.Store
	}
	k.Manager = k.Another(t)
	return k
}

// ConfigWith returns the Config that the Manager was opened with, changed.
func (k *KMS) ConfigWith(changes ...func(*kms.Config)) kms.Config {
	config := k.config
	for _, change := range changes {
		change(&config)
	}
	return config
}

// Another opens a further Manager over the same store, root and clock, as another
// process would.
func (k *KMS) Another(t testing.TB, changes ...func(*kms.Config)) *kms.Manager {
	t.Helper()
	m, err := kms.Open(t.Context(), k.ConfigWith(changes...))
	if err != nil {
		t.Fatalf("kmstest: opening the Manager: %v", err)
	}
	return m
}

// MustCreateKey makes a key with every default.
func (k *KMS) MustCreateKey(t testing.TB) kms.Key {
	t.Helper()
	key, err := k.CreateKey(t.Context(), nil)
	if err != nil {
		t.Fatalf("kmstest: CreateKey: %v", err)
	}
	return key
}

// rootKey differs from test to test. It guards nothing.
func rootKey(t testing.TB) []byte {
	sum := sha256.Sum256([]byte(t.Name()))
	return sum[:]
}
