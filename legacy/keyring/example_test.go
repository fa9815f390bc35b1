package keyring_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/keyhold/kms/software"
)

// What was exported from the old service is put into a keyring file once. The ciphertext here is
// of the encryption context {"tenant": "7"}.
func ExampleCreate() {
	folder, err := os.MkdirTemp("", "keyring")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	root, err := software.CreateRootFile(filepath.Join(folder, "root"))
	if err != nil {
		log.Fatal(err)
	}
	const id, version = "cfb41abe-c92d-4a24-9b45-5d1d5cd5a9a6", "8bc5dc61-4fcb-4d36-8a92-c32a6c3c48e2"
	path := filepath.Join(folder, "keyring")
	err = keyring.Create(path, root, legacy.Key{ID: id, Versions: []legacy.Version{
		keyring.NewVersion(version, time.Date(2019, 1, 2, 3, 4, 5, 0, time.UTC), []byte("an AES key, which is of 32 bytes")),
	}})
	if err != nil {
		log.Fatal(err)
	}

	source, err := keyring.Open(path, root)
	if err != nil {
		log.Fatal(err)
	}
	ciphertext, _ := hex.DecodeString("38626335646336312d346663622d346433362d386139322d633332613663336334386532000102030405060708090a0bcea6017aada25233acdf2c21b74c1f82e3f263329c0626ac")
	for key, err := range source.Keys(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		v := key.Versions[0]
		fmt.Println(source.Locate(ciphertext)[0] == v.Locator)
		opened, err := source.Open(v.Locator, v.Material())
		if err != nil {
			log.Fatal(err)
		}
		plaintext, err := opened.Decrypt(ciphertext, map[string]string{"tenant": "7"})
		fmt.Println(string(plaintext), err)
	}
	// Output:
	// true
	// data key <nil>
}

// Without keys, a Source opens what was taken over. A program gives it to the service.
func ExampleNew() {
	source, err := keyring.New()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(source.Scheme())
	// Output: kms-1.0
}
