package tinkkms_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log"

	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
	"github.com/keyhold/kms/tinkkms"
)

// A keyset of Tink is kept encrypted under a key of the service. The associated data says
// whose it is, and must be given again to read it.
func Example() {
	ctx := context.Background()
	secret := make([]byte, 32) // a program keeps it; see software.CreateRootFile
	_, _ = rand.Read(secret)   // never fails
	root, err := software.NewRoot(secret)
	if err != nil {
		log.Fatal(err)
	}
	m, err := kms.Open(ctx, kms.Config{Store: new(keystore.Memory), Root: root, Software: software.New()})
	if err != nil {
		log.Fatal(err)
	}
	key, err := m.CreateKey(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.CreateAlias(ctx, "alias/keysets", key.ID); err != nil {
		log.Fatal(err)
	}

	master := tinkkms.AEAD(m, "alias/keysets")
	handle, err := keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate())
	if err != nil {
		log.Fatal(err)
	}
	var kept bytes.Buffer // a file, or a column
	if err := handle.WriteWithContext(ctx, keyset.NewBinaryWriter(&kept), master, []byte("tenant 7")); err != nil {
		log.Fatal(err)
	}

	handle, err = keyset.ReadWithContext(ctx, keyset.NewBinaryReader(&kept), master, []byte("tenant 7"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(handle.KeysetInfo().GetKeyInfo()[0].GetTypeUrl())
	// Output: type.googleapis.com/google.crypto.tink.HmacKey
}
