// Command quickstart encrypts a file, has a second process decrypt it, and walks the key
// through its life. It can be run again and again.
//
//	go run ./examples/quickstart [-dir folder] [file]
//
// The folder holds the key store (keys.db), the root (root.key) and the encrypted file. It
// is keyhold-quickstart in the user's cache folder, unless -dir says otherwise. In earnest
// the root is kept elsewhere: who has both files has the keys.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/software"
)

// What is encrypted where no file is named.
//
//go:embed main.go
var ownSource []byte

// keyAlias names the key, so that every run finds the one that the first run made.
const keyAlias = "alias/quickstart"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		if hint := kms.Hint(err); hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("quickstart", flag.ExitOnError)
	dir := flags.String("dir", "", "`folder` of the key store (default: keyhold-quickstart in the user's cache)")
	open := flags.String("open", "", "decrypt this `file` to standard output, as the second process does")
	_ = flags.Parse(args) // ends the program where it fails
	folder, err := makeFolder(*dir)
	if err != nil {
		return err
	}
	if *open != "" {
		return openFile(ctx, folder, out, *open)
	}

	what := original{name: "main.go", open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(ownSource)), nil
	}}
	if path := flags.Arg(0); path != "" {
		what = original{name: filepath.Base(path), open: func() (io.ReadCloser, error) { return os.Open(path) }}
	}
	sealed := filepath.Join(folder, what.name+sealedSuffix)
	fmt.Fprintf(out, "In %s\n\n", folder)
	size, sum, err := encryptFile(ctx, folder, out, what, sealed)
	if err != nil {
		return err
	}
	if err := secondProcess(ctx, folder, out, sealed, size, sum); err != nil {
		return err
	}
	return liveALife(ctx, folder, out, sealed)
}

// makeFolder makes the folder, for its owner only.
func makeFolder(dir string) (string, error) {
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder, name one with -dir: %w", err)
		}
		dir = filepath.Join(cache, "keyhold-quickstart")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// withKeys opens the key store and the service over it, and closes the store when use is
// done: one process at a time has the file.
func withKeys(ctx context.Context, folder string, use func(*kms.Manager) error) (err error) {
	root, first, err := openRoot(folder)
	if err != nil {
		return err
	}
	store, err := boltstore.Open(filepath.Join(folder, storeName), &boltstore.Options{Create: first, LockTimeout: 10 * time.Second})
	if errors.Is(err, boltstore.ErrInUse) {
		return fmt.Errorf("is another quickstart running in this folder? %w", err)
	}
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

const storeName = "keys.db"

// usableKey finds the key of the earlier runs, or makes one.
func usableKey(ctx context.Context, m *kms.Manager) (key kms.Key, made bool, err error) {
	key, err = m.DescribeKey(ctx, keyAlias)
	if errors.Is(err, kms.ErrNotFound) {
		if key, err = m.CreateKey(ctx, &kms.CreateKeyOptions{Description: "quickstart"}); err != nil {
			return kms.Key{}, false, err
		}
		return key, true, m.CreateAlias(ctx, keyAlias, key.ID)
	}
	// A run that was interrupted leaves the key where it was in its life.
	if err == nil && key.State == kms.PendingDeletion {
		key, err = m.CancelKeyDeletion(ctx, key.ID)
	}
	if err == nil && key.State == kms.Disabled {
		key, err = m.EnableKey(ctx, key.ID)
	}
	return key, false, err
}
