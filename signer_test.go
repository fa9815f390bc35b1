package kms_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// selfSigned makes a certificate of a signer for localhost.
func selfSigned(t *testing.T, s crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(nil, template, template, s.Public(), s)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

// TestSignerTLS: a certificate is signed by a key of the service, and a server answers with
// that key, to the standard library's client.
func TestSignerTLS(t *testing.T) {
	for _, spec := range []kms.Spec{kms.SpecECP256, kms.SpecECP384, kms.SpecEd25519, kms.SpecRSA2048} {
		t.Run(string(spec), func(t *testing.T) {
			t.Parallel()
			k := kmstest.New(t)
			s, err := k.Signer(t.Context(), kit.Key(t, k, spec, ""))
			require.NoError(t, err)
			cert := selfSigned(t, s)
			require.NoError(t, cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature))
			roots := x509.NewCertPool()
			roots.AddCert(cert)

			here, there := net.Pipe()
			defer here.Close()
			defer there.Close()
			server := tls.Server(here, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: s}}})
			client := tls.Client(there, &tls.Config{RootCAs: roots, ServerName: "localhost"})
			done := make(chan error, 1)
			go func() {
				_, err := io.WriteString(server, "hello")
				done <- err
			}()
			got := make([]byte, 5)
			_, err = io.ReadFull(client, got)
			require.NoError(t, err)
			require.NoError(t, <-done)
			require.Equal(t, "hello", string(got))
		})
	}
}

// TestSignerOptions: which options are which algorithm, and which are none.
func TestSignerOptions(t *testing.T) {
	ctx, k := t.Context(), kmstest.New(t)
	pss := func(h crypto.Hash, salt int) crypto.SignerOpts { return &rsa.PSSOptions{Hash: h, SaltLength: salt} }
	for _, c := range []struct {
		spec      kms.Spec
		good, bad []crypto.SignerOpts
	}{
		{kms.SpecECP256, []crypto.SignerOpts{crypto.SHA256}, []crypto.SignerOpts{nil, crypto.Hash(0), crypto.SHA1, crypto.SHA384, pss(crypto.SHA256, 0)}},
		{kms.SpecEd25519, []crypto.SignerOpts{nil, crypto.Hash(0), &ed25519.Options{}},
			[]crypto.SignerOpts{crypto.SHA512, &ed25519.Options{Context: "x"}, &ed25519.Options{Hash: crypto.SHA512}, pss(0, 0)}},
		{kms.SpecMLDSA65, []crypto.SignerOpts{nil, crypto.Hash(0)}, []crypto.SignerOpts{crypto.SHA256}},
		{kms.SpecRSA2048, []crypto.SignerOpts{crypto.SHA256, crypto.SHA384, crypto.SHA512, pss(crypto.SHA256, rsa.PSSSaltLengthAuto),
			pss(crypto.SHA384, rsa.PSSSaltLengthEqualsHash), pss(crypto.SHA512, 64)},
			[]crypto.SignerOpts{nil, crypto.SHA1, pss(crypto.SHA256, 20), pss(crypto.SHA1, -1), pss(0, 0)}},
	} {
		s, err := k.Signer(ctx, kit.Key(t, k, c.spec, ""))
		require.NoError(t, err)
		message := []byte("message")
		for _, o := range c.good {
			made, err := s.(crypto.MessageSigner).SignMessage(nil, message, o)
			require.NoError(t, err)
			input := message
			if o != nil && o.HashFunc() != 0 {
				h := o.HashFunc().New()
				h.Write(message)
				input = h.Sum(nil)
			}
			other, err := s.Sign(nil, input, o)
			require.NoError(t, err)
			if public, ok := s.Public().(*rsa.PublicKey); ok {
				for _, made := range [][]byte{made, other} {
					if p, isPSS := o.(*rsa.PSSOptions); isPSS {
						require.NoError(t, rsa.VerifyPSS(public, p.Hash, input, made, &rsa.PSSOptions{SaltLength: p.Hash.Size()}))
					} else {
						require.NoError(t, rsa.VerifyPKCS1v15(public, o.HashFunc(), input, made))
					}
				}
			}
		}
		for _, o := range c.bad {
			for _, err := range []error{kit.Err(s.Sign(nil, make([]byte, 32), o)), kit.Err(s.(crypto.MessageSigner).SignMessage(nil, message, o))} {
				require.Equal(t, []string{"ErrUsage"}, kit.Conditions(err), "%s %v", c.spec, o)
			}
		}
	}
	for _, spec := range []kms.Spec{kms.SpecAES256, kms.SpecHMAC256} {
		require.ErrorIs(t, kit.Err(k.Signer(ctx, kit.Key(t, k, spec, ""))), kms.ErrUnsupported)
		require.ErrorIs(t, kit.Err(k.GetPublicKey(ctx, kit.Key(t, k, spec, ""))), kms.ErrUnsupported)
	}
	decrypts := kit.Key(t, k, kms.SpecRSA2048, kms.UsageEncryptDecrypt)
	require.ErrorIs(t, kit.Err(k.Signer(ctx, decrypts)), kms.ErrUnsupported)
	require.ErrorIs(t, kit.Err(k.Decrypter(ctx, kit.Key(t, k, kms.SpecEd25519, ""))), kms.ErrUnsupported)
}

// TestSignerObeys: a signer holds on to its key, whose life it obeys, and to its context.
func TestSignerObeys(t *testing.T) {
	k := kmstest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	id := kit.Key(t, k, kms.SpecECP256, "")
	require.NoError(t, k.CreateAlias(ctx, "alias/s", id))
	s, err := k.Signer(ctx, "alias/s")
	require.NoError(t, err)
	require.NoError(t, k.UpdateAlias(ctx, "alias/s", kit.Key(t, k, kms.SpecEd25519, "")))
	digest := sha256.Sum256(nil)
	sign := func() error { return kit.Err(s.Sign(nil, digest[:], crypto.SHA256)) }
	require.NoError(t, sign())
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.ErrorIs(t, sign(), kms.ErrDisabled)
	require.NoError(t, kit.Err(k.GetPublicKey(ctx, id)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
	require.ErrorIs(t, sign(), kms.ErrPendingDeletion)
	require.ErrorIs(t, kit.Err(k.GetPublicKey(ctx, id)), kms.ErrPendingDeletion)
	require.NoError(t, kit.Err(k.CancelKeyDeletion(ctx, id)))
	require.NoError(t, kit.Err(k.EnableKey(ctx, id)))
	require.NoError(t, sign())
	require.NoError(t, kit.Err(k.DisableKey(ctx, id)))
	require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
	k.Clock.AdvanceDays(7)
	require.ErrorIs(t, sign(), kms.ErrNotFound)

	id = kit.Key(t, k, kms.SpecECP256, "")
	s, err = k.Another(t).Signer(ctx, id)
	require.NoError(t, err)
	cancel()
	if err := sign(); err != nil { // an opened key needs no waiting
		require.ErrorIs(t, err, context.Canceled)
	}
}
