package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/keyhold/kms"
	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"
)

// openFile is what the second process does: it has the key store, the file and its name.
// What it writes before it fails is not to be used: a file that was cut off shows at its end.
func openFile(ctx context.Context, folder string, out io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	header, wrapped, err := readHeader(f)
	if err != nil {
		return err
	}
	return withKeys(ctx, folder, func(m *kms.Manager) error {
		key, err := m.Decrypt(ctx, wrapped, purposeOf(path))
		if err != nil {
			return err
		}
		defer clear(key)
		stream, err := subtle.NewAESGCMHKDF(key, "SHA256", kms.DataKeySize, segmentSize, 0)
		if err != nil {
			return err
		}
		r, err := stream.NewDecryptingReader(f, header)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		return err
	})
}

// purposeOf is the encryption context of an encrypted file.
func purposeOf(path string) kms.EncryptionContext {
	return purpose(strings.TrimSuffix(filepath.Base(path), sealedSuffix))
}

// readHeader reads up to the stream.
func readHeader(f io.Reader) (header, wrapped []byte, err error) {
	header = make([]byte, 4)
	if _, err := io.ReadFull(f, header); err != nil {
		return nil, nil, fmt.Errorf("not an encrypted file: %w", err)
	}
	n := binary.BigEndian.Uint32(header)
	if n > kms.MaxCiphertext {
		return nil, nil, errors.New("not an encrypted file: the wrapped data key is too long")
	}
	header = append(header, make([]byte, n)...)
	if _, err := io.ReadFull(f, header[4:]); err != nil {
		return nil, nil, fmt.Errorf("not an encrypted file: %w", err)
	}
	return header, header[4:], nil
}

// secondProcess runs this program anew, has it decrypt the file, and compares.
func secondProcess(ctx context.Context, folder string, out io.Writer, sealed string, size int64, sum [32]byte) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	hash := sha256.New()
	cmd := exec.CommandContext(ctx, self, "-dir", folder, "-open", sealed)
	cmd.Stdout, cmd.Stderr = hash, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the second process: %w", err)
	}
	if [32]byte(hash.Sum(nil)) != sum {
		return errors.New("what the second process decrypted is not what was encrypted")
	}
	say(out, "Decrypted", "by process %d: the same %d bytes", cmd.Process.Pid, size)
	return nil
}
