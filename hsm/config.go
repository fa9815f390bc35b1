package hsm

import (
	"errors"
	"fmt"
)

// ErrConfig is Open's answer to a Config that cannot be right.
var ErrConfig = errors.New("hsm: the configuration is not complete")

// Config says which token to open, and how.
type Config struct {
	// Module is the path of the PKCS#11 module, a shared library. Required.
	Module string

	// TokenLabel or Serial name the token. One of them is required.
	TokenLabel, Serial string

	// PIN returns the PIN of the token's user. It is asked whenever a connection is made, and
	// what it returned is not kept. A PIN that the token refused is not tried a second time.
	// Required.
	PIN func() (string, error)

	// MaxSessions is how many calls may be in the module at once: 2 to 256, zero is 16. The
	// token has to have twice as many sessions and two; where it says that it has fewer, it is
	// fewer calls.
	MaxSessions int
}

func (c Config) sessions() int {
	if c.MaxSessions == 0 {
		return 16
	}
	return c.MaxSessions
}

func (c Config) check() error {
	switch {
	case c.Module == "":
		return fmt.Errorf("%w: Module is required", ErrConfig)
	case (c.TokenLabel == "") == (c.Serial == ""):
		return fmt.Errorf("%w: one of TokenLabel and Serial is required", ErrConfig)
	case c.PIN == nil:
		return fmt.Errorf("%w: PIN is required", ErrConfig)
	case c.sessions() < 2 || c.sessions() > 256:
		return fmt.Errorf("%w: MaxSessions is not 2 to 256", ErrConfig)
	}
	return nil
}
