package memory_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
)

// childVariable is the environment variable that makes this test the child.
const childVariable = "KEYHOLD_TEST_MEMORY"

// child uses keys, tells its secrets to its parent from the very buffers that it wipes then, and waits.
func child() {
	debug.SetGCPercent(-1) // no memory is used again, and so nothing is gone by chance
	ctx := context.Background()
	rootKey := got(read(os.Stdin))
	root := got(software.NewRoot(rootKey))
	store := new(keystore.Memory)
	m := got(kms.Open(ctx, kms.Config{Store: store, Root: root, Software: software.New()}))
	key := got(m.CreateKey(ctx, nil))
	ec := kms.EncryptionContext{"table": "invoices"}

	live := make([]byte, 32)
	rand.Read(live)
	tell("a live key", live)
	useDataKeys(ctx, m, key.ID, ec)
	usePlaintexts(ctx, m, key.ID, ec)
	importKey(ctx, m, store)
	tell("done", nil)
	_, _ = read(os.Stdin) // until the parent ends this process
	runtime.KeepAlive(live)
}

func useDataKeys(ctx context.Context, m *kms.Manager, key string, ec kms.EncryptionContext) {
	made := got(m.GenerateDataKey(ctx, key, ec))
	opened := got(m.Decrypt(ctx, made.Ciphertext, ec))
	must(bytes.Equal(opened, made.Plaintext()))
	tell("a data key", made.Plaintext())
	made.Wipe()
	tell("a data key that was opened", opened)
	clear(opened)
}

func usePlaintexts(ctx context.Context, m *kms.Manager, key string, ec kms.EncryptionContext) {
	plaintext := make([]byte, 200)
	rand.Read(plaintext)
	sealed := got(m.Encrypt(ctx, key, plaintext, ec))
	opened := got(m.Decrypt(ctx, sealed, ec))
	tell("a plaintext", plaintext)
	clear(plaintext)
	tell("a plaintext that was opened", opened)
	clear(opened)
}

func importKey(ctx context.Context, m *kms.Manager, store keystore.Store) {
	external := got(m.CreateKey(ctx, &kms.CreateKeyOptions{Origin: kms.OriginExternal}))
	p := got(m.GetParametersForImport(ctx, external.ID, &kms.ImportOptions{Algorithm: kms.WrapAESKeyWrap}))
	tell("the instance", got(store.Get(ctx, "instance/"+kms.DefaultInstance)).Value)
	tell("the key to import into", []byte(external.ID))
	tell("the public key", p.PublicKey)
	tell("the token", p.Token)
	got(m.ImportKeyMaterial(ctx, external.ID, got(read(os.Stdin)), p.Token, time.Time{}))
	c := got(m.Encrypt(ctx, external.ID, []byte("x"), nil))
	got(m.Decrypt(ctx, c, nil))
}

// tell sends a name and bytes to the parent. A file does not copy what it writes.
func tell(name string, b []byte) {
	if err := write(os.Stdout, []byte(name)); err != nil {
		os.Exit(1)
	}
	if err := write(os.Stdout, b); err != nil {
		os.Exit(1)
	}
}

func got[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "the child:", err)
		os.Exit(1)
	}
	return v
}

func must(ok bool) {
	if !ok {
		fmt.Fprintln(os.Stderr, "the child: a data key is not what it was")
		os.Exit(1)
	}
}
