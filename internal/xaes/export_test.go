package xaes

// MessageKey returns the key of the message with that salt, so that tests can seal with
// nonces of their choice.
func (k *Key) MessageKey(salt []byte) []byte {
	var key [KeySize]byte
	k.expanded().messageKey(&key, salt)
	return key[:]
}
