package kms_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
)

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
	// level 4: if every root that was in use before RotateRoot at 2026-01-08T00:00:00Z was destroyed, and so was the recipient of every backup from before 2026-01-08T00:00:00Z
}
