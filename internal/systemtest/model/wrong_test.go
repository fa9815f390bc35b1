package model_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/keystore"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A modelBug makes the service or the model wrong.
type modelBug struct {
	service func(*kms.Config)
	model   func(*model)
}

func (b modelBug) inService(c *kms.Config) {
	if b.service != nil {
		b.service(c)
	}
}

func (b modelBug) inModel(m *model) {
	if b.model != nil {
		b.model(m)
	}
}

// cell is a model of which one cell of the page is wrong.
func cell(verb string, column int, answer string) modelBug {
	return modelBug{model: func(m *model) { m.rows[verb][column] = answer }}
}

// TestModelFindsBugs: a service that is wrong in some small way, or a model that is, is found by
// half as many histories as TestModel draws.
func TestModelFindsBugs(t *testing.T) {
	setRapid(t, 1000, "1s")
	clock := func(wrong func(time.Time) time.Time) modelBug {
		return modelBug{service: func(c *kms.Config) {
			now := c.Now
			c.Now = func() time.Time { return wrong(now()) }
		}}
	}
	for name, bug := range map[string]modelBug{
		"a write is forgotten":              {service: func(c *kms.Config) { c.Store = &forgetsWrites{Store: c.Store, every: 9} }},
		"the clock is late by a nanosecond": clock(func(now time.Time) time.Time { return now.Add(-1) }),
		"the clock is early by one":         clock(func(now time.Time) time.Time { return now.Add(1) }),
		"the clock shows milliseconds":      clock(func(now time.Time) time.Time { return now.Truncate(time.Millisecond) }),
		"one version more":                  {service: func(c *kms.Config) { c.MaxKeyVersions++ }},
		"the purge is early":                {service: func(c *kms.Config) { c.PurgeDelay -= min(1, max(0, c.PurgeDelay-1)) }},
		"the grace is long":                 {model: func(m *model) { m.grace++ }},
		"a purge is not told":               {service: func(c *kms.Config) { c.Observe = deafTo(kms.StepPurged, c.Observe) }},
		"Disabled decrypts":                 cell("Decrypt", 2, done),
		"an expired instance decrypts":      cell("Decrypt", 4, "self"),
		"a deletion is not cancelled":       cell("CancelKeyDeletion", 3, "ErrState"),
		"and not while it is expired":       cell("CancelKeyDeletion", 4, "ErrInstanceExpired"),
		"an Enabled key is scheduled":       cell("ScheduleKeyDeletion", 1, done),
		"material goes while it waits":      cell("DeleteKeyMaterial", 3, "ErrState"),
		"protection does not guard material": {model: func(m *model) {
			row := m.rows["DeleteKeyMaterial"]
			m.rows["DeleteKeyMaterial"] = row[:len(row)-1]
		}},
	} {
		t.Run(name, func(t *testing.T) {
			told := failing{name: t.Name()}
			var ended sync.WaitGroup
			ended.Go(func() {
				rapid.Check(&told, func(r *rapid.T) { drawHistory(t, r, bug) })
			})
			ended.Wait()
			require.True(t, told.failed, "not found")
			require.Contains(t, told.text.String(), "DIVERGES")
			t.Log(told.text.String())
		})
	}
}

// deafTo is an Observe that does not hear of a step.
func deafTo(step kms.Step, observe func(context.Context, kms.Event)) func(context.Context, kms.Event) {
	return func(ctx context.Context, e kms.Event) {
		if e.Step != step {
			observe(ctx, e)
		}
	}
}

// forgetsWrites is a Store that says of some writes that it made them, and did not.
type forgetsWrites struct {
	keystore.Store
	every, puts int
}

func (s *forgetsWrites) Unwrap() keystore.Store { return s.Store }

func (s *forgetsWrites) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	if s.puts++; s.puts%s.every == 0 {
		return old + "?", nil
	}
	return s.Store.Put(ctx, name, old, value)
}

// A failing is a test that is to fail, of which only what it says is kept.
type failing struct {
	name   string
	text   strings.Builder
	failed bool
}

func (r *failing) Helper()              {}
func (r *failing) Name() string         { return r.name }
func (r *failing) Logf(string, ...any)  {}
func (r *failing) Log(...any)           {}
func (r *failing) Skipf(string, ...any) { r.FailNow() }
func (r *failing) Skip(...any)          { r.FailNow() }
func (r *failing) SkipNow()             { r.FailNow() }
func (r *failing) Errorf(format string, args ...any) {
	fmt.Fprintf(&r.text, format, args...)
	r.Fail()
}
func (r *failing) Error(args ...any)                 { fmt.Fprint(&r.text, args...); r.Fail() }
func (r *failing) Fatalf(format string, args ...any) { r.Errorf(format, args...); r.FailNow() }
func (r *failing) Fatal(args ...any)                 { r.Error(args...); r.FailNow() }
func (r *failing) FailNow()                          { r.Fail(); runtime.Goexit() }
func (r *failing) Fail()                             { r.failed = true }
func (r *failing) Failed() bool                      { return r.failed }
