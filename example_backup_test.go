package kms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/keyhold/kms"
)

func ExampleManager_BackupInstance() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	recipient := exampleRoot(2)                                                      // kept elsewhere, for the day when all else is lost
	var backup bytes.Buffer                                                          // in earnest a file on another machine
	info, err := m.BackupInstance(ctx, kms.DefaultInstance, &backup, recipient, nil) // or the ID of a tenant
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Keys, "key,", info.Aliases, "alias, as of", info.At.Format(time.DateOnly))
	// Output: 1 key, 1 alias, as of 2026-01-01
}

func ExampleVerifyBackup() {
	ctx := context.Background()
	m, recipient := exampleManager("alias/invoices", "alias/letters"), exampleRoot(2)
	var backup bytes.Buffer
	if _, err := m.BackupInstance(ctx, kms.DefaultInstance, &backup, recipient, nil); err != nil {
		log.Fatal(err)
	}
	info, err := kms.VerifyBackup(ctx, bytes.NewReader(backup.Bytes()), recipient)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("whole, with", info.Keys, "keys")
	_, err = kms.VerifyBackup(ctx, bytes.NewReader(backup.Bytes()[:backup.Len()-1]), recipient)
	fmt.Println(errors.Is(err, kms.ErrBackup))
	// Output:
	// whole, with 2 keys
	// true
}

func ExampleManager_Restore() {
	ctx := context.Background()
	m, recipient := exampleManager("alias/invoices"), exampleRoot(2)
	ciphertext, err := m.Encrypt(ctx, "alias/invoices", []byte("hello"), nil)
	if err != nil {
		log.Fatal(err)
	}
	var backup bytes.Buffer
	if _, err := m.BackupInstance(ctx, kms.DefaultInstance, &backup, recipient, nil); err != nil {
		log.Fatal(err)
	}

	other := exampleManager() // on a new key store, with nothing in it
	report, err := other.Restore(ctx, bytes.NewReader(backup.Bytes()), recipient, &kms.RestoreOptions{Tombstones: []kms.Tombstone{}})
	if err != nil {
		log.Fatal(err)
	}
	plain, err := other.Decrypt(ctx, ciphertext, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Restored, "key and", report.Aliases, "alias are back:", string(plain))
	// Output: 1 key and 1 alias are back: hello
}

func ExampleManager_Tombstones() {
	ctx := context.Background()
	m := exampleManager("alias/invoices")
	for tombstone, err := range m.Tombstones(ctx) { // to be kept with the backups
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(tombstone.KeyID, "was deleted")
	}
	fmt.Println("no key was deleted")
	// Output: no key was deleted
}
