package kms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
)

func ExampleOpen() {
	ctx := context.Background()
	m, err := kms.Open(ctx, kms.Config{
		Store:    new(keystore.Memory), // in earnest boltstore.Open("keys.db", nil)
		Root:     exampleRoot(1),       // and software.OpenRootFile, or a KMS integration of Tink
		Software: software.New(),
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = m.DescribeKey(ctx, "alias/invoices")
	fmt.Println(err)
	// Output: kms: DescribeKey: not found: no such alias
}

func ExampleManager_CreateKey() {
	ctx := context.Background()
	m := exampleManager()
	key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Description: "invoices"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.State, key.Spec, key.Usage, key.Protection)
	// Output: Enabled AES_256 ENCRYPT/DECRYPT SOFTWARE
}

func ExampleManager_DescribeKey() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	key, err := m.DescribeKey(ctx, "alias/invoices")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.State, "since", key.CreatedAt.Format(time.DateOnly))
	// Output: Enabled since 2026-01-01
}

func ExampleManager_Keys() {
	ctx := context.Background()
	m := exampleManager("alias/invoices", "alias/letters")
	if _, err := m.DisableKey(ctx, "alias/letters"); err != nil {
		log.Fatal(err)
	}
	for key, err := range m.Keys(ctx, &kms.ListOptions{States: []kms.State{kms.Disabled}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(key.Description, key.State)
	}
	// Output: made for alias/letters Disabled
}

func ExampleManager_DisableKey() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	if _, err := m.DisableKey(ctx, "alias/invoices"); err != nil {
		log.Fatal(err)
	}
	_, err := m.Encrypt(ctx, "alias/invoices", []byte("hello"), nil)
	fmt.Println(errors.Is(err, kms.ErrDisabled))
	// Output: true
}

func ExampleManager_EnableKey() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	if _, err := m.DisableKey(ctx, "alias/invoices"); err != nil {
		log.Fatal(err)
	}
	key, err := m.EnableKey(ctx, "alias/invoices")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.State)
	// Output: Enabled
}

func ExampleManager_ScheduleKeyDeletion() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	if _, err := m.DisableKey(ctx, "alias/invoices"); err != nil {
		log.Fatal(err)
	}
	key, err := m.ScheduleKeyDeletion(ctx, "alias/invoices", 30)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.State, "until", key.DeletionDate.Format(time.DateOnly))

	var pending *kms.PendingDeletionError
	if _, err = m.Encrypt(ctx, "alias/invoices", []byte("hello"), nil); errors.As(err, &pending) {
		fmt.Println("refused:", pending.DeletionDate.Equal(key.DeletionDate))
	}
	// Output:
	// PendingDeletion until 2026-01-31
	// refused: true
}

func ExampleManager_CancelKeyDeletion() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	if _, err := m.DisableKey(ctx, "alias/invoices"); err != nil {
		log.Fatal(err)
	}
	if _, err := m.ScheduleKeyDeletion(ctx, "alias/invoices", 7); err != nil {
		log.Fatal(err)
	}
	key, err := m.CancelKeyDeletion(ctx, "alias/invoices")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.State) // as disabled as it was
	// Output: Disabled
}

func ExampleManager_SetDeletionProtection() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	if _, err := m.SetDeletionProtection(ctx, "alias/invoices", true, "the auditors read it"); err != nil {
		log.Fatal(err)
	}
	if _, err := m.DisableKey(ctx, "alias/invoices"); err != nil {
		log.Fatal(err)
	}
	var protected *kms.ProtectedError
	if _, err := m.ScheduleKeyDeletion(ctx, "alias/invoices", 7); errors.As(err, &protected) {
		fmt.Println(protected.Why)
	}
	// Output: the auditors read it
}

func ExampleManager_AddDependent() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	if _, err := m.AddDependent(ctx, "alias/invoices", kms.Dependent{Name: "table invoices"}); err != nil {
		log.Fatal(err)
	}
	// It is Enabled as well: the refusal holds all that stands in the way.
	_, err := m.ScheduleKeyDeletion(ctx, "alias/invoices", 7)
	fmt.Println(errors.Is(err, kms.ErrInUse), errors.Is(err, kms.ErrState))
	// Output: true true
}

