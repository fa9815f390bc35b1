package kms_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// A journal is a log that has nothing but the Events of steps.
type journal struct {
	sync.Mutex
	steps  []kms.Event
	failed []kms.Event // those that were not taken
}

func (j *journal) observe(_ context.Context, e kms.Event) {
	j.Lock()
	defer j.Unlock()
	switch {
	case e.Step == "":
	case e.Err != nil:
		j.failed = append(j.failed, e)
	default:
		j.steps = append(j.steps, e)
	}
}

// fates is what the log says of every item: the name of its record, and what was done to it.
func (j *journal) fates() map[string][]string {
	j.Lock()
	defer j.Unlock()
	all := map[string][]string{}
	for _, e := range j.steps {
		name := "instance/" + e.Instance
		if e.KeyID != "" {
			name = "key/" + e.KeyID
		}
		fate, said := all[name], string(e.Step)
		switch e.Step {
		case kms.StepCorrected:
			all[name] = slices.DeleteFunc(fate, func(s string) bool { return s == string(kms.StepNoted) })
			continue
		case kms.StepRotated:
			said += fmt.Sprint(" ", e.KeyVersion)
		case kms.StepNoticed:
			fate = slices.DeleteFunc(fate, func(s string) bool { return strings.HasPrefix(s, said) })
			said += " " + string(e.Notice)
		}
		if !slices.Contains(fate, said) { // a step may be told twice
			all[name] = append(fate, said)
		}
	}
	for name, fate := range all {
		if slices.Sort(fate); len(fate) == 0 {
			delete(all, name)
		}
	}
	return all
}

// storedFates is what the records say of the same. Keys of instances that were released cannot be read.
func storedFates(t *testing.T, k *kmstest.KMS) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, item := range kit.StoredItems(t, k) {
		var r struct {
			Origin                 kms.Origin
			Versions, Doomed       []struct{ Version int }
			DestroyedAt, DueSeenAt time.Time
			Root, Fingerprint      []byte
			OverSeenAt, ReleasedAt time.Time
			Told                   kms.Notice
		}
		if !strings.HasPrefix(item.Name, "key/") && !strings.HasPrefix(item.Name, "instance/") {
			continue
		}
		body := item.Value // behind a MAC
		for !json.Valid(body) {
			body = body[1:]
		}
		require.NoError(t, json.Unmarshal(body, &r), item.Name)
		var fate []string
		is := func(yes bool, step kms.Step, more ...any) {
			if yes {
				fate = append(fate, strings.TrimSpace(string(step)+" "+fmt.Sprint(more...)))
			}
		}
		key := strings.HasPrefix(item.Name, "key/")
		is(!r.DueSeenAt.IsZero() || !r.OverSeenAt.IsZero(), kms.StepNoted)
		is(!r.DestroyedAt.IsZero() && len(r.Doomed) == 0, kms.StepPurged)
		is(key && r.DestroyedAt.IsZero() && len(r.Fingerprint) > 0 && len(r.Versions)+len(r.Doomed) == 0, kms.StepExpired)
		is(!key && !r.ReleasedAt.IsZero() && len(r.Root) == 0, kms.StepReleased)
		is(r.Told != "", kms.StepNoticed, r.Told)
		for _, v := range r.Versions {
			is(v.Version > 1, kms.StepRotated, v.Version)
		}
		if slices.Sort(fate); len(fate) > 0 {
			all[item.Name] = fate
		}
	}
	return all
}

