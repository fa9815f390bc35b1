//go:build cgo

package hsm

import (
	"context"
	"fmt"

	"github.com/miekg/pkcs11"
)

// Health looks whether the token is there, logged in, and shows its witness; if not, it is an
// error, as every call would get.
func (t *Token) Health(ctx context.Context) (Health, error) {
	return do(ctx, t, using, func(s *session) (Health, error) {
		if err := s.see(s.g.witness); err != nil {
			return Health{}, err
		}
		info, err := s.g.p.GetTokenInfo(s.g.slot)
		if err != nil {
			return Health{}, s.fail("C_GetTokenInfo", err)
		}
		return Health{
			Label: info.Label, Serial: info.SerialNumber, Manufacturer: info.ManufacturerID, Model: info.Model,
			Firmware: version(info.FirmwareVersion), Busy: len(s.g.tickets), Most: cap(s.g.tickets),
			Connections: int(t.connections.Load()),
		}, nil
	})
}

func version(v pkcs11.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }
