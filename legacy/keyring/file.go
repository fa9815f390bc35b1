package keyring

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyhold/kms/internal/privatefile"
	"github.com/keyhold/kms/legacy"
)

// ErrFile is the answer of Open to a file that is not safe or is not a keyring of that root,
// of Create to keys that do not fit into one, and of both without a root. The text says what is wrong with it.
var ErrFile = errors.New("keyring: refused as a keyring file")

// MaxFile is the longest keyring file, in bytes. It has room for forty thousand keys of one
// version and a short description.
const MaxFile = 16 << 20

const (
	fileFormat = "keyhold-keyring-1"
	keyData    = fileFormat + " key"
	keysData   = fileFormat + " keys"
)

// Root seals the key of a keyring file: whatever is a kms.Root, such as a software.Root or an
// AEAD of Tink.
type Root interface {
	Encrypt(plaintext, associatedData []byte) ([]byte, error)
	Decrypt(ciphertext, associatedData []byte) ([]byte, error)
}

// jsonFile has the fields of a file in their order.
type jsonFile struct {
	Format string `json:"format"`
	Key    []byte `json:"key"`
	Keys   []byte `json:"keys"`
}

// Create makes the keyring file at path, with mode 0600, of keys that New would take. Where
// there is something it answers fs.ErrExist and leaves it alone. The folder must exist, and its
// file system must know hard links.
func Create(path string, root Root, keys ...legacy.Key) error {
	s, err := New(keys...)
	if err != nil {
		return err
	}
	if root == nil {
		return fmt.Errorf("%w: a root is required", ErrFile)
	}
	content, err := seal(root, s)
	if err != nil {
		return err
	}
	if len(content) > MaxFile {
		return fmt.Errorf("%w: the keys need %d bytes, and it has at most %d", ErrFile, len(content), MaxFile)
	}
	if err := privatefile.Create(path, content); err != nil {
		return fmt.Errorf("keyring: making a keyring file: %w", err)
	}
	return nil
}

// Open returns the Source of the keyring file at path. A symbolic link, anything else that is not
// a regular file, a mode that lets others than the owner at it (not looked at on Windows), more
// than MaxFile bytes, a file that another root sealed, and content that Create would not have
// written are ErrFile. Other errors are those of package os. What the root does not open is ErrFile
// and wraps the root's error, too, for the root may just have been out of reach.
func Open(path string, root Root) (*Source, error) {
	if root == nil {
		return nil, fmt.Errorf("%w: a root is required", ErrFile)
	}
	content, err := privatefile.Read(path, MaxFile)
	if refused := new(privatefile.Refused); errors.As(err, &refused) {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if err != nil {
		return nil, fmt.Errorf("keyring: reading a keyring file: %w", err)
	}
	return unseal(root, content)
}

func seal(root Root, s *Source) ([]byte, error) {
	plain, err := s.encode()
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	key := make([]byte, 32)
	defer clear(key)
	_, _ = rand.Read(key) // never fails: without randomness it ends the program
	file := jsonFile{Format: fileFormat}
	if file.Key, err = root.Encrypt(key, []byte(keyData)); err != nil {
		return nil, fmt.Errorf("keyring: sealing a keyring file: %w", err)
	}
	gcm, err := fileCipher(key)
	if err != nil {
		return nil, err
	}
	file.Keys = gcm.Seal(nil, nil, plain, []byte(keysData))
	return file.encode()
}

func unseal(root Root, content []byte) (*Source, error) {
	var file jsonFile
	// What the JSON package says is dropped: it may quote from the file.
	if json.Unmarshal(content, &file) != nil || file.Format != fileFormat {
		return nil, fmt.Errorf("%w: the content is not that of one", ErrFile)
	}
	if again, err := file.encode(); err != nil || !bytes.Equal(again, content) {
		return nil, fmt.Errorf("%w: the content is not that of one", ErrFile)
	}
	key, err := root.Decrypt(file.Key, []byte(keyData))
	if err != nil {
		return nil, fmt.Errorf("%w: the root does not open it: %w", ErrFile, err)
	}
	defer clear(key)
	if len(key) != 32 {
		return nil, fmt.Errorf("%w: the root opened something else", ErrFile)
	}
	gcm, err := fileCipher(key)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, nil, file.Keys, []byte(keysData))
	if err != nil {
		return nil, fmt.Errorf("%w: the keys in it were changed", ErrFile)
	}
	defer clear(plain)
	return decode(plain)
}

func (f jsonFile) encode() ([]byte, error) {
	b, err := json.Marshal(f)
	return append(b, '\n'), err
}

// fileCipher takes a key that seals one message, and chooses the IV.
func fileCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("keyring: the cipher of a keyring file: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
