// Command ownstore has its keys in a key store of its own making, package logstore. It
// encrypts a line, closes the store, opens it again, and decrypts the line.
//
//	go run ./examples/ownstore [-dir folder] [text]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/examples/ownstore/logstore"
	"github.com/keyhold/kms/software"
)

func main() {
	if err := run(context.Background(), os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ownstore:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet("ownstore", flag.ExitOnError)
	dir := flags.String("dir", "", "`folder` to keep the keys in (default: one that is removed at the end)")
	_ = flags.Parse(args) // ends the program where it fails
	text := "a line that nobody else may read"
	if flags.NArg() > 0 {
		text = flags.Arg(0)
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "ownstore-"); err != nil {
			return err
		}
		defer os.RemoveAll(*dir)
	}

	ec := kms.EncryptionContext{"program": "ownstore"}
	var ciphertext []byte
	err = withKeys(ctx, *dir, func(m *kms.Manager) error {
		// The default key is made by its first use.
		ciphertext, err = m.Encrypt(ctx, kms.DefaultKey, []byte(text), ec)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "encrypted: %x\n", ciphertext)

	return withKeys(ctx, *dir, func(m *kms.Manager) error {
		plain, err := m.Decrypt(ctx, ciphertext, ec)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "decrypted, from the store opened again: %s\n", plain)
		return nil
	})
}

// withKeys opens the store, and closes it when use is done.
func withKeys(ctx context.Context, dir string, use func(*kms.Manager) error) (err error) {
	root, first, err := openRoot(dir)
	if err != nil {
		return err
	}
	open := logstore.Open
	if first {
		open = logstore.Create
	}
	store, err := open(filepath.Join(dir, storeName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	m, err := kms.Open(ctx, kms.Config{Store: store, Root: root, Software: software.New()})
	if err != nil {
		return err
	}
	return use(m)
}

// openRoot opens the root. On the first start it makes one: when there is no key store yet that
// another root could have sealed.
func openRoot(folder string) (root *software.Root, first bool, err error) {
	if _, err := os.Stat(filepath.Join(folder, storeName)); errors.Is(err, fs.ErrNotExist) {
		first = true
	}
	path := filepath.Join(folder, "root.key")
	root, err = software.OpenRootFile(path)
	if first && errors.Is(err, fs.ErrNotExist) {
		root, err = software.CreateRootFile(path)
	}
	return root, first, err
}

const storeName = "keys.log"