// aYear is a life of keys and instances in which every step is taken. After each call check is called
// with its error.
func aYear(t *testing.T, k *kmstest.KMS, fault func(), check func(error)) {
	ctx := t.Context()
	pass := func() {
		check(kit.Err(k.Maintain(ctx)))
	}
	schedule := func(id string) {
		require.NoError(t, kit.Err(k.ScheduleKeyDeletion(ctx, id, 7)))
	}
	schedule(kit.DisabledKey(t, k))
	schedule(kit.ExternalKey(t, k)) // nothing has to be destroyed of it
	kit.Tenant(t, k, "tenant-soft", 40)
	for _, id := range []string{"tenant-hard", "by-hand"} {
		o := &kms.InstanceOptions{ID: id, Protection: kms.ProtectionHSM}
		if id == "tenant-hard" {
			o.ExpiresAt = k.Clock.Now().AddDate(0, 0, 40)
		}
		require.NoError(t, kit.Err(k.CreateInstance(ctx, o)))
		kit.KeyIn(t, k, id)
	}
	rotates := k.MustCreateKey(t).ID
	imported, _, _ := kit.ImportedKey(t, k, kit.Material())
	own := bytes.Repeat([]byte("mine"), 8)
	expires := kit.ExternalKey(t, k)
	wrapped, token := kit.WrapMaterial(t, k, expires, own)
	require.NoError(t, kit.Err(k.ImportKeyMaterial(ctx, expires, wrapped, token, k.Clock.Now().AddDate(0, 0, 90))))

	fault()
	k.Clock.AdvanceDays(56) // by mistake
	pass()
	k.Clock.AdvanceDays(-56)
	pass()
	pass()
	check(kit.Err(k.UpdateRotationPolicy(ctx, rotates, 30)))
	check(kit.Err(k.DeleteKeyMaterial(ctx, imported, nil)))
	check(kit.Err(k.ReleaseInstance(ctx, "by-hand", kit.Force())))
	for range 16 {
		k.Clock.AdvanceDays(6)
		pass()
		pass()
	}
	pass()
}

// TestEventsTellAll: from the Events alone a log rebuilds what was done to every key and instance, whatever
// write fails, and whether or not it was made.
func TestEventsTellAll(t *testing.T) {
	open := func(t *testing.T) (*kmstest.KMS, *journal) {
		j := &journal{}
		return kmstest.New(t, kit.InHardware, func(c *kms.Config) { c.PurgeDelay, c.Observe = 24*time.Hour, j.observe }), j
	}
	puts := 0
	k, j := open(t)
	count := func() {
		k.Store.OnPut(func(name string) (bool, error) {
			if strings.HasPrefix(name, "key/") || strings.HasPrefix(name, "instance/") {
				puts++
			}
			return true, nil
		})
	}
	steps := map[kms.Step]int{}
	aYear(t, k, count, func(err error) {
		require.NoError(t, err)
		require.Equal(t, storedFates(t, k), j.fates())
	})
	require.Empty(t, j.failed)
	for _, e := range j.steps {
		steps[e.Step]++
		require.NotEmpty(t, e.Instance, e)
		require.False(t, e.Time.IsZero())
	}
	for _, s := range []kms.Step{kms.StepNoted, kms.StepCorrected, kms.StepPurged, kms.StepExpired, kms.StepRotated, kms.StepNoticed, kms.StepReleased} {
		require.NotZero(t, steps[s], "the year has no step %s", s)
	}
	require.Greater(t, puts, 20)
	for _, made := range []bool{false, true} {
		for n := range puts {
			k, j := open(t)
			failNth := func() {
				at := 0
				k.Store.OnPut(func(name string) (bool, error) {
					if strings.HasPrefix(name, "key/") || strings.HasPrefix(name, "instance/") {
						if at++; at == n+1 {
							return made, errors.New("connection reset")
						}
					}
					return true, nil
				})
			}
			aYear(t, k, failNth, func(err error) {
				if err == nil && len(j.failed) == 0 {
					require.Equal(t, storedFates(t, k), j.fates(), "write %d, made: %t", n+1, made)
				}
			})
			require.Equal(t, storedFates(t, k), j.fates(), "write %d, made: %t", n+1, made)
		}
	}
}

