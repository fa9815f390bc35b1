package keystoretest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/keystoretest"
)

// All that the author of a driver writes. Here the driver is Memory, which cannot be
// opened again; one that can has a Reopen, too.
func ExampleRun() {
	testStore := func(t *testing.T) { // func TestStore(t *testing.T) {
		keystoretest.Run(t, keystoretest.Driver{
			Open: func(t *testing.T) keystore.Store { return new(keystore.Memory) },
		})
	}
	_ = testStore
}

func ExampleFlaky() {
	ctx := context.Background()
	store := keystoretest.NewFlaky(new(keystore.Memory))

	// The write is made and its answer is lost.
	store.FailNext(keystoretest.Put, true, errors.New("connection reset"))
	_, err := store.Put(ctx, "key/a", "", []byte("sealed"))
	fmt.Println(err)

	item, err := store.Get(ctx, "key/a")
	fmt.Println(string(item.Value), err)
	// Output:
	// connection reset
	// sealed <nil>
}