func ExampleManager_SetTags() {
	ctx := context.Background()
	m := exampleManager("alias/invoices", "alias/letters")
	if _, err := m.SetTags(ctx, "alias/invoices", map[string]string{"team": "billing"}); err != nil {
		log.Fatal(err)
	}
	for key, err := range m.Keys(ctx, &kms.ListOptions{Tags: map[string]string{"team": "billing"}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(key.Description)
	}
	// Output: made for alias/invoices
}

func ExampleManager_CreateAlias() {
	ctx := context.Background()
	m := exampleManager()
	key, err := m.CreateKey(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.CreateAlias(ctx, "alias/invoices", key.ID); err != nil {
		log.Fatal(err)
	}
	found, err := m.DescribeKey(ctx, "alias/invoices")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found.ID == key.ID)
	// Output: true
}

func ExampleManager_GenerateDataKey() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	ec := kms.EncryptionContext{"file": "2026-01.csv"}
	dataKey, err := m.GenerateDataKey(ctx, "alias/invoices", ec)
	if err != nil {
		log.Fatal(err)
	}
	wrapped := dataKey.Ciphertext // is kept beside the data
	used := bytes.Clone(dataKey.Plaintext())
	dataKey.Wipe() // once the data is encrypted

	again, err := m.Decrypt(ctx, wrapped, ec) // to decrypt the data
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(again), bytes.Equal(again, used))
	fmt.Println(dataKey.Plaintext() == nil)
	// Output:
	// 32 true
	// true
}

func ExampleManager_GenerateDataKeyWithoutPlaintext() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	// Made here, to be used by somebody else who may Decrypt.
	dataKey, err := m.GenerateDataKeyWithoutPlaintext(ctx, "alias/invoices", 64, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(dataKey.Plaintext() == nil)

	plain, err := m.Decrypt(ctx, dataKey.Ciphertext, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(plain))
	// Output:
	// true
	// 64
}

func ExampleManager_Encrypt() {
	ctx := context.Background()
	m := exampleManager()
	// The default key is made by its first use.
	ciphertext, err := m.Encrypt(ctx, kms.DefaultKey, []byte("hello"), kms.EncryptionContext{"row": "7"})
	if err != nil {
		log.Fatal(err)
	}
	plain, err := m.Decrypt(ctx, ciphertext, kms.EncryptionContext{"row": "7"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", plain)
	// Output: hello
}

func ExampleManager_Decrypt() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	ciphertext, err := m.Encrypt(ctx, "alias/invoices", []byte("hello"), kms.EncryptionContext{"row": "7"})
	if err != nil {
		log.Fatal(err)
	}
	// A ciphertext that was put into another row does not open.
	_, err = m.Decrypt(ctx, ciphertext, kms.EncryptionContext{"row": "8"})
	fmt.Println(errors.Is(err, kms.ErrCiphertext))
	// Output: true
}

func ExampleManager_DecryptWithKey() {
	ctx := context.Background()
	m := exampleManager("alias/invoices", "alias/letters")
	ciphertext, err := m.Encrypt(ctx, "alias/letters", []byte("pay me"), nil)
	if err != nil {
		log.Fatal(err)
	}
	// The ciphertext was put where those of another key are. Decrypt would open it.
	_, _, err = m.DecryptWithKey(ctx, "alias/invoices", ciphertext, nil)
	fmt.Println(errors.Is(err, kms.ErrCiphertext))

	plain, used, err := m.DecryptWithKey(ctx, "alias/letters", ciphertext, nil)
	if err != nil {
		log.Fatal(err)
	}
	key, err := m.DescribeKey(ctx, "alias/letters")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %t %d\n", plain, used.KeyID == key.ID, used.KeyVersion)
	// Output:
	// true
	// pay me true 1
}

func ExampleManager_AppendEncrypt() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	var sealed, opened []byte // used again and again: after the first turns nothing is allocated
	for _, row := range []string{"one", "two", "three"} {
		var err error
		if sealed, err = m.AppendEncrypt(ctx, sealed[:0], "alias/invoices", []byte(row), nil); err != nil {
			log.Fatal(err)
		}
		if opened, err = m.AppendDecrypt(ctx, opened[:0], sealed, nil); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", opened)
	}
	// Output:
	// one
	// two
	// three
}

func ExampleManager_AppendDecrypt() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	ciphertext, err := m.Encrypt(ctx, "alias/invoices", []byte("world"), nil)
	if err != nil {
		log.Fatal(err)
	}
	greeting, err := m.AppendDecrypt(ctx, []byte("hello "), ciphertext, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", greeting)
	// Output: hello world
}

func ExampleManager_AppendDataKey() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	var key [kms.DataKeySize]byte
	defer clear(key[:])
	wrapped, err := m.AppendDataKey(ctx, nil, "alias/invoices", key[:], nil)
	if err != nil {
		log.Fatal(err)
	}
	again, err := m.Decrypt(ctx, wrapped, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(bytes.Equal(again, key[:]))
	// Output: true
}