// TestEveryListHasItsStep: what stands in a list of a report was an Event of the same pass, whose step has the
// name of the list. Those that wait and those that cannot be read were not changed.
func TestEveryListHasItsStep(t *testing.T) {
	var told []kms.Event
	k := kmstest.New(t, kit.InHardware, func(c *kms.Config) {
		c.PurgeDelay = 24 * time.Hour
		c.Observe = func(_ context.Context, e kms.Event) { told = append(told, e) }
	})
	listed := map[string]bool{}
	hold := func(of string, lists any, id func(kms.Event) string) {
		v := reflect.ValueOf(lists)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			list, ok := v.Field(i).Interface().([]string)
			if !ok || name == "Waiting" || name == "Tampered" {
				continue
			}
			var want []string
			for _, e := range told {
				if e.Op == kms.OpMaintain && string(e.Step) == name && id(e) != "" {
					want = append(want, id(e))
				}
			}
			require.Equal(t, want, list, "%s.%s", of, name)
			listed[of+"."+name] = listed[of+"."+name] || len(list) > 0
		}
	}
	kit.Tenant(t, k, "tenant-7", 40)
	kit.PendingKey(t, k)
	require.NoError(t, kit.Err(k.UpdateRotationPolicy(t.Context(), k.MustCreateKey(t).ID, 30)))
	id := kit.ExternalKey(t, k)
	wrapped, token := kit.WrapMaterial(t, k, id, kit.Material())
	require.NoError(t, kit.Err(k.ImportKeyMaterial(t.Context(), id, wrapped, token, k.Clock.Now().AddDate(0, 0, 10))))
	turned := k.MustCreateKey(t).ID
	require.NoError(t, kit.Err(k.RotateKey(t.Context(), turned)))
	require.NoError(t, kit.Err(k.RetireKeyVersions(t.Context(), turned, kms.RetireOptions{Before: 2, Days: 7})))
	for range 60 {
		k.Clock.AdvanceDays(1)
		told = nil
		report := kit.Maintain(t, k)
		hold("Report", report, func(e kms.Event) string { return e.KeyID })
		hold("InstanceReport", report.Instances, func(e kms.Event) string {
			if e.KeyID != "" {
				return ""
			}
			return e.Instance
		})
		last := told[len(told)-1]
		require.Empty(t, last.Step, "the pass is told last")
		require.NoError(t, last.Err)
	}
	for list, seen := range listed {
		require.True(t, seen, "nothing ever stood in %s", list)
	}
}

// TestSweepThatFails: that material which DeleteKeyMaterial took is not destroyed yet is told, and that
// Maintain destroyed it.
func TestSweepThatFails(t *testing.T) {
	j := &journal{}
	k := kmstest.New(t, func(c *kms.Config) { c.Observe = j.observe })
	id, _, _ := kit.ImportedKey(t, k, kit.Material())
	n := 0
	k.Store.OnPut(func(name string) (bool, error) {
		if strings.HasPrefix(name, "key/") {
			if n++; n == 2 {
				return false, errors.New("disk full")
			}
		}
		return true, nil
	})
	require.NoError(t, kit.Err(k.DeleteKeyMaterial(t.Context(), id, nil)), "the key has no material any more")
	require.Empty(t, j.steps)
	require.Len(t, j.failed, 1)
	require.Equal(t, kms.OpDeleteKeyMaterial, j.failed[0].Op)
	require.Equal(t, id, j.failed[0].KeyID)
	require.ErrorIs(t, j.failed[0].Err, kms.ErrUnavailable)
	require.Equal(t, []string{id}, kit.Maintain(t, k).Expired)
	require.Len(t, j.steps, 1)
	require.Equal(t, kms.OpMaintain, j.steps[0].Op)
}

