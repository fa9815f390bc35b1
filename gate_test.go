package kms_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"go/ast"
	"io"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/keyhold/kms/provider"
)

// TestEndedContext: a context that has ended, by whatever cause, refuses every call alike, whether or
// not the key is in memory, before anything is read.
func TestEndedContext(t *testing.T) {
	t.Parallel()
	why := errors.New("the client hung up")
	caused, cause := context.WithCancelCause(t.Context())
	cause(why)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	for _, warm := range []bool{false, true} {
		m := s.Another(t)
		if warm {
			warmUp(t, s, m)
		}
		before := kit.StoredItems(t, s.KMS)
		touched := 0
		s.Store.OnGet(func(string) error { touched++; return nil })
		s.Store.OnPut(func(string) (bool, error) { touched++; return true, nil })
		for _, ctx := range []context.Context{caused, canceled, late} {
			for name, call := range everyCall(ctx, s, m) {
				err := call()
				require.Equal(t, []string{"ErrCanceled"}, kit.Conditions(err), "%s: %v", name, err)
				require.Equal(t, "Canceled", kms.Code(err), name)
				require.Equal(t, kms.Hint(kms.ErrCanceled), kms.Hint(err), name)
				require.ErrorIs(t, err, ctx.Err(), name)
				require.ErrorIs(t, err, context.Cause(ctx), name)
			}
		}
		require.Zero(t, touched, "something was read")
		s.Store.OnGet(nil)
		s.Store.OnPut(nil)
		require.Equal(t, before, kit.StoredItems(t, s.KMS))
	}
}

// everyCall is kit.EveryCall, and what takes a context besides.
func everyCall(ctx context.Context, s *kit.Subject, m *kms.Manager) map[string]func() error {
	all := kit.EveryCall(ctx, s, m)
	for name, call := range all {
		if call == nil {
			delete(all, name)
		}
	}
	ours := m.Service("ecs")
	for name, call := range map[string]func() error{
		"Close":                        func() error { return m.Close(ctx) },
		"Open":                         func() error { return kit.Err(kms.Open(ctx, s.ConfigWith())) },
		"VerifyBackup":                 func() error { return kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(s.Backup), s.Root)) },
		"Encrypt under the alias":      func() error { return kit.Err(m.Encrypt(ctx, s.Alias, nil, nil)) },
		"Encrypt under alias/default":  func() error { return kit.Err(m.Encrypt(ctx, kms.DefaultKey, nil, nil)) },
		"Decrypt of another system":    func() error { return kit.Err(m.Decrypt(ctx, []byte("vault:v1:AAAA"), nil)) },
		"Aliases of a key":             func() error { return first(m.Aliases(ctx, s.ID)) },
		"Service.Key":                  func() error { return kit.Err(ours.Key(ctx)) },
		"Service.EnableKey":            func() error { return kit.Err(ours.EnableKey(ctx)) },
		"Service.DisableKey":           func() error { return kit.Err(ours.DisableKey(ctx)) },
		"Service.RotateKey":            func() error { return kit.Err(ours.RotateKey(ctx)) },
		"Service.UpdateRotationPolicy": func() error { return kit.Err(ours.UpdateRotationPolicy(ctx, 30)) },
		"Service.ScheduleKeyDeletion":  func() error { return kit.Err(ours.ScheduleKeyDeletion(ctx, 7)) },
		"Service.CancelKeyDeletion":    func() error { return kit.Err(ours.CancelKeyDeletion(ctx)) },
	} {
		all[name] = call
	}
	return all
}

func first[T any](all iter.Seq2[T, error]) (err error) {
	for _, err = range all {
		break
	}
	return err
}

// warmUp has a Manager keep the subject and its alias in memory.
func warmUp(t *testing.T, s *kit.Subject, m *kms.Manager) {
	t.Helper()
	require.NoError(t, kit.Err(m.Encrypt(t.Context(), s.Alias, nil, nil)))
	require.NoError(t, kit.Err(m.Decrypt(t.Context(), s.Ciphertext, nil)))
}

