package kms_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// TestAllowance: a version of a hardware key encrypts as often as it may, by however many
// processes, and not once more; the next version as often again. It decrypts without end.
func TestAllowance(t *testing.T) {
	const most = 1000
	ctx := t.Context()
	k := kmstest.New(t, kit.InHardware)
	id := kit.HardwareKey(t, k)
	for range 3 {
		var done atomic.Int64
		var wg sync.WaitGroup
		for range 3 {
			m := k.Another(t)
			kms.LimitUses(m, most, 8)
			for range 3 {
				wg.Go(func() {
					for {
						_, err := m.Encrypt(ctx, id, nil, nil)
						if err != nil {
							if !errors.Is(err, kms.ErrLimit) {
								t.Errorf("Encrypt: %v", err)
							}
							return
						}
						done.Add(1)
					}
				})
			}
		}
		wg.Wait()
		require.EqualValues(t, most, done.Load())
		m := k.Another(t)
		kms.LimitUses(m, most, 8)
		for _, err := range []error{kit.Err(m.Encrypt(ctx, id, nil, nil)), kit.Err(m.GenerateDataKey(ctx, id, nil))} {
			require.Equal(t, []string{"ErrLimit"}, kit.Conditions(err))
			require.Equal(t, "Rejected.LimitExceeded", kms.Code(err))
			require.Contains(t, kms.Hint(err), "RotateKey")
		}
		require.NoError(t, kit.Err(m.RotateKey(ctx, id)))
		c, err := m.Encrypt(ctx, id, []byte("x"), nil)
		require.NoError(t, err)
		for range 2 * most {
			require.NoError(t, kit.Err(m.Decrypt(ctx, c, nil)))
		}
		require.NoError(t, kit.Err(m.RotateKey(ctx, id)))
	}
}

// TestAllowanceOfEveryCall: every call that encrypts takes from the allowance, and one that is refused
// writes nothing and leaves no data key.
func TestAllowanceOfEveryCall(t *testing.T) {
	const most = 20
	ctx := t.Context()
	for name, call := range map[string]func(m *kms.Manager, id string, dst, key []byte) error{
		"Encrypt": func(m *kms.Manager, id string, _, _ []byte) error { return kit.Err(m.Encrypt(ctx, id, nil, nil)) },
		"AppendEncrypt": func(m *kms.Manager, id string, dst, _ []byte) error {
			return kit.Err(m.AppendEncrypt(ctx, dst, id, nil, nil))
		},
		"GenerateDataKey": func(m *kms.Manager, id string, _, _ []byte) error { return kit.Err(m.GenerateDataKey(ctx, id, nil)) },
		"GenerateDataKeyWithoutPlaintext": func(m *kms.Manager, id string, _, _ []byte) error {
			return kit.Err(m.GenerateDataKeyWithoutPlaintext(ctx, id, 32, nil))
		},
		"AppendDataKey": func(m *kms.Manager, id string, dst, key []byte) error {
			return kit.Err(m.AppendDataKey(ctx, dst, id, key, nil))
		},
	} {
		k := kmstest.New(t, kit.InHardware)
		kms.LimitUses(k.Manager, most, 8)
		id := kit.HardwareKey(t, k)
		dst, key := make([]byte, 0, 256), make([]byte, 32)
		for range most {
			require.NoError(t, call(k.Manager, id, dst, key), name)
		}
		clear(dst[:cap(dst)])
		clear(key)
		require.ErrorIs(t, call(k.Manager, id, dst, key), kms.ErrLimit, name)
		require.Equal(t, make([]byte, 256), dst[:256], name)
		require.Equal(t, make([]byte, 32), key, name)
	}
}

// TestAllowanceSurvives: a process that ends takes the rest of its block with it, and nothing that
// was used is handed out again.
func TestAllowanceSurvives(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, kit.InHardware)
	id := kit.HardwareKey(t, k)
	for range 10 { // ten blocks of eight, of which one was used
		m := k.Another(t)
		kms.LimitUses(m, 80, 8)
		require.NoError(t, kit.Err(m.Encrypt(ctx, id, nil, nil)))
	}
	m := k.Another(t)
	kms.LimitUses(m, 80, 8)
	require.ErrorIs(t, kit.Err(m.Encrypt(ctx, id, nil, nil)), kms.ErrLimit)
}

// TestAllowanceStore: nothing is encrypted before it is written down that it was handed out, in
// whatever way the key store fails.
func TestAllowanceStore(t *testing.T) {
	ctx := t.Context()
	down := errors.New("down")
	for _, applied := range []bool{false, true} {
		k := kmstest.New(t, kit.InHardware)
		id := kit.HardwareKey(t, k)
		kms.LimitUses(k.Manager, 16, 8)
		k.Store.OnPut(func(name string) (bool, error) {
			if strings.HasPrefix(name, "allowance/") {
				return applied, down
			}
			return true, nil
		})
		err := kit.Err(k.Encrypt(ctx, id, nil, nil))
		require.ErrorIs(t, err, kms.ErrUnavailable)
		require.ErrorIs(t, err, down)
		k.Store.OnPut(nil)
		done := 0
		for {
			if err := kit.Err(k.Encrypt(ctx, id, nil, nil)); err != nil {
				require.ErrorIs(t, err, kms.ErrLimit)
				break
			}
			done++
		}
		require.Equal(t, map[bool]int{false: 16, true: 8}[applied], done)
	}
}

// TestAllowanceTampered: where somebody changed what was handed out, nothing more is.
func TestAllowanceTampered(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t, kit.InHardware)
	id, other := kit.HardwareKey(t, k), kit.HardwareKey(t, k)
	c, err := k.Encrypt(ctx, id, []byte("x"), nil)
	require.NoError(t, err)
	require.NoError(t, kit.Err(k.Encrypt(ctx, other, nil, nil)))
	for _, bad := range [][]byte{nil, []byte("x"), kit.StoredValue(t, k, "allowance/"+other), kit.StoredValue(t, k, "key/"+id)} {
		kit.EditItem(t, k, "allowance/"+id, func([]byte) []byte { return bad })
		m := k.Another(t)
		require.ErrorIs(t, kit.Err(m.Encrypt(ctx, id, nil, nil)), kms.ErrTampered)
		require.NoError(t, kit.Err(m.Decrypt(ctx, c, nil)))
	}
}

// TestAllowanceOfHardwareAlone: software keys have none.
func TestAllowanceOfHardwareAlone(t *testing.T) {
	k := kmstest.New(t)
	kms.LimitUses(k.Manager, 1, 1)
	id := k.MustCreateKey(t).ID
	for range 10 {
		require.NoError(t, kit.Err(k.Encrypt(t.Context(), id, nil, nil)))
	}
}
