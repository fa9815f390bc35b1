// Package unfilled recognises a buffer that nobody filled: it stands where the bytes of a key should
// be, and all its bytes are equal. Whatever takes the bytes of a key in the clear asks it first.
package unfilled

// Buffer reports whether all bytes of b are equal, in a time that depends on the length alone. An
// empty buffer is one that nobody filled. No key that somebody made at random looks so: with 16 bytes
// it happens once in 2^120 keys.
func Buffer(b []byte) bool {
	var differ byte
	for _, c := range b {
		differ |= c ^ b[0]
	}
	return differ == 0
}
