package legacy

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what a Source tells, in bytes.
const (
	MaxScheme      = 32
	MaxLocator     = 64
	MaxLocators    = 4 // that Locate returns
	MaxDescription = 8192
	MaxMaterial    = 64 << 10
)

// Key is a key of another system, as a Source yields it.
type Key struct {
	ID          string    // a UUID: 36 characters, lower case; it stays the key's when it is taken over
	Description string    // up to 8192 bytes of UTF-8
	CreatedAt   time.Time // zero where the other system does not say
	Imported    bool      // the material was made elsewhere, and its owner may still have it
	Rotates     bool      // the other system makes new versions by itself
	Versions    []Version // at least one, the oldest first; the last is the primary
}

// Version is one version of a Key. No printer reaches its material. It is made by NewVersion.
type Version struct {
	Locator   string    // 1 to 64 bytes of a-z, A-Z, 0-9, dash, dot and underscore
	CreatedAt time.Time // zero where the other system does not say
	material  func() []byte
}

// NewVersion returns a version of that material, which it copies: 1 byte to 64 KiB, in whatever
// form the Source's Open takes.
func NewVersion(locator string, createdAt time.Time, material []byte) Version {
	kept := bytes.Clone(material)
	return Version{locator, createdAt, func() []byte { return kept }}
}

// Material returns a copy of the material, which the caller clears after use. That of the zero
// Version is nil.
func (v Version) Material() []byte {
	if v.material == nil {
		return nil
	}
	return bytes.Clone(v.material())
}

// Check returns nil where a key is as the contract wants it, and else ErrKey with what is
// wrong. It does not repeat what it was given.
func (k Key) Check() error {
	switch {
	case !ValidID(k.ID):
		return fmt.Errorf("%w: the ID is not a UUID in lower case", ErrKey)
	case len(k.Description) > MaxDescription:
		return fmt.Errorf("%w: the description is longer than 8192 bytes", ErrKey)
	case !utf8.ValidString(k.Description):
		return fmt.Errorf("%w: the description is not UTF-8", ErrKey)
	case len(k.Versions) == 0:
		return fmt.Errorf("%w: it has no version", ErrKey)
	}
	for _, v := range k.Versions {
		if !ValidLocator(v.Locator) {
			return fmt.Errorf("%w: a locator is not 1 to 64 bytes of a-z, A-Z, 0-9, '-', '.' and '_'", ErrKey)
		}
		material := v.Material()
		n := len(material)
		clear(material)
		if n == 0 || n > MaxMaterial {
			return fmt.Errorf("%w: the material of a version is not 1 byte to 64 KiB", ErrKey)
		}
	}
	return nil
}

// ValidID tells whether s can be the ID of a key: a UUID of whatever version, in lower case.
func ValidID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && strings.IndexByte("0123456789abcdef", s[i]) < 0 {
			return false
		}
	}
	return true
}

// ValidScheme tells whether s can name a scheme: 1 to 32 bytes of a-z, 0-9, dot and dash.
func ValidScheme(s string) bool {
	return s != "" && len(s) <= MaxScheme && only(s, lower+digits+".-")
}

// ValidLocator tells whether s can be a locator: 1 to 64 bytes of a-z, A-Z, 0-9, dash, dot and
// underscore.
func ValidLocator(s string) bool {
	return s != "" && len(s) <= MaxLocator && only(s, lower+upper+digits+"-._")
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

func only(s, allowed string) bool {
	for i := range len(s) {
		if strings.IndexByte(allowed, s[i]) < 0 {
			return false
		}
	}
	return true
}
