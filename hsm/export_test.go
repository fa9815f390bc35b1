//go:build cgo

package hsm

// UnpadOAEP is unpadOAEP.
var UnpadOAEP = unpadOAEP

// ParseReference takes material apart and puts it together again.
func ParseReference(b []byte) (again []byte, err error) {
	r, err := parseReference(b)
	if err != nil {
		return nil, err
	}
	return r.encode(), nil
}
