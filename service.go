package kms

import "context"

// MaxServiceCode is the longest code of a service, in characters.
const MaxServiceCode = 64

// Service is the view that one service of the program has of the Manager: a component that
// encrypts on behalf of others under a key of its own. It has one key, "alias/acs/" and its
// code, and only this view may change it. Through the Manager the key can be seen and
// used, and every change is refused with ErrReadOnly.
type Service struct {
	m    *Manager
	code string
}

// Service returns the view of the service of that code: 1 to 64 characters out of a-z A-Z 0-9 -.
// Nothing is made before Key is called. Whoever has the Manager can have the view of any
// service; Config.Authorize sees the code as Request.Service.
func (m *Manager) Service(code string) *Service { return &Service{m, code} }

// Alias is the name of the service's key, under which everybody can use it.
func (s *Service) Alias() string { return serviceAliases + s.made().code }

// made is the view, or for a nil pointer the zero one, whose calls are refused.
func (s *Service) made() *Service {
	if s == nil {
		return &Service{}
	}
	return s
}

// Key returns the service's key, and makes it if there is none yet: one of AES_256 in the
// default instance. Where the last one was deleted a new one is made, that opens nothing of
// the old. Where the alias names a key that is not this service's it is ErrReadOnly.
func (s *Service) Key(ctx context.Context) (_ Key, err error) {
	s = s.made()
	c := s.m.begin(OpDescribeKey)
	c.service = s.code
	defer c.end(ctx, &err)
	if !validServiceCode(s.code) {
		return Key{}, badServiceCode(c.op)
	}
	e, err := s.m.lookup(ctx, c, s.Alias(), nil)
	if refusedAs(err, ErrNotFound) {
		e, err = s.m.makeNamed(ctx, c, s.Alias(), nil, serviceKey(s.code))
	}
	if err != nil {
		return Key{}, err
	}
	if r := e.record; r.Owner != OwnerService || r.Service != s.code || r.keys.ID() != DefaultInstance {
		return Key{}, newForeignKeyError(c.op, r)
	}
	return s.m.describe(e.record, s.m.home.Load(), c.now()), nil
}

// serviceKey is the key that a service has.
func serviceKey(code string) namedKey {
	return namedKey{description: "The key of the service " + code + ".", owner: OwnerService, service: code}
}

// newForeignKeyError is what the view of a service answers where its alias names a key that is not
// the service's.
func newForeignKeyError(op Op, r *record) error {
	return &ReadOnlyError{refusal: refusal{op: op, keyID: r.id(), cond: ErrReadOnly, text: "the alias of the service names a key that is not the service's",
		hint: "Encrypt nothing under this alias: the owner of that key can read it. Find out how the alias came to name the key."},
		KeyID: r.id(), Owner: r.Owner, Service: r.Service}
}

// EnableKey is Manager.EnableKey for the service's key.
func (s *Service) EnableKey(ctx context.Context) (Key, error) {
	return s.update(ctx, OpEnableKey, nil, enable)
}

// DisableKey is Manager.DisableKey for the service's key.
func (s *Service) DisableKey(ctx context.Context) (Key, error) {
	return s.update(ctx, OpDisableKey, nil, disable)
}

// RotateKey is Manager.RotateKey for the service's key.
func (s *Service) RotateKey(ctx context.Context) (Key, error) {
	return s.update(ctx, OpRotateKey, nil, s.made().m.rotate(ctx))
}

// UpdateRotationPolicy is Manager.UpdateRotationPolicy for the service's key.
func (s *Service) UpdateRotationPolicy(ctx context.Context, days int) (Key, error) {
	return s.update(ctx, OpUpdateRotationPolicy, checkRotation(days), rotateEvery(days))
}

// RetireKeyVersions is Manager.RetireKeyVersions for the service's key.
func (s *Service) RetireKeyVersions(ctx context.Context, opts RetireOptions) (Key, error) {
	bad := opts.check(OpRetireKeyVersions)
	if s = s.made(); !validServiceCode(s.code) {
		bad = badServiceCode(OpRetireKeyVersions)
	}
	return s.m.retireKeyVersions(ctx, s.code, s.Alias(), bad, opts)
}

// CancelRetirement is Manager.CancelRetirement for the service's key.
func (s *Service) CancelRetirement(ctx context.Context) (Key, error) {
	return s.update(ctx, OpCancelRetirement, nil, cancelRetirement)
}

// ScheduleKeyDeletion is Manager.ScheduleKeyDeletion for the service's key.
func (s *Service) ScheduleKeyDeletion(ctx context.Context, days int) (Key, error) {
	return s.update(ctx, OpScheduleKeyDeletion, checkWindow(days), deleteIn(days))
}

// CancelKeyDeletion is Manager.CancelKeyDeletion for the service's key.
func (s *Service) CancelKeyDeletion(ctx context.Context) (Key, error) {
	return s.update(ctx, OpCancelKeyDeletion, nil, cancelDeletion)
}

func (s *Service) update(ctx context.Context, op Op, bad error, change func(*call, *record) error) (Key, error) {
	if s = s.made(); !validServiceCode(s.code) {
		bad = badServiceCode(op)
	}
	return s.m.updateAs(ctx, s.code, op, s.Alias(), bad, change)
}

// changedBy tells whether a key may be changed by whoever calls: the view of a service, or
// with an empty code the Manager.
func (r *record) changedBy(service string) bool {
	switch r.Owner {
	case OwnerCustomer:
		return service == ""
	case OwnerService:
		return service != "" && service == r.Service
	default:
		return false
	}
}

func validServiceCode(code string) bool {
	return code != "" && len(code) <= MaxServiceCode && only(code, alphanumeric+"-")
}

func badServiceCode(op Op) error {
	return invalid(op, "the service's code is not 1 to %d characters out of a-z A-Z 0-9 -", MaxServiceCode)
}
