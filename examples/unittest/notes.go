// Package notes is code that uses keys. It is here for its test, which shows how to test
// such code: with real keys, a clock that the test moves, and a store that fails.
package notes

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyhold/kms"
)

// ErrNoNote is the answer for a note that is not there.
var ErrNoNote = errors.New("notes: no such note")

// Keys is what the notes need of a *kms.Manager.
type Keys interface {
	Encrypt(ctx context.Context, ref string, plaintext []byte, ec kms.EncryptionContext) ([]byte, error)
	Decrypt(ctx context.Context, ciphertext []byte, ec kms.EncryptionContext) ([]byte, error)
}

// Note is a note of somebody. Its title is kept as it is, its text encrypted.
type Note struct{ Title, Text string }

// Notes keeps notes, up to 6 KiB each, in memory. It is not for many goroutines.
type Notes struct {
	keys Keys
	ref  string
	kept map[int]keptNote
}

type keptNote struct {
	owner, title string
	text         []byte // encrypted
}

// New returns an empty Notes whose texts are encrypted under the key ref, an ID or an alias.
func New(keys Keys, ref string) *Notes {
	return &Notes{keys: keys, ref: ref, kept: map[int]keptNote{}}
}

// Add keeps a note of somebody and returns its number.
func (n *Notes) Add(ctx context.Context, owner string, note Note) (int, error) {
	number := len(n.kept) + 1
	text, err := n.keys.Encrypt(ctx, n.ref, []byte(note.Text), purpose(owner, number))
	if err != nil {
		return 0, fmt.Errorf("adding a note: %w", err)
	}
	n.kept[number] = keptNote{owner, note.Title, text}
	return number, nil
}

// Get returns a note of somebody. To others it is not there.
func (n *Notes) Get(ctx context.Context, owner string, number int) (Note, error) {
	kept, ok := n.kept[number]
	if !ok || kept.owner != owner {
		return Note{}, ErrNoNote
	}
	text, err := n.keys.Decrypt(ctx, kept.text, purpose(owner, number))
	if err != nil {
		return Note{}, fmt.Errorf("reading note %d: %w", number, err)
	}
	return Note{kept.title, string(text)}, nil
}

// purpose binds a text to its owner and its number, so that no text can take another's
// place in the database.
func purpose(owner string, number int) kms.EncryptionContext {
	return kms.EncryptionContext{"table": "notes", "owner": owner, "number": fmt.Sprint(number)}
}
