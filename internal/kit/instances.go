package kit

import (
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/kmstest"
)

// Tenant makes an instance that expires in so many days, 0 for never, and a key in it.
func Tenant(t testing.TB, k *kmstest.KMS, id string, days int) (keyID string) {
	t.Helper()
	o := &kms.InstanceOptions{ID: id, Name: "Tenant " + id}
	if days > 0 {
		o.ExpiresAt = k.Clock.Now().AddDate(0, 0, days)
	}
	made, err := k.CreateInstance(t.Context(), o)
	must(t, "CreateInstance", err)
	if made.State != kms.InstanceActive {
		t.Fatalf("kit: the instance is %s", made.State)
	}
	return KeyIn(t, k, id)
}

// KeyIn makes a key in an instance.
func KeyIn(t testing.TB, k *kmstest.KMS, instance string) (id string) {
	t.Helper()
	key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Instance: instance})
	must(t, "CreateKey", err)
	if key.Instance != instance {
		t.Fatalf("kit: the key is in the instance %q, not in %q", key.Instance, instance)
	}
	return key.ID
}

// CountedIn makes a service with a hardware key in an instance. The key has encrypted once, and
// its alias has the instance's name.
func CountedIn(t testing.TB, instance string) (k *kmstest.KMS, id string) {
	t.Helper()
	k = kmstest.New(t, InHardware)
	must(t, "CreateInstance", Err(k.CreateInstance(t.Context(), &kms.InstanceOptions{ID: instance, Protection: kms.ProtectionHSM})))
	id = KeyIn(t, k, instance)
	must(t, "Encrypt", Err(k.Encrypt(t.Context(), id, nil, nil)))
	must(t, "CreateAlias", k.CreateAlias(t.Context(), "alias/"+instance, id))
	return k, id
}

// Force returns the options that release an instance whatever its keys are and without a backup.
func Force() *kms.ReleaseOptions { return &kms.ReleaseOptions{Force: true, Reason: "the tenant left"} }
