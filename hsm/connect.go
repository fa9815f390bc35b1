//go:build cgo

package hsm

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/keyhold/kms/provider"
)

// connect makes a generation: module, login, and the witness seen.
func (t *Token) connect() (*generation, error) {
	pin, err := t.cfg.PIN()
	if err != nil {
		return nil, fmt.Errorf("%w: no PIN: %w", provider.ErrUnavailable, err)
	}
	if t.refused(pin) {
		return nil, fmt.Errorf("%w: it was refused before, and not tried again", ErrCredentials)
	}
	n := t.cfg.sessions()
	g, err := t.login(pin, n)
	if err != nil {
		if errors.Is(err, ErrCredentials) {
			sum := sha256.Sum256([]byte(pin))
			t.refused = func(pin string) bool { return sha256.Sum256([]byte(pin)) == sum }
		}
		return nil, err
	}
	if most := g.info.MaxRwSessionCount; most != pkcs11.CK_EFFECTIVELY_INFINITE && most != pkcs11.CK_UNAVAILABLE_INFORMATION {
		n = max(1, min(n, int(min(most, 1<<20)-2)/2))
	}
	g.tickets, g.idle = make(chan struct{}, n), make(chan pkcs11.SessionHandle, n)
	g.alone, g.gone = make(chan struct{}, 1), make(chan struct{})
	if err := t.recognise(g); err != nil {
		g.retire()
		return nil, err
	}
	return g, nil
}

// login loads the module and logs in, by crypto11, and opens the module a second time for what
// crypto11 cannot do.
func (t *Token) login(pin string, sessions int) (*generation, error) {
	// One session more is what crypto11 keeps for itself.
	cfg := &crypto11.Config{Path: t.cfg.Module, TokenLabel: t.cfg.TokenLabel, TokenSerial: t.cfg.Serial,
		Pin: pin, MaxSessions: sessions + 1, GCMIVLength: ivSize}
	defer func() { cfg.Pin = "" }()
	c11, err := crypto11.Configure(cfg)
	if hasCode(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) {
		// Somebody finalised the module under the count that crypto11 keeps.
		c11, err = afterInitialize(cfg)
	}
	if err != nil {
		return nil, connecting(err)
	}
	g := &generation{c11: c11, p: pkcs11.New(t.cfg.Module)}
	if g.p == nil {
		_ = c11.Close()
		return nil, unavailable("the module cannot be loaded")
	}
	g.own = g.p.Initialize() == nil
	if err := g.enter(t.cfg, pin); err != nil {
		g.close()
		return nil, connecting(err)
	}
	return g, nil
}

func afterInitialize(cfg *crypto11.Config) (*crypto11.Context, error) {
	p := pkcs11.New(cfg.Path)
	if p == nil {
		return nil, unavailable("the module cannot be loaded")
	}
	defer p.Destroy()
	_ = p.Initialize()
	return crypto11.Configure(cfg)
}

// enter finds the token and sees to it that p is logged in.
func (g *generation) enter(cfg Config, pin string) error {
	slots, err := g.p.GetSlotList(true)
	if err != nil {
		return err
	}
	found := false
	for _, slot := range slots {
		info, err := g.p.GetTokenInfo(slot)
		if err != nil {
			return err
		}
		if (cfg.Serial != "" && info.SerialNumber == cfg.Serial) || (cfg.TokenLabel != "" && info.Label == cfg.TokenLabel) {
			g.slot, g.info, found = slot, info, true
			break
		}
	}
	if !found {
		return errNoToken
	}
	h, err := g.p.OpenSession(g.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	defer func() { _ = g.p.CloseSession(h) }()
	state, err := g.p.GetSessionInfo(h)
	if err != nil || state.State == pkcs11.CKS_RW_USER_FUNCTIONS {
		return err
	}
	if err := g.p.Login(h, pkcs11.CKU_USER, pin); !hasCode(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		return err
	}
	return nil
}

// recognise sees to it that this is the token that it was, and that its witness is there.
func (t *Token) recognise(g *generation) error {
	if t.serial != "" && t.serial != g.info.SerialNumber {
		return unavailable("another token than before answers to that name")
	}
	h, err := g.session()
	if err != nil {
		return connecting(err)
	}
	defer func() { _ = g.p.CloseSession(h) }()
	s := &session{g: g, h: h}
	if known := t.witness.Load(); known != nil {
		return s.see(*known)
	}
	id, err := s.findWitness()
	if err != nil {
		return err
	}
	t.witness.Store(&id)
	t.serial = g.info.SerialNumber
	return nil
}

var errNoToken = errors.New("hsm: no slot has that token")

// connecting is the error of a connection that was not made.
func connecting(err error) error {
	if code, ok := errors.AsType[pkcs11.Error](err); ok {
		return newError("connecting", uint(code))
	}
	return unavailable("the module cannot be loaded, or has no such token")
}

func hasCode(err error, code uint) bool {
	got, ok := errors.AsType[pkcs11.Error](err)
	return ok && uint(got) == code
}