// TestRunIsDenied: Run returns at once when Authorize refuses a pass, and not when a call of a pass is refused.
func TestRunIsDenied(t *testing.T) {
	no := errors.New("no caller")
	for _, denied := range []int{0, 2} { // at first, and later
		synctest.Test(t, func(t *testing.T) {
			passes, begun := 0, time.Now()
			var told []kms.Event
			k := kmstest.New(t, func(c *kms.Config) {
				c.Observe = func(_ context.Context, e kms.Event) { told = append(told, e) }
				c.Authorize = func(_ context.Context, r kms.Request) error {
					if r.Op != kms.OpMaintain {
						return nil
					}
					if passes++; passes > denied {
						return no
					}
					return nil
				}
			})
			bound, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			err := k.Run(bound)
			require.ErrorIs(t, err, kms.ErrDenied)
			require.ErrorIs(t, err, no)
			require.Equal(t, time.Duration(denied)*time.Minute, time.Since(begun))
			require.ErrorIs(t, told[len(told)-1].Err, kms.ErrDenied)

			ctx, stop := context.WithCancelCause(t.Context())
			stop(errors.New("shutting down"))
			require.EqualError(t, k.Run(ctx), "shutting down", "which comes first")
		})
	}
	t.Run("in OnRelease", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var passes []error
			k := kmstest.New(t, func(c *kms.Config) {
				c.OnRelease = func(ctx context.Context, m *kms.Manager, i kms.Instance) error {
					return kit.Err(m.DescribeInstance(ctx, i.ID))
				}
				c.Authorize = func(_ context.Context, r kms.Request) error {
					if r.Op == kms.OpDescribeInstance {
						return no
					}
					return nil
				}
				c.Observe = func(_ context.Context, e kms.Event) {
					if e.Op == kms.OpMaintain && e.Step == "" {
						passes = append(passes, e.Err)
					}
				}
			})
			kit.Tenant(t, k, "tenant-7", 1)
			k.Clock.AdvanceDays(17)
			ctx, stop := context.WithTimeout(t.Context(), 90*time.Second)
			defer stop()
			require.ErrorIs(t, k.Run(ctx), context.DeadlineExceeded)
			require.Len(t, passes, 2)
			require.ErrorIs(t, passes[1], no)
		})
	})
}

// TestEveryLoopTells: whatever refuses for ever, and whichever loop of Run it stops, Observe hears of it with
// every pass, and not much oftener.
func TestEveryLoopTells(t *testing.T) {
	down := errors.New("connection refused")
	for name, loop := range map[string]struct {
		store  func(keystore.Store) keystore.Store
		notice kms.Notice
	}{
		"pass":   {func(s keystore.Store) keystore.Store { return s }, ""},
		"follow": {func(s keystore.Store) keystore.Store { return &deafStore{Store: s, changes: down} }, kms.NoticeCannotFollow},
		"watch":  {func(s keystore.Store) keystore.Store { return &deafStore{Store: s, watch: down} }, kms.NoticeCannotFollow},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				heard := 0
				shared := &kit.Shared{}
				k := kmstest.New(t, func(c *kms.Config) { c.Store, c.MaxStaleness, c.Now = shared, 3*time.Second, time.Now })
				m := k.Another(t, func(c *kms.Config) {
					c.Store = loop.store(c.Store)
					c.Observe = func(_ context.Context, e kms.Event) {
						mu.Lock()
						defer mu.Unlock()
						if e.Notice == loop.notice && e.Step == "" && e.Op == kms.OpMaintain {
							require.ErrorIs(t, e.Err, kms.ErrUnavailable)
							require.ErrorIs(t, e.Err, down)
							heard++
						}
					}
				})
				if name == "pass" {
					k.Store.OnList(func(string) error { return down })
					k.Store.OnGet(func(string) error { return down })
				}
				ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute-time.Second)
				defer stop()
				require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
				mu.Lock()
				defer mu.Unlock()
				if most := 10; name == "follow" {
					require.LessOrEqual(t, heard, 4*most) // three segments
					require.GreaterOrEqual(t, heard, 3*most)
				} else {
					require.InDelta(t, most, heard, 1)
				}
			})
		})
	}
}

// A deafStore hears of nothing that others do.
type deafStore struct {
	keystore.Store
	changes, watch error
	opened         sync.Map
}

func (d *deafStore) Unwrap() keystore.Store { return d.Store }

func (d *deafStore) Changes(ctx context.Context, segment string, after keystore.Cursor) ([]string, keystore.Cursor, error) {
	if _, again := d.opened.LoadOrStore(segment, true); again && d.changes != nil {
		return nil, 0, d.changes
	}
	feed, _ := keystore.FeedOf(d.Store)
	return feed.Changes(ctx, segment, after)
}

func (d *deafStore) Watch(ctx context.Context, moved func(string)) error {
	if d.watch != nil {
		return d.watch
	}
	w, _ := keystore.WatcherOf(d.Store)
	return w.Watch(ctx, moved)
}
