package kms_test

import (
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

// Private RSA keys that no library would make, as PKCS #8.

var oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

func rawRSA(t testing.TB, n *big.Int, e int, d, p, q, dp, dq, qinv *big.Int) []byte {
	t.Helper()
	inner, err := asn1.Marshal(struct {
		Version           int
		N                 *big.Int
		E                 int
		D, P, Q           *big.Int
		Dp, Dq, Qinverted *big.Int
	}{0, n, e, d, p, q, dp, dq, qinv})
	require.NoError(t, err)
	der, err := asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}, inner})
	require.NoError(t, err)
	return der
}

// rawKey computes what follows from two numbers that may be no primes. A nil d is computed as
// if they were; where there is none it is 1.
func rawKey(t testing.TB, p, q *big.Int, e int, d *big.Int) []byte {
	t.Helper()
	one := big.NewInt(1)
	less := func(x *big.Int) *big.Int { return new(big.Int).Sub(x, one) }
	phi := new(big.Int).Mul(less(p), less(q))
	if d == nil {
		if d = new(big.Int).ModInverse(big.NewInt(int64(e)), phi); d == nil {
			d = one
		}
	}
	inverse := new(big.Int).ModInverse(q, p)
	if inverse == nil {
		inverse = one
	}
	return rawRSA(t, new(big.Int).Mul(p, q), e, d, p, q, new(big.Int).Mod(d, less(p)), new(big.Int).Mod(d, less(q)), inverse)
}

// bigNumber returns random numbers of that many bits until one will do.
func bigNumber(t testing.TB, bits int, will func(*big.Int) bool) *big.Int {
	t.Helper()
	for {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
		require.NoError(t, err)
		n.SetBit(n, bits-1, 1)
		n.SetBit(n, bits-2, 1)
		n.SetBit(n, 0, 1)
		if will(n) {
			return n
		}
	}
}

// coprime tells whether an exponent can be inverted beside p.
func coprime(p *big.Int, e int64) bool {
	less := new(big.Int).Sub(p, big.NewInt(1))
	return new(big.Int).GCD(nil, nil, less, big.NewInt(e)).Cmp(big.NewInt(1)) == 0
}

func prime(e int64) func(*big.Int) bool {
	return func(n *big.Int) bool { return coprime(n, e) && n.ProbablyPrime(1) }
}

func nextPrime(p *big.Int) *big.Int {
	for n := new(big.Int).Add(p, big.NewInt(2)); ; n.Add(n, big.NewInt(2)) {
		if prime(65537)(n) {
			return n
		}
	}
}

func rsaWithExponent(t testing.TB, e int) []byte {
	return rawKey(t, bigNumber(t, 1024, prime(int64(e))), bigNumber(t, 1024, prime(int64(e))), e, nil)
}

func unequalRSA(t testing.TB) []byte {
	return rawKey(t, bigNumber(t, 1536, prime(65537)), bigNumber(t, 512, prime(65537)), 65537, nil)
}

// compositeRSA has a modulus of three primes under the name of two: all that is looked at
// without a primality test is consistent.
func compositeRSA(t testing.TB) []byte {
	q := bigNumber(t, 1024, func(n *big.Int) bool { return coprime(n, 65537) && !n.ProbablyPrime(1) })
	return rawKey(t, bigNumber(t, 1024, prime(65537)), q, 65537, nil)
}

// hugeRSA is consistent, of 14 000 bits.
func hugeRSA(t testing.TB) []byte {
	odd := func(n *big.Int) bool { return coprime(n, 65537) }
	return rawKey(t, bigNumber(t, 7000, odd), bigNumber(t, 7000, odd), 65537, nil)
}