// A cut ends a context within one of the calls that a Manager makes of others.
type cut struct {
	at, seen int
	how      string
	end      context.CancelFunc
}

// cuts are how a context ends within a call: before the work is done, after it, and after it with
// the answer lost.
var cuts = []string{"before", "after", "lost"}

func cutIn[T any](ctx context.Context, c *cut, do func() (T, error)) (T, error) {
	if c.seen++; c.seen != c.at {
		return do()
	}
	if c.how == "before" {
		c.end()
	}
	v, err := do()
	c.end()
	if c.how == "lost" && ctx.Done() != nil {
		var none T
		return none, ctx.Err()
	}
	return v, err
}

type cutStore struct {
	*keystore.Memory
	c *cut
}

func (s cutStore) Get(ctx context.Context, name string) (keystore.Item, error) {
	return cutIn(ctx, s.c, func() (keystore.Item, error) { return s.Memory.Get(ctx, name) })
}

func (s cutStore) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	return cutIn(ctx, s.c, func() (keystore.Version, error) { return s.Memory.Put(ctx, name, old, value) })
}

func (s cutStore) List(ctx context.Context, prefix, after string) iter.Seq2[keystore.Item, error] {
	return func(yield func(keystore.Item, error) bool) {
		for item, err := range s.Memory.List(ctx, prefix, after) {
			if !yield(cutIn(ctx, s.c, func() (keystore.Item, error) { return item, cmp.Or(err, ctx.Err()) })) || ctx.Err() != nil {
				return
			}
		}
	}
}

type cutProvider struct {
	provider.Provider
	c *cut
}

func (p cutProvider) Generate(ctx context.Context, id string, spec provider.Spec, use provider.Use) ([]byte, error) {
	return cutIn(ctx, p.c, func() ([]byte, error) { return p.Provider.Generate(ctx, id, spec, use) })
}

func (p cutProvider) Open(ctx context.Context, id string, spec provider.Spec, material []byte) (provider.Key, error) {
	return cutIn(ctx, p.c, func() (provider.Key, error) {
		key, err := p.Provider.Open(ctx, id, spec, material)
		return cutKey{key, p.c}, err
	})
}

func (p cutProvider) Import(ctx context.Context, id string, spec provider.Spec, use provider.Use, key []byte) ([]byte, error) {
	return cutIn(ctx, p.c, func() ([]byte, error) { return p.Provider.(provider.Importer).Import(ctx, id, spec, use, key) })
}

func (p cutProvider) Destroy(ctx context.Context, id string, material []byte) error {
	return kit.Err(cutIn(ctx, p.c, func() (struct{}, error) { return struct{}{}, p.Provider.Destroy(ctx, id, material) }))
}

type cutKey struct {
	provider.Key
	c *cut
}

func (k cutKey) Encrypt(ctx context.Context, dst, plaintext, associatedData []byte) ([]byte, error) {
	return cutIn(ctx, k.c, func() ([]byte, error) { return k.Key.Encrypt(ctx, dst, plaintext, associatedData) })
}

func (k cutKey) Decrypt(ctx context.Context, dst, ciphertext, associatedData []byte) ([]byte, error) {
	return cutIn(ctx, k.c, func() ([]byte, error) { return k.Key.Decrypt(ctx, dst, ciphertext, associatedData) })
}

type cutRoot struct {
	kms.Root
	c *cut
}

func (r cutRoot) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	return cutIn(context.Background(), r.c, func() ([]byte, error) { return r.Root.Encrypt(plaintext, associatedData) })
}

func (r cutRoot) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	return cutIn(context.Background(), r.c, func() ([]byte, error) { return r.Root.Decrypt(ciphertext, associatedData) })
}

// severalWrites are the calls that take several writes, and may end between two of them.
var severalWrites = []string{"Maintain", "Close", "RotateRoot", "Shred", "ReleaseInstance", "Restore", "Rewrap", "DeleteKeyMaterial",
	"CreateInstance", "Encrypt under alias/default", "Service.Key"}

