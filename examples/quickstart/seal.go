package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/keyhold/kms"
	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"
)

// An encrypted file is
//
//	length of the wrapped data key (4 bytes, big-endian) | wrapped data key | stream
//
// where the stream is Tink's AES256-GCM-HKDF in segments of 1 MiB, under the data key. Its
// associated data is all that stands before it. (With GODEBUG=fips140=only Tink's stream
// refuses, since it makes its own nonces; the key store does not.)
const (
	sealedSuffix = ".sealed"
	segmentSize  = 1 << 20
)

// An original is what is encrypted.
type original struct {
	name string
	open func() (io.ReadCloser, error)
}

// purpose is the encryption context. It is not in the file: who decrypts has to know what
// the file is, and a file under another's name does not open.
func purpose(name string) kms.EncryptionContext {
	return kms.EncryptionContext{"program": "quickstart", "file": name}
}

// encryptFile is envelope encryption: a data key for this file alone, which the master key
// wraps. It tells size and hash of the original.
func encryptFile(ctx context.Context, folder string, out io.Writer, what original, sealed string) (size int64, sum [32]byte, err error) {
	in, err := what.open()
	if err != nil {
		return 0, sum, err
	}
	defer in.Close()
	hash := sha256.New()
	err = withKeys(ctx, folder, func(m *kms.Manager) error {
		key, made, err := usableKey(ctx, m)
		if err != nil {
			return err
		}
		found := "made on"
		if !made {
			found = "found, made on"
		}
		say(out, "Master key", "%s\n%s %s", key.ID, found, moment(key.CreatedAt))
		size, err = seal(ctx, m, sealed, io.TeeReader(in, hash), purpose(what.name))
		return err
	})
	if err != nil {
		return 0, sum, err
	}
	hash.Sum(sum[:0])
	say(out, "Encrypted", "%s, %d bytes\nunder a data key of its own, which is wiped\nThe wrapped data key is in the file, in front.", what.name, size)
	return size, sum, nil
}

// seal writes the encrypted file. It has its name once it is complete.
func seal(ctx context.Context, m *kms.Manager, path string, in io.Reader, ec kms.EncryptionContext) (size int64, err error) {
	key, err := m.GenerateDataKey(ctx, keyAlias, ec)
	if err != nil {
		return 0, err
	}
	defer key.Wipe() // Tink has a copy, which the garbage collector gets
	f, err := os.CreateTemp(filepath.Dir(path), "unfinished-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	header := binary.BigEndian.AppendUint32(nil, uint32(len(key.Ciphertext)))
	header = append(header, key.Ciphertext...)
	size, err = encryptStream(f, in, key.Plaintext(), header)
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	return size, os.Rename(f.Name(), path)
}

func encryptStream(out io.Writer, in io.Reader, key, header []byte) (int64, error) {
	stream, err := subtle.NewAESGCMHKDF(key, "SHA256", kms.DataKeySize, segmentSize, 0)
	if err != nil {
		return 0, err
	}
	if _, err := out.Write(header); err != nil {
		return 0, err
	}
	w, err := stream.NewEncryptingWriter(out, header)
	if err != nil {
		return 0, err
	}
	size, err := io.Copy(w, in)
	if err != nil {
		return 0, err
	}
	return size, w.Close() // writes the last segment, and that it is the last
}
