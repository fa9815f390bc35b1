package tinkset_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"log"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/keyhold/kms/legacy/tinkset"
)

// A keyset that a program has, wherever it reads it from, and what it encrypted. A program gives
// the Source to the service.
func ExampleNew() {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		log.Fatal(err)
	}
	source, err := tinkset.New(tinkset.Keyset{Name: "invoices", Handle: handle})
	if err != nil {
		log.Fatal(err)
	}
	for key, err := range source.Keys(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(key.ID, key.Description)
		fmt.Println(key.Versions[0].Locator == fmt.Sprintf("%08x", handle.KeysetInfo().GetPrimaryKeyId()))
	}
	// The associated data "invoice 7" are this encryption context:
	fmt.Println(map[string]string{tinkset.ContextKey: hex.EncodeToString([]byte("invoice 7"))})
	// Output:
	// f3f6b49d-8f0d-88b4-ab71-ee5107fc9b52 invoices
	// true
	// map[associatedData:696e766f6963652037]
}
