package xaes

// MessageKey returns the key of the message with that salt, so that tests can seal with
// nonces of their choice.
func (k *Key) MessageKey(salt []byte) []byte {
	e := k.expanded()
	block, err := e.block(false)
	if err != nil {
		panic(err)
	}
	var key [KeySize]byte
	e.messageKey(&key, block, salt)
	return key[:]
}

// Kept counts the message keys that k keeps.
func (k *Key) Kept() (sealers, openers int) {
	e := k.expanded()
	if e.sealer.Load() != nil {
		sealers++
	}
	for i := range e.openers {
		if e.openers[i].Load() != nil {
			openers++
		}
	}
	return sealers, openers
}
