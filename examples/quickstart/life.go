package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/keyhold/kms"
)

// liveALife disables the key, schedules its deletion, finds that nothing decrypts any more,
// and takes it all back.
func liveALife(ctx context.Context, folder string, out io.Writer, sealed string) error {
	f, err := os.Open(sealed)
	if err != nil {
		return err
	}
	defer f.Close()
	_, wrapped, err := readHeader(f)
	if err != nil {
		return err
	}
	return withKeys(ctx, folder, func(m *kms.Manager) error {
		before, err := m.Decrypt(ctx, wrapped, purposeOf(sealed))
		if err != nil {
			return err
		}
		defer clear(before)
		decrypt := func() error {
			after, err := m.Decrypt(ctx, wrapped, purposeOf(sealed))
			defer clear(after)
			if err == nil && !bytes.Equal(before, after) {
				return errors.New("another data key came back")
			}
			return err
		}

		fmt.Fprintln(out, "\nThe life of the key:")
		for _, step := range []func() error{
			changes(out, "DisableKey", func() (kms.Key, error) { return m.DisableKey(ctx, keyAlias) }),
			changes(out, "ScheduleKeyDeletion", func() (kms.Key, error) {
				return m.ScheduleKeyDeletion(ctx, keyAlias, kms.MinDeletionDays)
			}),
			refused(out, "Decrypt", kms.ErrPendingDeletion, decrypt),
			changes(out, "CancelKeyDeletion", func() (kms.Key, error) { return m.CancelKeyDeletion(ctx, keyAlias) }),
			refused(out, "Decrypt", kms.ErrDisabled, decrypt),
			changes(out, "EnableKey", func() (kms.Key, error) { return m.EnableKey(ctx, keyAlias) }),
		} {
			if err := step(); err != nil {
				return err
			}
		}
		if err := decrypt(); err != nil {
			return err
		}
		say(out, "Decrypt", "the same data key as before")
		return nil
	})
}

// changes is a step that changes the key.
func changes(out io.Writer, verb string, do func() (kms.Key, error)) func() error {
	return func() error {
		key, err := do()
		if err != nil {
			return err
		}
		state := "the key is " + key.State.String()
		if key.State == kms.PendingDeletion {
			state += "\nand will be deleted on " + moment(key.DeletionDate)
		}
		say(out, verb, "%s", state)
		return nil
	}
}

// refused is a step that must be refused.
func refused(out io.Writer, verb string, why error, do func() error) func() error {
	return func() error {
		err := do()
		if !errors.Is(err, why) {
			return fmt.Errorf("%s: it should have been refused with %q, and came back with: %v", verb, why, err)
		}
		say(out, verb, "refused with %s\n%v\nHint: %s", kms.Code(err), err, kms.Hint(err))
		return nil
	}
}
