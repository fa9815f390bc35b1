package kms_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/transit"
	"github.com/keyhold/kms/software"
)

func ExampleManager_CreateInstance() {
	ctx := context.Background()
	m := exampleManager()
	_, err := m.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7", Name: "Ann's bakery", ExpiresAt: exampleNow.AddDate(1, 0, 0)})
	if err != nil {
		log.Fatal(err)
	}
	key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "tenant-7"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.Instance, key.State)
	// Output: tenant-7 Enabled
}

func ExampleManager_RenewInstance() {
	ctx := context.Background()
	m := exampleManager()
	exampleInstance(m)
	in, err := m.RenewInstance(ctx, "tenant-7", exampleNow.AddDate(2, 0, 0))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(in.State, "until", in.ExpiresAt.Format(time.DateOnly), "and renewable until", in.ReleasesAt.Format(time.DateOnly))
	// Output: Active until 2028-01-01 and renewable until 2028-01-16
}

func ExampleManager_DescribeInstance() {
	ctx := context.Background()
	m := exampleManager()
	in, err := m.DescribeInstance(ctx, kms.DefaultInstance)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(in.ID, in.State, in.ExpiresAt.IsZero())
	// Output: default Active true
}

func ExampleManager_Instances() {
	m := exampleManager()
	exampleInstance(m)
	for in, err := range m.Instances(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(in.ID, in.State)
	}
	// Output:
	// default Active
	// tenant-7 Active
}

func ExampleManager_ReleaseInstance() {
	ctx := context.Background()
	m := exampleManager()
	key := exampleInstance(m)
	_, err := m.ReleaseInstance(ctx, "tenant-7", nil)
	fmt.Println(errors.Is(err, kms.ErrNoBackup))

	in, err := m.ReleaseInstance(ctx, "tenant-7", &kms.ReleaseOptions{Force: true, Reason: "the tenant left"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = m.DescribeKey(ctx, key)
	fmt.Println(in.State, errors.Is(err, kms.ErrNotFound))
	// Output:
	// true
	// Released true
}

func ExampleManager_SetInstanceDeletionProtection() {
	ctx := context.Background()
	m := exampleManager()
	exampleInstance(m)
	if _, err := m.SetInstanceDeletionProtection(ctx, "tenant-7", kms.InstanceProtection{On: true, Reason: "there is a lawsuit"}); err != nil {
		log.Fatal(err)
	}
	_, err := m.ReleaseInstance(ctx, "tenant-7", nil)
	fmt.Println(err)
	// Output: kms: ReleaseInstance: instance tenant-7: deletion protection is on: "there is a lawsuit"
}

func ExampleManager_PlanRelease() {
	ctx := context.Background()
	m := exampleManager()
	key := exampleInstance(m)
	if _, err := m.AddDependent(ctx, key, kms.Dependent{Name: "table invoices"}); err != nil {
		log.Fatal(err)
	}
	plan, err := m.PlanRelease(ctx, "tenant-7")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(plan.Verdict, len(plan.InUse))
	for _, step := range plan.Steps {
		fmt.Println(step.Do, step.Done)
	}
	for _, blocker := range plan.Blockers {
		fmt.Println(kms.Code(blocker))
	}
	// Output:
	// Blocked 1
	// Confirm that no data still depends on its keys. false
	// Switch the deletion protection of the instance off. true
	// Back the instance up with BackupInstance, and keep what opens the backup. false
	// Rejected.InUse
	// Forbidden.NoBackup
}

func ExampleManager_ReleaseReceipt() {
	ctx := context.Background()
	m := exampleManager()
	exampleInstance(m)
	if _, err := m.ReleaseInstance(ctx, "tenant-7", &kms.ReleaseOptions{Force: true, Reason: "the tenant left"}); err != nil {
		log.Fatal(err)
	}
	receipt, err := m.ReleaseReceipt(ctx, "tenant-7")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(receipt.Level)
	fmt.Println(receipt.Do)
	// Output:
	// level 3
	// Rotate the root with RotateRoot, and destroy the old one with every copy.
}

func ExampleManager_Service() {
	ctx := context.Background()
	m := exampleManager()
	disks := m.Service("disks")
	if _, err := disks.Key(ctx); err != nil {
		log.Fatal(err)
	}
	if _, err := m.Encrypt(ctx, disks.Alias(), []byte("hello"), nil); err != nil {
		log.Fatal(err)
	}
	_, err := m.DisableKey(ctx, disks.Alias())
	fmt.Println(errors.Is(err, kms.ErrReadOnly))
	key, err := disks.DisableKey(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.State)
	// Output:
	// true
	// Disabled
}

func ExampleManager_MigrateLegacyKey() {
	ctx := context.Background()
	old, err := transit.New(transit.Export{Key: []byte(`{"name":"orders","type":"aes256-gcm96","keys":{"1":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}`)})
	if err != nil {
		log.Fatal(err)
	}
	m, err := kms.Open(ctx, kms.Config{Store: new(keystore.Memory), Root: exampleRoot(1), Software: software.New(), Legacy: []legacy.Source{old}})
	if err != nil {
		log.Fatal(err)
	}
	for key, err := range m.Keys(ctx, &kms.ListOptions{Owners: []kms.Owner{kms.OwnerLegacy}}) {
		if err != nil {
			log.Fatal(err)
		}
		taken, err := m.MigrateLegacyKey(ctx, key.ID, "")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(taken.Description, taken.ID == key.ID, taken.OldVersions, taken.PrimaryVersion)
	}
	// Output: orders true 1 1
}

func ExampleManager_PlanDeletion() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	plan, err := m.PlanDeletion(ctx, "alias/invoices")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(plan.Verdict)
	for _, step := range plan.Steps {
		fmt.Println(step.Do, step.Done)
	}
	// Output:
	// Blocked
	// Disable the key. false
	// Confirm that no data still depends on it. false
}

func ExampleManager_Explain() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	x, err := m.Explain(ctx, kms.OpScheduleKeyDeletion, "alias/invoices")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(x.Allowed)
	for _, reason := range x.Reasons {
		fmt.Println(kms.Code(reason), "-", kms.Hint(reason))
	}
	// Output:
	// false
	// Rejected.StateModifiedFailed - Disable the key with DisableKey and confirm that no data still depends on it, then schedule its deletion.
}