// TestContextEndsWithin: a context that ends within any call of the store, the provider or the root
// gives what the call gives without that, or ErrCanceled; and then nothing was changed,
// unless the error says that the outcome is unknown.
func TestContextEndsWithin(t *testing.T) {
	t.Parallel()
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	for name := range everyCall(t.Context(), s, s.Manager) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := 0
			for _, warm := range []bool{false, true} {
				usual := tryCut(t, s, name, warm, &cut{})
				for _, how := range cuts {
					for at := 1; ; at++ {
						c := &cut{at: at, how: how}
						got := tryCut(t, s, name, warm, c)
						if c.seen < at {
							break
						}
						if got.err == nil || !slices.Contains(kit.Conditions(got.err), "ErrCanceled") {
							require.Equal(t, kit.Conditions(usual.err), kit.Conditions(got.err), "%s %d: %v", how, at, got.err)
							continue
						}
						ended++
						require.Equal(t, []string{"ErrCanceled"}, kit.Conditions(got.err), "%s %d: %v", how, at, got.err)
						require.Equal(t, "Canceled", kms.Code(got.err))
						require.ErrorIs(t, got.err, context.Canceled)
						u, ok := errors.AsType[*kms.UnavailableError](got.err)
						require.True(t, ok)
						if !u.Unknown {
							require.Equal(t, kms.Hint(kms.ErrCanceled), kms.Hint(got.err))
						}
						if !u.Unknown && !slices.Contains(severalWrites, name) {
							require.Equal(t, got.before, got.after, "%s %d: %v", how, at, got.err)
						}
					}
				}
			}
			t.Log(ended, "times")
		})
	}
}

type cutOutcome struct {
	err           error
	before, after map[string]string
}

func tryCut(t *testing.T, s *kit.Subject, name string, warm bool, c *cut) cutOutcome {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	store := kit.CopyStore(t, s.Store)
	at := c.at
	c.at, c.end = 0, end
	of := *s
	of.KMS = &kmstest.KMS{}
	*of.KMS = *s.KMS
	change := func(cfg *kms.Config) {
		cfg.Store, cfg.Software, cfg.Root = cutStore{store, c}, cutProvider{cfg.Software, c}, cutRoot{cfg.Root, c}
	}
	m := s.Another(t, change)
	if warm {
		warmUp(t, s, m)
	}
	calls := everyCall(ctx, &of, m)
	calls["Open"] = func() error { return kit.Err(kms.Open(ctx, s.ConfigWith(change))) }
	before := contents(t, store)
	c.seen, c.at = 0, at
	err := calls[name]()
	return cutOutcome{err, before, contents(t, store)}
}

// contents are the items of a store except the notes of dates, which may come before a change.
func contents(t *testing.T, store keystore.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for item, err := range store.List(context.Background(), "", "") {
		require.NoError(t, err)
		if !strings.HasPrefix(item.Name, "due/") {
			all[item.Name] = string(item.Value)
		}
	}
	return all
}

// TestStoreTimesOut: a deadline of the store's own, while the context of the call lives, is an outage.
func TestStoreTimesOut(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	m := k.Another(t)
	k.Store.OnGet(func(string) error { return context.DeadlineExceeded })
	err := kit.Err(m.Encrypt(t.Context(), id, nil, nil))
	require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestAuthorizeWithoutAnswer: an Authorize that the end of the context kept from answering has not
// said no, and the call is refused all the same.
func TestAuthorizeWithoutAnswer(t *testing.T) {
	t.Parallel()
	k := kmstest.New(t)
	id := k.MustCreateKey(t).ID
	ctx, cancel := context.WithCancel(t.Context())
	m := k.Another(t, func(c *kms.Config) {
		c.Authorize = func(ctx context.Context, _ kms.Request) error { cancel(); return ctx.Err() }
	})
	require.Equal(t, []string{"ErrCanceled"}, kit.Conditions(kit.Err(m.Encrypt(ctx, id, nil, nil))))
	m = k.Another(t, func(c *kms.Config) {
		c.Authorize = func(context.Context, kms.Request) error { return context.Canceled }
	})
	require.Equal(t, []string{"ErrDenied"}, kit.Conditions(kit.Err(m.Encrypt(t.Context(), id, nil, nil))))
}

// TestDeniedCallersCostTheSame: whoever may do nothing learns nothing from what a call reads: it reads
// at most one item, and as many whether or not what it names is there.
func TestDeniedCallersCostTheSame(t *testing.T) {
	t.Parallel()
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	const noKey, noAlias = "01890000-0000-7000-8000-000000000000", "alias/nothing"
	require.NoError(t, s.CreateAlias(t.Context(), "alias/torn", s.ID))
	kit.EditItem(t, s.KMS, "alias/torn", func(v []byte) []byte { v[len(v)-1] ^= 1; return v })
	with := func(ref, alias, instance string) *kit.Subject {
		of := *s
		of.ID, of.Alias, of.Elsewhere, of.Instance = ref, alias, alias, instance
		if ref == noKey {
			of.Ciphertext = kms.Readdress(s.Ciphertext, noKey)
		}
		return &of
	}
	for _, warm := range []bool{false, true} {
		denied := false
		m := s.Another(t, func(c *kms.Config) {
			c.Authorize = func(context.Context, kms.Request) error {
				if denied {
					return errors.New("no")
				}
				return nil
			}
		})
		if warm {
			warmUp(t, s, m)
		}
		denied = true
		reads := 0
		s.Store.OnGet(func(string) error { reads++; return nil })
		cost := func(of *kit.Subject) map[string]int {
			all := map[string]int{}
			for name, call := range kit.EveryCall(t.Context(), of, m) {
				if call == nil {
					continue
				}
				reads = 0
				err := call()
				require.Contains(t, []string{"ErrDenied", "ErrInvalid"}, kit.Conditions(err)[0], "%s: %v", name, err)
				all[name] = reads
			}
			return all
		}
		there := cost(with(s.ID, s.Alias, s.Instance))
		require.Equal(t, there, cost(with(noKey, noAlias, "nobody")))
		named := cost(with(s.Alias, s.Alias, s.Instance))
		require.Equal(t, named, cost(with(noAlias, noAlias, "nobody")))
		for _, n := range slices.Concat(slices.Collect(maps.Values(there)), slices.Collect(maps.Values(named))) {
			require.LessOrEqual(t, n, 1)
		}
		require.Equal(t, 1, named["Encrypt"])
		cost(with("alias/torn", "alias/torn", "nobody")) // nor does a denied caller learn that a record was changed
		s.Store.OnGet(nil)
	}
}

// exported are the types of the package that are exported and have methods.
var exported = map[string]reflect.Type{
	"Manager": reflect.TypeFor[kms.Manager](), "Service": reflect.TypeFor[kms.Service](), "DataKey": reflect.TypeFor[kms.DataKey](),
	"KeyUsage": reflect.TypeFor[kms.KeyUsage](), "PublicKey": reflect.TypeFor[kms.PublicKey](), "MLDSAPublicKey": reflect.TypeFor[kms.MLDSAPublicKey](),
	"Op": reflect.TypeFor[kms.Op](), "State": reflect.TypeFor[kms.State](), "InstanceState": reflect.TypeFor[kms.InstanceState](),
	"DeletionLevel": reflect.TypeFor[kms.DeletionLevel](), "DeletionPlan": reflect.TypeFor[kms.DeletionPlan](),
	"ReleasePlan": reflect.TypeFor[kms.ReleasePlan](), "RetiredError": reflect.TypeFor[kms.RetiredError](),
	"BlockedError": reflect.TypeFor[kms.BlockedError](), "UnavailableError": reflect.TypeFor[kms.UnavailableError](),
	"InstanceExpiredError": reflect.TypeFor[kms.InstanceExpiredError](), "ReadOnlyError": reflect.TypeFor[kms.ReadOnlyError](),
	"StateError": reflect.TypeFor[kms.StateError](), "PendingDeletionError": reflect.TypeFor[kms.PendingDeletionError](),
	"ProtectedError": reflect.TypeFor[kms.ProtectedError](), "InUseError": reflect.TypeFor[kms.InUseError](), "BrownoutError": reflect.TypeFor[kms.BrownoutError](),
}

// TestZeroValues: no method of the zero value or of a nil pointer panics, and a call that a Manager
// cannot do is ErrInvalid. A nil pointer of an error type is no error and has no text.
func TestZeroValues(t *testing.T) {
	t.Parallel()
	withMethods := map[string]bool{}
	for _, f := range librarySources(t) {
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && f.folder == "." && d.Recv != nil && ast.IsExported(d.Name.Name) && ast.IsExported(receiver(d).Name) {
				withMethods[receiver(d).Name] = true
			}
		}
	}
	require.Greater(t, len(withMethods), 8)
	for name := range withMethods {
		require.Contains(t, exported, name, "the list of exported types")
	}
	for name, of := range exported {
		zero, none := reflect.New(of), reflect.Zero(reflect.PointerTo(of))
		callAll(t, name, zero, kms.ErrInvalid)
		if of.Kind() == reflect.Struct && reflect.PointerTo(of).NumMethod() > of.NumMethod() && !zero.Type().Implements(reflect.TypeFor[error]()) {
			callAll(t, "nil *"+name, none, kms.ErrInvalid)
		}
	}
}

// callAll calls each method of v with a context and else zero values.
func callAll(t *testing.T, name string, v reflect.Value, want error) {
	t.Helper()
	for i := range v.NumMethod() {
		method := v.Type().Method(i)
		if method.Name == "SafeFormatError" {
			continue // for cockroachdb/errors, which has a printer
		}
		var args []reflect.Value
		for a := range v.Method(i).Type().NumIn() {
			arg := reflect.Zero(v.Method(i).Type().In(a))
			if arg.Type() == reflect.TypeFor[context.Context]() {
				arg = reflect.ValueOf(t.Context())
			}
			args = append(args, arg)
		}
		err, fails := callOne(t, name+"."+method.Name, v.Method(i), args)
		if takesContext := len(args) > 0 && v.Method(i).Type().In(0) == reflect.TypeFor[context.Context](); fails && takesContext {
			if method.Name == "ScheduleKeyDeletion" && errors.Is(err, kms.ErrWindow) {
				continue // the argument is looked at first
			}
			require.ErrorIs(t, err, want, "%s.%s", name, method.Name)
		}
	}
}

// callOne calls a method, and what it returns if that is a loop, and returns its error if it has one.
func callOne(t *testing.T, name string, method reflect.Value, args []reflect.Value) (err error, fails bool) {
	t.Helper()
	require.NotPanics(t, func() {
		call := method.Call
		if method.Type().IsVariadic() {
			call = method.CallSlice
		}
		for _, out := range call(args) {
			switch {
			case out.Type() == reflect.TypeFor[error]():
				err, _ = out.Interface().(error)
				fails = true
			case out.Kind() == reflect.Func && strings.HasPrefix(out.Type().String(), "iter.Seq2"):
				fails = true
				out.Call([]reflect.Value{reflect.MakeFunc(out.Type().In(0), func(in []reflect.Value) []reflect.Value {
					err, _ = in[1].Interface().(error)
					return []reflect.Value{reflect.ValueOf(false)}
				})})
			}
		}
	}, name)
	return err, fails
}

