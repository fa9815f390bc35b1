package main

import (
	"context"
	"crypto/rand"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
)

// newManager is the service with software keys, under a root of its own.
func newManager(ctx context.Context, s keystore.Store, root kms.Root, cacheKeys int) *kms.Manager {
	return must(kms.Open(ctx, kms.Config{Store: s, Root: root, Software: software.New(), CacheKeys: cacheKeys}))
}

func newRoot() kms.Root { return must(software.NewRoot(randomBytes(32))) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// keyhold is this module three times: the calls that return what they made, the same where nothing
// runs Manager.Run, and the calls that append it to a buffer of the caller.
func keyhold(ctx context.Context, keys int) []*contestant {
	served, into := users(ctx, keys, true)
	alone, _ := users(ctx, keys, false)
	served.name, served.what = "keyhold", "this module, in a program that has Manager.Run running"
	alone.name, alone.what = "keyhold alone", "the same without Manager.Run, so that each use reads the clock to be dated"
	into.name, into.what = "keyhold append", "this module with Manager.Run running, and buffers of the caller"
	return []*contestant{served, alone, into}
}

// users are those of a service, by plain calls and by those that append.
func users(ctx context.Context, keys int, run bool) (plain, into *contestant) {
	m := newManager(ctx, new(keystore.Memory), newRoot(), keys)
	ids := make([]string, keys)
	for i := range ids {
		ids[i] = must(m.CreateKey(ctx, nil)).ID
	}
	if run {
		go func() { _ = m.Run(ctx) }()
	}
	plain = &contestant{
		dataKey: func(i int) {
			k := must(m.GenerateDataKey(ctx, ids[i], nil))
			keep(k.Ciphertext)
		},
		encrypt: func(i int, plaintext []byte) { keep(must(m.Encrypt(ctx, ids[i], plaintext, nil))) },
		opener: func(i int, plaintext []byte) func() {
			c := must(m.Encrypt(ctx, ids[i], plaintext, nil))
			return func() { keep(must(m.Decrypt(ctx, c, nil))) }
		},
	}
	into = &contestant{
		dataKey: func(i int) {
			b := buffers.Get().(*buffer)
			keep(must(m.AppendDataKey(ctx, b.out[:0], ids[i], b.key[:], nil)))
			buffers.Put(b)
		},
		encrypt: func(i int, plaintext []byte) {
			b := buffers.Get().(*buffer)
			keep(must(m.AppendEncrypt(ctx, b.out[:0], ids[i], plaintext, nil)))
			buffers.Put(b)
		},
		opener: func(i int, plaintext []byte) func() {
			c := must(m.Encrypt(ctx, ids[i], plaintext, nil))
			return func() {
				b := buffers.Get().(*buffer)
				keep(must(m.AppendDecrypt(ctx, b.out[:0], c, nil)))
				buffers.Put(b)
			}
		},
	}
	return plain, into
}
