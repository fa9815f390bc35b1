package kms_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/software"
)

// A key signs, and the service verifies. With the public key anybody can.
func ExampleManager_Sign() {
	ctx, m := context.Background(), exampleManager()
	key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Spec: kms.SpecECP256, Description: "releases"})
	if err != nil {
		log.Fatal(err)
	}
	message := []byte("keyhold-1.0.tar.gz, 2026-03-01")
	signature, err := m.Sign(ctx, key.ID, kms.SignECDSASHA256, message)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.Usage)
	fmt.Println(m.Verify(ctx, key.ID, kms.SignECDSASHA256, message, signature))

	err = m.Verify(ctx, key.ID, kms.SignECDSASHA256, []byte("another message"), signature)
	fmt.Println(errors.Is(err, kms.ErrSignature))

	public, err := m.GetPublicKey(ctx, key.ID) // and public.PEM() is for others
	if err != nil {
		log.Fatal(err)
	}
	digest := sha256.Sum256(message)
	fmt.Println(ecdsa.VerifyASN1(public.Key().(*ecdsa.PublicKey), digest[:], signature))
	// Output:
	// SIGN/VERIFY
	// <nil>
	// true
	// true
}

// A signature by an alias does not say which key made it. The event does: Observe leaves it where the
// caller's context says.
func ExampleEvent() {
	type place struct{}
	m, err := kms.Open(context.Background(), kms.Config{
		Store: new(keystore.Memory), Root: exampleRoot(1), Software: software.New(),
		Observe: func(ctx context.Context, e kms.Event) {
			if used, ok := ctx.Value(place{}).(*kms.Used); ok && e.Err == nil {
				*used = kms.Used{KeyID: e.KeyID, KeyVersion: e.KeyVersion}
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Spec: kms.SpecEd25519})
	if err != nil {
		log.Fatal(err)
	}
	if err := m.CreateAlias(ctx, "alias/releases", key.ID); err != nil {
		log.Fatal(err)
	}

	var used kms.Used
	message := []byte("keyhold-1.0.tar.gz, 2026-03-01")
	signature, err := m.Sign(context.WithValue(ctx, place{}, &used), "alias/releases", kms.SignEd25519, message)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(used == kms.Used{KeyID: key.ID, KeyVersion: 1})
	fmt.Println(m.Verify(ctx, used.KeyID, kms.SignEd25519, message, signature)) // also after the alias moved
	// Output:
	// true
	// <nil>
}

// A MAC proves to whoever may ask the service that a message is as it was.
func ExampleManager_GenerateMac() {
	ctx, m := context.Background(), exampleManager()
	key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Spec: kms.SpecHMAC256, Description: "cookies"})
	if err != nil {
		log.Fatal(err)
	}
	mac, err := m.GenerateMac(ctx, key.ID, kms.MacHMACSHA256, []byte("user=7"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(mac), m.VerifyMac(ctx, key.ID, kms.MacHMACSHA256, []byte("user=7"), mac))
	err = m.VerifyMac(ctx, key.ID, kms.MacHMACSHA256, []byte("user=8"), mac)
	fmt.Println(errors.Is(err, kms.ErrSignature))
	// Output:
	// 32 <nil>
	// true
}

// A Signer goes wherever the standard library wants a private key: as the PrivateKey of a
// tls.Certificate, into x509.CreateCertificate. The private key stays in the service.
func ExampleManager_Signer() {
	ctx, m := context.Background(), exampleManager()
	key, err := m.CreateKey(ctx, &kms.CreateKeyOptions{Spec: kms.SpecECP256})
	if err != nil {
		log.Fatal(err)
	}
	signer, err := m.Signer(ctx, key.ID) // ctx for as long as the signer is needed
	if err != nil {
		log.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	signature, err := signer.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest[:], signature))
	// Output: true
}
