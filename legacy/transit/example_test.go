package transit_test

import (
	"context"
	"fmt"
	"log"

	"github.com/keyhold/kms/legacy/transit"
)

// An export is what the engine answers; the ciphertext was made with the associated data
// "customer 7", which its API takes as base64. A program gives the Source to the service.
func ExampleNew() {
	source, err := transit.New(transit.Export{Key: []byte(`{"data": {
		"name": "cards",
		"type": "aes256-gcm96",
		"keys": {"2": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}
	}}`)})
	if err != nil {
		log.Fatal(err)
	}
	ciphertext := []byte("vault:v2:AAECAwQFBgcICQoLToTJGPks5Z2ZN+dNbXy6kG2955qYlNq+4A==")
	fmt.Println(source.Locate(ciphertext))
	for key, err := range source.Keys(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		v := key.Versions[0]
		opened, err := source.Open(v.Locator, v.Material())
		if err != nil {
			log.Fatal(err)
		}
		plaintext, err := opened.Decrypt(ciphertext, map[string]string{transit.ContextKey: "customer 7"})
		fmt.Println(key.Description, string(plaintext), err)
	}
	// Output:
	// [v2]
	// cards card 4711 <nil>
}