func ExampleManager_KeyUsage() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	if _, err := m.GenerateDataKey(ctx, "alias/invoices", nil); err != nil {
		log.Fatal(err)
	}
	usage, err := m.KeyUsage(ctx, "alias/invoices")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(usage.Uses(), usage.Last().LastOp)
	// Output: 1 GenerateDataKey
}

func ExampleManager_SetBrownout() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	if _, err := m.SetBrownout(ctx, "alias/invoices", 1, exampleNow.Add(time.Hour)); err != nil {
		log.Fatal(err)
	}
	_, err := m.Encrypt(ctx, "alias/invoices", []byte("hello"), nil)
	fmt.Println(errors.Is(err, kms.ErrBrownout))
	// Output: true
}

func ExampleManager_RetireKeyVersions() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	ciphertext, err := m.Encrypt(ctx, "alias/invoices", []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := m.RotateKey(ctx, "alias/invoices"); err != nil { // and Rewrap moves the data to version 2
		log.Fatal(err)
	}
	key, err := m.RetireKeyVersions(ctx, "alias/invoices", kms.RetireOptions{Before: 2, Days: 30, Force: true, Reason: "all data was moved yesterday"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = m.Decrypt(ctx, ciphertext, nil)
	fmt.Println(errors.Is(err, kms.ErrRetired), key.RetiringBefore)
	if _, err := m.CancelRetirement(ctx, "alias/invoices"); err != nil { // something was forgotten
		log.Fatal(err)
	}
	plaintext, err := m.Decrypt(ctx, ciphertext, nil)
	fmt.Println(string(plaintext), err)
	// Output:
	// true 2
	// hello <nil>
}

func ExampleManager_Close() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	if err := m.Close(ctx); err != nil { // keeps what was counted; the store is closed after it
		log.Print(err)
	}
}

// exampleInstance makes an instance that is paid for a year, with a key.
func exampleInstance(m *kms.Manager) (keyID string) {
	ctx := context.Background()
	if _, err := m.CreateInstance(ctx, &kms.InstanceOptions{ID: "tenant-7", ExpiresAt: exampleNow.AddDate(1, 0, 0)}); err != nil {
		log.Fatal(err)
	}
	key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Instance: "tenant-7"})
	if err != nil {
		log.Fatal(err)
	}
	return key.ID
}

func ExampleManager_Shred() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	ciphertext, err := m.Encrypt(ctx, "alias/invoices", []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	in, err := m.Shred(ctx, kms.DefaultInstance) // then RotateRoot, then destroy the old root
	if err != nil {
		log.Fatal(err)
	}
	plain, err := m.Decrypt(ctx, ciphertext, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("a new instance key since", in.KeyedAt.Format(time.DateOnly), "and still:", string(plain))
	// Output: a new instance key since 2026-01-01 and still: hello
}

func ExampleManager_DeletionReceipt() {
	ctx, now := context.Background(), exampleNow
	m, err := kms.Open(ctx, kms.Config{
		Store: new(keystore.Memory), Root: exampleRoot(1), Software: software.New(),
		Now: func() time.Time { return now }, PurgeDelay: -1,
	})
	if err != nil {
		log.Fatal(err)
	}
	key, err := m.CreateKey(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	show := func() {
		receipt, err := m.DeletionReceipt(ctx, key.ID)
		if err != nil {
			log.Fatal(err)
		}
		more := receipt.Missing
		if receipt.Level == kms.DeletionLevel4 {
			more = receipt.Reached[4].If
		}
		fmt.Printf("%s: %s\n", receipt.Level, more)
	}
	show()
	if _, err := m.DisableKey(ctx, key.ID); err != nil {
		log.Fatal(err)
	}
	if _, err := m.ScheduleKeyDeletion(ctx, key.ID, 7); err != nil {
		log.Fatal(err)
	}
	show()
	now = now.AddDate(0, 0, 7)
	show()
	if _, err := m.Maintain(ctx); err != nil {
		log.Fatal(err)
	}
	show()
	if _, err := m.Shred(ctx, key.Instance); err != nil {
		log.Fatal(err)
	}
	show()
	if err := m.RotateRoot(ctx, exampleRoot(2)); err != nil {
		log.Fatal(err)
	}
	show()
	// Output:
	// none: it lives: it is Enabled
	// level 0: its deletion date, 2026-01-08T00:00:00Z, has not come
	// level 1: it was not purged yet
	// level 3: the instance still has the instance key under which the material was sealed
	// level 3: the present root opens, on old media, the instance key under which the material was sealed
	// level 4: if every root that was in use before RotateRoot at 2026-01-08T00:00:00Z was destroyed, of which the present one is none, and so was the recipient of every backup from before 2026-01-08T00:00:00Z
}
