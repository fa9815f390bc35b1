// Command hsm keeps master keys in a hardware module: it makes one in a token, encrypts and signs
// with keys that never leave it, and looks whether the token has keys that nobody keeps.
//
// With SoftHSM, which is software and behaves like a module, on Debian or Ubuntu:
//
//	apt-get install softhsm2
//	softhsm2-util --init-token --free --label kms --so-pin 12345678 --pin 1234
//	HSM_PIN=1234 go run ./examples/hsm
//
// For another module change the path and the token's label, by -module and -token; nothing else
// is different. The module has to come with the token's driver, as /opt/…/libCryptoki2_64.so; it
// is loaded into this process. Give the PIN by a file or a vault rather than the environment.
//
// The folder holds the key store (keys.db). There is no root key in a file: a key in the token
// is the root, too.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/hsm"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/provider"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hsm:", err)
		if hint := kms.Hint(err); hint != "" {
			fmt.Fprintln(os.Stderr, "hint:", hint)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet("hsm", flag.ExitOnError)
	module := flags.String("module", "/usr/lib/softhsm/libsofthsm2.so", "`path` of the PKCS#11 module")
	label := flags.String("token", "kms", "`label` of the token")
	dir := flags.String("dir", "", "`folder` of the key store (default: keyhold-hsm in the user's cache)")
	_ = flags.Parse(args) // ends the program where it fails
	if *dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no cache folder, name one with -dir: %w", err)
		}
		*dir = filepath.Join(cache, "keyhold-hsm")
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return err
	}

	token, err := hsm.Open(ctx, hsm.Config{Module: *module, TokenLabel: *label, PIN: pin})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, token.Close()) }()
	health, err := token.Health(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Token %q: %s by %s\n", health.Label, health.Model, health.Manufacturer)

	// The first start makes root and key store, in this order: a root is made only while there is no
	// key store that another root could have sealed.
	path := filepath.Join(*dir, "keys.db")
	_, err = os.Stat(path)
	first := errors.Is(err, fs.ErrNotExist)
	root, err := token.Root(ctx, "example")
	if first && errors.Is(err, provider.ErrNoKey) {
		root, err = token.CreateRoot(ctx, "example")
	}
	if err != nil {
		return err
	}
	store, err := boltstore.Open(path, &boltstore.Options{Create: first})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	m, err := kms.Open(ctx, kms.Config{Store: store, Root: root, HSM: token})
	if err != nil {
		return err
	}
	if err := encrypt(ctx, out, m); err != nil {
		return err
	}
	if err := sign(ctx, out, m); err != nil {
		return err
	}
	return orphans(ctx, out, m, token)
}

// pin is asked for whenever the token has to be logged in to, and not kept.
func pin() (string, error) {
	if p, ok := os.LookupEnv("HSM_PIN"); ok {
		return p, nil
	}
	return "", errors.New("set HSM_PIN")
}

// keyOf finds a key by its alias, or makes it.
func keyOf(ctx context.Context, m *kms.Manager, alias string, opts kms.CreateKeyOptions) (kms.Key, error) {
	key, err := m.DescribeKey(ctx, alias)
	if !errors.Is(err, kms.ErrNotFound) {
		return key, err
	}
	if key, err = m.CreateKey(ctx, &opts); err != nil {
		return kms.Key{}, err
	}
	return key, m.CreateAlias(ctx, alias, key.ID)
}

func encrypt(ctx context.Context, out io.Writer, m *kms.Manager) error {
	key, err := keyOf(ctx, m, "alias/example-encrypt", kms.CreateKeyOptions{Protection: kms.ProtectionHSM})
	if err != nil {
		return err
	}
	ec := kms.EncryptionContext{"table": "invoices"}
	ciphertext, err := m.Encrypt(ctx, key.ID, []byte("secret"), ec)
	if err != nil {
		return err
	}
	plaintext, err := m.Decrypt(ctx, ciphertext, ec)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Encrypted in the token by %s: %d bytes; decrypted: %q\n", key.ID, len(ciphertext), plaintext)
	return nil
}

func sign(ctx context.Context, out io.Writer, m *kms.Manager) error {
	key, err := keyOf(ctx, m, "alias/example-sign", kms.CreateKeyOptions{Protection: kms.ProtectionHSM, Spec: kms.SpecECP256})
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte("a document"))
	signature, err := m.SignDigest(ctx, key.ID, kms.SignECDSASHA256, digest[:])
	if err != nil {
		return err
	}
	if err := m.VerifyDigest(ctx, key.ID, kms.SignECDSASHA256, digest[:], signature); err != nil {
		return err
	}
	fmt.Fprintf(out, "Signed in the token by %s: %d bytes\n", key.ID, len(signature))
	return nil
}

// orphans lists the keys in the token that the key store knows nothing of: those of other key
// stores in the same token, and what was left behind where a process was killed.
func orphans(ctx context.Context, out io.Writer, m *kms.Manager, token *hsm.Token) error {
	found, err := token.Orphans(ctx, func(id string) bool {
		ref, version, _ := strings.Cut(id, "/")
		versions, err := m.KeyVersions(ctx, ref)
		for _, v := range versions {
			if strconv.Itoa(v.Version) == version {
				return true
			}
		}
		return err != nil && !errors.Is(err, kms.ErrNotFound) // not known: believe that it is kept
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Keys in the token that this key store does not know: %d\n", len(found))
	for _, o := range found {
		fmt.Fprintf(out, "  %s, CKA_ID %s\n", o.ID, o.CKAID)
	}
	return nil
}
