package sealing

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
)

const (
	// MACSize is the size of the MAC of an item, in bytes.
	MACSize = sha256.Size

	// MaxBody is the size of the longest content of an item, in bytes: 896 KiB. With what stands
	// before it, it is a value that every key store takes. A record at all its bounds takes less.
	MaxBody = 896 << 10
)

var (
	// ErrItem is returned if the instance did not write exactly that item, and for content that
	// JSON cannot hold.
	ErrItem = errors.New("sealing: not an item of the instance")

	// ErrTooLarge is returned for content that is longer than MaxBody.
	ErrTooLarge = errors.New("sealing: the content is too large")
)

// Encode returns v as the content of the item called name, authenticated. An item is
//
//	0x01 | length of instance ID | instance ID | MAC (32 bytes) | JSON
//
// where the MAC covers the store's ID, the item's name and everything before and after it.
func (k *Keys) Encode(name string, v any) ([]byte, error) {
	body, err := JSON(v)
	switch {
	case err != nil: // a date that JSON cannot hold
		return nil, ErrItem
	case len(body) > MaxBody:
		return nil, ErrTooLarge
	}
	return k.Authenticate(name, body), nil
}

// JSON returns v as the JSON that items hold: without the escapes that HTML needs, which take six
// bytes for one.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Authenticate returns body as the content of the item called name, with the MAC before it.
func (k *Keys) Authenticate(name string, body []byte) []byte {
	start := prefix(k.id)
	return append(append(start, k.mac(name, start, body)...), body...)
}

// Wrote reports whether these very keys authenticate an item, and returns its content. It does not
// try the former keys.
func (k *Keys) Wrote(name string, value []byte) (body []byte, ok bool) {
	mac, body, ok := split(k.id, value)
	if !ok || len(body) > MaxBody {
		return nil, false
	}
	return body, hmac.Equal(mac, k.mac(name, prefix(k.id), body))
}

// Decode fills v from the content of the item called name. It returns ErrItem unless the present
// or the former keys authenticate the item, and its content is what Encode writes.
func (k *Keys) Decode(name string, value []byte, v any) error {
	body, ok := k.Wrote(name, value)
	if !ok && k.former != nil {
		body, ok = k.former.Wrote(name, value)
	}
	if !ok {
		return ErrItem
	}
	return Strictly(body, v)
}

// Strictly fills v from JSON that has no field which v lacks, and nothing after it.
func Strictly(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if d.Decode(v) != nil || d.InputOffset() != int64(len(body)) {
		return ErrItem
	}
	return nil
}

// Named returns the ID of the instance that an item says it belongs to. The caller checks whether
// it can be one.
func Named(value []byte) (id string, ok bool) {
	if len(value) < 2 || value[0] != 1 || len(value) < 2+int(value[1]) {
		return "", false
	}
	return string(value[2 : 2+int(value[1])]), true
}

// Peek returns the content of an item that says it belongs to the instance, before anything of it
// was authenticated.
func Peek(id string, value []byte) (body []byte, ok bool) {
	_, body, ok = split(id, value)
	return body, ok
}

// MAC returns the MAC of an item, or the bytes in its place.
func MAC(value []byte) (mac [MACSize]byte) {
	if len(value) > 2 && len(value) > 2+int(value[1]) {
		copy(mac[:], value[2+int(value[1]):])
	}
	return mac
}

// prefix is the start of every item of an instance.
func prefix(id string) []byte { return append([]byte{1, byte(len(id))}, id...) }

// split takes an item of an instance apart.
func split(id string, value []byte) (mac, body []byte, ok bool) {
	rest, ok := bytes.CutPrefix(value, prefix(id))
	if !ok || len(rest) < MACSize {
		return nil, nil, false
	}
	return rest[:MACSize], rest[MACSize:], true
}

func (k *Keys) mac(name string, prefix, body []byte) []byte {
	h := hmac.New(sha256.New, k.macKey())
	h.Write(Join([]byte("keyhold record v1"), k.storeID, []byte(name), prefix, body))
	return h.Sum(nil)
}