func ExampleManager_ReEncrypt() {
	ctx := context.Background()
	m := exampleManager("alias/old", "alias/new")
	ciphertext, err := m.Encrypt(ctx, "alias/old", []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	ciphertext, err = m.ReEncrypt(ctx, ciphertext, nil, "alias/new", kms.EncryptionContext{"row": "7"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := m.DisableKey(ctx, "alias/old"); err != nil {
		log.Fatal(err)
	}
	plain, err := m.Decrypt(ctx, ciphertext, kms.EncryptionContext{"row": "7"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", plain)
	// Output: hello
}

func ExampleManager_ReEncryptWithKey() {
	ctx := context.Background()
	m := exampleManager("alias/old", "alias/new", "alias/other")
	mine, err := m.Encrypt(ctx, "alias/old", []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	planted, err := m.Encrypt(ctx, "alias/other", []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, ciphertext := range [][]byte{mine, planted} {
		_, used, err := m.ReEncryptWithKey(ctx, "alias/old", ciphertext, nil, "alias/new", nil)
		fmt.Println(used.KeyVersion, errors.Is(err, kms.ErrCiphertext))
	}
	// Output:
	// 1 false
	// 0 true
}

func ExampleInspect() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	key, err := m.DescribeKey(ctx, "alias/invoices")
	if err != nil {
		log.Fatal(err)
	}
	ciphertext, err := m.Encrypt(ctx, "alias/invoices", []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	info, err := kms.Inspect(ciphertext) // needs no Manager
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.KeyID == key.ID, info.KeyVersion, info.Protection)
	// Output: true 1 SOFTWARE
}

func ExampleManager_RotateRoot() {
	ctx := context.Background()
	store := new(keystore.Memory)
	config := kms.Config{Store: store, Root: exampleRoot(1), Software: software.New()}
	m, err := kms.Open(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	next := exampleRoot(2)
	if err := m.RotateRoot(ctx, next); err != nil {
		log.Fatal(err)
	}
	_, err = kms.Open(ctx, config)
	fmt.Println("the old root:", errors.Is(err, kms.ErrRoot))
	config.Root = next
	_, err = kms.Open(ctx, config)
	fmt.Println("the new root:", err)
	// Output:
	// the old root: true
	// the new root: <nil>
}

func ExampleManager_Maintain() {
	ctx := context.Background()
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	m, err := kms.Open(ctx, kms.Config{
		Store: new(keystore.Memory), Root: exampleRoot(1), Software: software.New(),
		Now: func() time.Time { return now },
	})
	if err != nil {
		log.Fatal(err)
	}
	key, err := m.CreateKey(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := m.DisableKey(ctx, key.ID); err != nil {
		log.Fatal(err)
	}
	if _, err := m.ScheduleKeyDeletion(ctx, key.ID, 7); err != nil {
		log.Fatal(err)
	}
	// The key is Deleted after 7 days. Its material is destroyed a day after that was seen.
	for _, days := range []int{6, 1, 1} {
		now = now.AddDate(0, 0, days)
		report, err := m.Maintain(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(now.Format(time.DateOnly), "noted", len(report.Noted), "purged", len(report.Purged))
	}
	// Output:
	// 2026-01-07 noted 0 purged 0
	// 2026-01-08 noted 1 purged 0
	// 2026-01-09 noted 0 purged 1
}

func ExampleCode() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	_, err := m.ScheduleKeyDeletion(ctx, "alias/invoices", 3)
	fmt.Println(kms.Code(err))
	// Output: InvalidParameter
}

func ExampleHint() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	_, err := m.ScheduleKeyDeletion(ctx, "alias/invoices", 3)
	fmt.Println(kms.Hint(err))
	// Output: Choose a window of 7 to 366 days. A key is never deleted at once.
}

// exampleNow is when the examples are.
var exampleNow = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// exampleManager opens a service on an empty store, at the beginning of 2026, and makes a
// key for each of the aliases.
func exampleManager(aliases ...string) *kms.Manager {
	ctx := context.Background()
	m, err := kms.Open(ctx, kms.Config{
		Store: new(keystore.Memory), Root: exampleRoot(1), Software: software.New(),
		Now: func() time.Time { return exampleNow },
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, alias := range aliases {
		key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Description: "made for " + alias})
		if err != nil {
			log.Fatal(err)
		}
		if err := m.CreateAlias(ctx, alias, key.ID); err != nil {
			log.Fatal(err)
		}
	}
	return m
}

// exampleRoot guards nothing: its key stands here.
func exampleRoot(n byte) kms.Root {
	root, err := software.NewRoot(append(bytes.Repeat([]byte{n}, 31), 0))
	if err != nil {
		log.Fatal(err)
	}
	return root
}
