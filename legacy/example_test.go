package legacy_test

import (
	"fmt"

	"github.com/keyhold/kms/legacy"
)

// A key of a system that knows keys by their names.
func ExampleNameID() {
	fmt.Println(legacy.NameID("vault-transit", "orders"))
	// Output: 2ef215bc-e650-80dc-8363-fc20a4c35caf
}