// TestZeroArguments: each argument of each method of a Manager in turn is nil or zero, and nothing
// panics. What has nothing to work with is ErrInvalid.
func TestZeroArguments(t *testing.T) {
	t.Parallel()
	s := kit.NewSubject(t, kms.OriginExternal, kms.Enabled)
	of := reflect.TypeFor[*kms.Manager]()
	shelf := kit.Shelf{}
	for i := range of.NumMethod() {
		name := of.Method(i).Name
		if name == "Run" || name == "Shred" || name == "ReleaseInstance" || name == "RotateRoot" {
			continue // what they have to do with is in the loops below
		}
		in := reflect.ValueOf(s.Manager).Method(i).Type()
		for zeroed := range in.NumIn() {
			var args []reflect.Value
			for a := range in.NumIn() {
				arg := reflect.Zero(in.In(a))
				if a != zeroed {
					arg = good(t, s, shelf, arg)
				}
				args = append(args, arg)
			}
			err, fails := callOne(t, name, reflect.ValueOf(s.Manager).Method(i), args)
			switch in.In(zeroed).Kind() {
			case reflect.Interface, reflect.Func:
				if fails {
					require.ErrorIs(t, err, kms.ErrInvalid, "%s, argument %d", name, zeroed)
				}
			default:
				require.True(t, err == nil || kms.Code(err) != "", "%s, argument %d: %v", name, zeroed, err)
			}
		}
	}
	var none *bytes.Buffer
	var nothing context.Context
	for name, err := range map[string]error{
		"RotateRoot":     s.RotateRoot(t.Context(), nil),
		"Run":            s.Run(nothing),
		"Shred":          kit.Err(s.Shred(nothing, s.Instance)),
		"Release":        kit.Err(s.ReleaseInstance(nothing, s.Instance, nil)),
		"Open":           kit.Err(kms.Open(nothing, s.ConfigWith())),
		"an empty Open":  kit.Err(kms.Open(t.Context(), kms.Config{})),
		"a nil writer":   kit.Err(s.BackupInstance(t.Context(), kms.DefaultInstance, none, s.Root, nil)),
		"no reader":      kit.Err(kms.VerifyBackup(t.Context(), nil, s.Root)),
		"a nil reader":   kit.Err(kms.VerifyBackup(t.Context(), none, s.Root)),
		"no recipient":   kit.Err(kms.VerifyBackup(t.Context(), bytes.NewReader(s.Backup), nil)),
		"no context":     kit.Err(kms.VerifyBackup(nothing, bytes.NewReader(s.Backup), s.Root)),
		"no public key":  kit.Err(kms.WrapForImport(kms.ImportParameters{}, nil)),
		"a nil source":   kit.Err(s.Restore(t.Context(), (*bytes.Reader)(nil), s.Root, nil)),
		"a nil provider": kit.Err(kms.Open(t.Context(), s.ConfigWith(func(c *kms.Config) { c.HSM = (*nilProvider)(nil) }))),
	} {
		require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(err), "%s: %v", name, err)
	}
	ran, end := context.WithCancel(t.Context())
	end()
	require.Equal(t, context.Canceled, s.Run(ran), "Run ends with the context, which is no refusal")
}

type nilProvider struct{ provider.Provider }

// good is an argument that would do.
func good(t *testing.T, s *kit.Subject, shelf kit.Shelf, zero reflect.Value) reflect.Value {
	var v any
	switch zero.Interface().(type) {
	case string:
		v = s.ID
	case int:
		v = 30
	case []byte:
		v = []byte("x")
	case func(string) iter.Seq2[kms.Wrapped, error]:
		v = shelf.Items
	case kms.RetireOptions:
		v = kms.RetireOptions{Before: 1, Days: 7}
	case func(context.Context, kms.Wrapped, []byte) error:
		v = shelf.Put
	default:
		switch zero.Type() {
		case reflect.TypeFor[context.Context]():
			v = t.Context()
		case reflect.TypeFor[kms.Root]():
			v = s.Root
		case reflect.TypeFor[io.Writer]():
			v = io.Discard
		case reflect.TypeFor[io.ReadSeeker]():
			v = bytes.NewReader(s.Backup)
		default:
			return zero
		}
	}
	return reflect.ValueOf(v)
}
