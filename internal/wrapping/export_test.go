package wrapping

import "crypto/rsa"

// Counted returns an Unwrap that tells count of every step that it takes.
func Counted(count func(step string)) func(scheme Scheme, pkcs8, wrapped []byte) ([]byte, bool) {
	counted := steps{
		oaep: func(private *rsa.PrivateKey, block []byte) ([]byte, bool) {
			count("OAEP")
			return everyStep.oaep(private, block)
		},
		second: map[Scheme]func(key, b []byte) ([]byte, bool){},
	}
	for scheme, second := range everyStep.second {
		counted.second[scheme] = func(key, b []byte) ([]byte, bool) {
			count("the second part")
			return second(key, b)
		}
	}
	return counted.unwrap
}
