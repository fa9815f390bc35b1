package notes_test

import (
	"errors"
	"testing"
	"time"

	"github.com/keyhold/kms"
	notes "github.com/keyhold/kms/examples/unittest"
	"github.com/keyhold/kms/keystore/keystoretest"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

var shopping = notes.Note{Title: "Saturday", Text: "bread, and a present for Ann"}

// newNotes is what every test here begins with: a service of its own, with one key and
// one note. The ID of the key comes back with it.
func newNotes(t *testing.T) (*kmstest.KMS, *notes.Notes, string) {
	t.Helper()
	k := kmstest.New(t)
	key := k.MustCreateKey(t).ID
	n := notes.New(k, key)
	number, err := n.Add(t.Context(), "bob", shopping)
	require.NoError(t, err)
	require.Equal(t, 1, number)
	return k, n, key
}

// The normal case needs nothing but kmstest.New.
func TestNotes(t *testing.T) {
	_, n, _ := newNotes(t)
	note, err := n.Get(t.Context(), "bob", 1)
	require.NoError(t, err)
	require.Equal(t, shopping, note)

	_, err = n.Get(t.Context(), "ann", 1)
	require.ErrorIs(t, err, notes.ErrNoNote)
}

// A refusal is matched with errors.Is, and its facts are had with errors.As.
func TestKeyPendingDeletion(t *testing.T) {
	k, n, key := newNotes(t)
	_, err := k.DisableKey(t.Context(), key)
	require.NoError(t, err)
	scheduled, err := k.ScheduleKeyDeletion(t.Context(), key, 7)
	require.NoError(t, err)

	_, err = n.Get(t.Context(), "bob", 1)
	require.ErrorIs(t, err, kms.ErrPendingDeletion)
	var refusal *kms.PendingDeletionError
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, scheduled.DeletionDate, refusal.DeletionDate)
	require.Equal(t, key, refusal.KeyID)

	_, err = n.Add(t.Context(), "bob", shopping)
	require.ErrorIs(t, err, kms.ErrPendingDeletion)
}

// The clock stands still until the test moves it. So the last moment before a date can be
// tested, and the date itself.
func TestDeletionDate(t *testing.T) {
	k, n, key := newNotes(t)
	_, err := k.DisableKey(t.Context(), key)
	require.NoError(t, err)
	_, err = k.ScheduleKeyDeletion(t.Context(), key, 30)
	require.NoError(t, err)

	k.Clock.AdvanceDays(30)
	k.Clock.Advance(-time.Nanosecond)
	_, err = n.Get(t.Context(), "bob", 1)
	require.ErrorIs(t, err, kms.ErrPendingDeletion)

	k.Clock.Advance(time.Nanosecond)
	_, err = n.Get(t.Context(), "bob", 1)
	require.ErrorIs(t, err, kms.ErrNotFound, "the note is lost for good")
}

// The store fails when the test says so. Another Manager has not read the key yet, as a
// program that was just started: it needs the store.
func TestStoreOutOfReach(t *testing.T) {
	k, _, key := newNotes(t)
	n := notes.New(k.Another(t), key)
	gone := errors.New("connection refused")
	k.Store.OnGet(func(string) error { return gone })
	_, err := n.Add(t.Context(), "bob", shopping)
	require.ErrorIs(t, err, kms.ErrUnavailable)
	require.ErrorIs(t, err, gone)

	k.Store.OnGet(nil)
	_, err = n.Add(t.Context(), "bob", shopping)
	require.NoError(t, err, "the store is back, and so is everything")
}

// A Put whose answer was lost: it was done, and the caller cannot know.
func TestAnswerLost(t *testing.T) {
	k, n, key := newNotes(t)
	k.Store.FailNext(keystoretest.Put, true, errors.New("timeout"))
	_, err := k.DisableKey(t.Context(), key)
	var unavailable *kms.UnavailableError
	require.ErrorAs(t, err, &unavailable)
	require.True(t, unavailable.Unknown)

	_, err = n.Get(t.Context(), "bob", 1)
	require.ErrorIs(t, err, kms.ErrDisabled, "here it had been done")
}
