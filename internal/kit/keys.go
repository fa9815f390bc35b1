package kit

import (
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/software"
)

// Key makes a key of a spec and usage; "" is the spec's default.
func Key(t testing.TB, k *kmstest.KMS, spec kms.Spec, usage kms.Usage) (id string) {
	t.Helper()
	key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Spec: spec, Usage: usage})
	must(t, "CreateKey", err)
	if key.Spec != spec {
		t.Fatalf("kit: the key is of spec %s, not %s", key.Spec, spec)
	}
	return key.ID
}

// UsedKey makes a key and encrypts "x" with it.
func UsedKey(t testing.TB, k *kmstest.KMS) (id string, ciphertext []byte) {
	t.Helper()
	id = k.MustCreateKey(t).ID
	ciphertext, err := k.Encrypt(t.Context(), id, []byte("x"), nil)
	must(t, "Encrypt", err)
	return id, ciphertext
}

// InHardware makes a Manager take software for hardware.
func InHardware(c *kms.Config) { c.HSM = software.New() }

// HardwareKey makes a key in what the service takes for hardware.
func HardwareKey(t testing.TB, k *kmstest.KMS) (id string) {
	t.Helper()
	key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Protection: kms.ProtectionHSM})
	must(t, "CreateKey", err)
	return key.ID
}

// DisabledKey makes a key and disables it.
func DisabledKey(t testing.TB, k *kmstest.KMS) (id string) {
	t.Helper()
	id = k.MustCreateKey(t).ID
	must(t, "DisableKey", Err(k.DisableKey(t.Context(), id)))
	return id
}

// PendingKey makes a key and schedules its deletion in seven days.
func PendingKey(t testing.TB, k *kmstest.KMS) (id string) {
	t.Helper()
	id = DisabledKey(t, k)
	key, err := k.ScheduleKeyDeletion(t.Context(), id, 7)
	must(t, "ScheduleKeyDeletion", err)
	if date := k.Clock.Now().Add(7 * 24 * time.Hour); key.DeletionDate != date {
		t.Fatalf("kit: the key is due at %s, not at %s", key.DeletionDate, date)
	}
	return id
}

// Purge deletes a key, so that its tombstone is left. It moves the clock by seven days.
func Purge(t testing.TB, k *kmstest.KMS, id string) {
	t.Helper()
	must(t, "DisableKey", Err(k.DisableKey(t.Context(), id)))
	must(t, "ScheduleKeyDeletion", Err(k.ScheduleKeyDeletion(t.Context(), id, 7)))
	k.Clock.AdvanceDays(7)
	must(t, "Maintain", Err(k.Maintain(t.Context())))
}

// Maintain calls Maintain, which has to succeed.
func Maintain(t testing.TB, k *kmstest.KMS) kms.Report {
	t.Helper()
	report, err := k.Maintain(t.Context())
	must(t, "Maintain", err)
	return report
}

// Keys lists the keys of a service.
func Keys(t testing.TB, k *kmstest.KMS, opts *kms.ListOptions) (all []kms.Key) {
	t.Helper()
	for key, err := range k.Keys(t.Context(), opts) {
		must(t, "Keys", err)
		all = append(all, key)
	}
	return all
}
