package software_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
)

// The service makes these calls. It seals the material before it stores it.
func ExampleNew() {
	ctx := context.Background()
	p := software.New()

	material, err := p.Generate(ctx, "key-1", provider.AES256, provider.UseEncrypt)
	if err != nil {
		log.Fatal(err)
	}
	key, err := p.Open(ctx, "key-1", provider.AES256, material)
	if err != nil {
		log.Fatal(err)
	}

	ciphertext, err := key.Encrypt(ctx, nil, []byte("attack at dawn"), []byte("order 66"))
	if err != nil {
		log.Fatal(err)
	}
	plaintext, err := key.Decrypt(ctx, nil, ciphertext, []byte("order 66"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", plaintext)

	_, err = key.Decrypt(ctx, nil, ciphertext, []byte("order 67"))
	fmt.Println(err)
	// Output:
	// attack at dawn
	// provider: not a ciphertext of this key and associated data
}

// A root from 32 bytes that the program has from elsewhere.
func ExampleNewRoot() {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil { // in a program: from where its secrets are
		log.Fatal(err)
	}
	root, err := software.NewRoot(key)
	if err != nil {
		log.Fatal(err)
	}
	clear(key) // the root has its own copy

	sealed, err := root.Encrypt([]byte("an instance key"), nil)
	if err != nil {
		log.Fatal(err)
	}
	opened, err := root.Decrypt(sealed, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened)

	_, err = software.NewRoot(make([]byte, 32))
	fmt.Println(err)
	// Output:
	// an instance key
	// software: a root key is 32 random bytes
}

// A root from a passphrase that a person types in.
func ExampleNewRootFromPassphrase() {
	root, err := software.NewRootFromPassphrase([]byte("correct horse battery staple"))
	if errors.Is(err, provider.ErrUnsupported) {
		log.Fatal("this program runs with GODEBUG=fips140=only, which has no Argon2id")
	}
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := root.Encrypt([]byte("an instance key"), nil)
	if err != nil {
		log.Fatal(err)
	}
	opened, err := root.Decrypt(sealed, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened)
}

// A root from a file that is made once, with the key store. It belongs elsewhere than the key
// store, and in another backup.
func ExampleCreateRootFile() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "root")

	first, err := software.CreateRootFile(path)
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := first.Encrypt([]byte("an instance key"), nil)
	if err != nil {
		log.Fatal(err)
	}

	// At every later start:
	again, err := software.OpenRootFile(path)
	if err != nil {
		log.Fatal(err)
	}
	opened, err := again.Decrypt(sealed, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened)
	// Output:
	// an instance key
}
