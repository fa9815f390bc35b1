package model_test

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"pgregory.net/rapid"
)

// Twins are a service and the model of it, which are done the same to. What is done is written
// down, so that a divergence is a transcript which a person can follow. It holds nothing that
// is random but for what rapid drew: the same draws give the same text.
type twins struct {
	*rapid.T
	*model
	tb       testing.TB
	k        *kmstest.KMS
	managers []*kms.Manager // as of two processes
	root     kms.Root
	at       int // which of them is asked next

	ids         map[*modelKey]string
	ciphertexts []sealed
	tokens      []modelToken
	made        int // names that were given to those

	heard []kms.Event // of steps, by both processes

	lines []string
	steps int
}

// diverges tells a divergence. It is the only place where a history fails, so that rapid
// knows it again while it looks for a shorter one.
func (w *twins) diverges(format string, args ...any) {
	w.Helper()
	w.lines = append(w.lines, "  DIVERGES: "+fmt.Sprintf(format, args...))
	w.Fatalf("the service and the model diverge:\n%s", strings.Join(w.lines, "\n"))
}

func (w *twins) write(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// do does something to both: what it is, what the model answers, and what asks the service, as one of
// two processes. It tells whether it was done.
func (w *twins) do(what, want string, ask func(*kms.Manager) error) bool {
	w.Helper()
	w.steps++
	err := ask(w.managers[w.at])
	w.write("m%d %s: %s", w.at+1, what, want)
	if got := answerOf(err); got != want {
		w.diverges("the service answers %s", got)
	}
	return want == done
}

// answerOf is an error as the model names it.
func answerOf(err error) string {
	if err == nil {
		return done
	}
	names := kit.Conditions(err)
	slices.Sort(names)
	return cmp.Or(strings.Join(names, "+"), "an error of no condition")
}

// change does a verb that changes a key, and compares the Key that it returns.
func (w *twins) change(verb string, ref modelRef, caller, args string, effect func() string, ask func(m *kms.Manager, ref string) (kms.Key, error)) bool {
	w.Helper()
	return w.ask(verb, ref, args, w.model.change(verb, ref.key, caller, effect), ask)
}

func (w *twins) ask(verb string, ref modelRef, args, want string, ask func(m *kms.Manager, ref string) (kms.Key, error)) bool {
	w.Helper()
	var key kms.Key
	ok := w.do(strings.TrimSpace(verb+" "+ref.shown+" "+args), want, func(m *kms.Manager) (err error) {
		key, err = ask(m, ref.text)
		return err
	})
	if ok {
		w.compare(ref.key, key)
	}
	return ok
}

// compare holds a Key against the model's.
func (w *twins) compare(k *modelKey, got kms.Key) {
	w.Helper()
	if len(got.Dependents) == 0 {
		got.Dependents = nil
	}
	if differ := differences(got, w.describe(k)); differ != "" {
		w.diverges("the service describes %s with %s", k.name, differ)
	}
}

// differences are the fields in which a differs from b.
func differences[T any](a, b T) string {
	var all []string
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		if x, y := va.Field(i).Interface(), vb.Field(i).Interface(); !reflect.DeepEqual(x, y) {
			all = append(all, fmt.Sprintf("%s %v, the model with %v", va.Type().Field(i).Name, x, y))
		}
	}
	return strings.Join(all, "; ")
}

// states are the service's names of the model's states.
var states = func() map[string]kms.State {
	all := map[string]kms.State{}
	for _, s := range []kms.State{kms.PendingImport, kms.Enabled, kms.Disabled, kms.PendingDeletion, kms.Deleted, kms.Unavailable} {
		all[s.String()] = s
	}
	return all
}()

// describe is what is known of a key in the model, as the service would tell it.
func (w *twins) describe(k *modelKey) kms.Key {
	d := kms.Key{
		ID: w.ids[k], Instance: k.home.name, State: states[w.state(k)], Underlying: states[w.own(k)],
		Spec: kms.SpecAES256, Usage: kms.UsageEncryptDecrypt, Origin: kms.OriginKMS, Protection: w.level(), Owner: kms.OwnerCustomer,
		Service: k.service, Description: k.label, Protected: k.protected, ProtectedWhy: k.why, CreatedAt: k.created,
	}
	if k.external {
		d.Origin = kms.OriginExternal
	}
	if k.mac {
		d.Spec, d.Usage = kms.SpecHMAC256, kms.UsageGenerateVerifyMac
	}
	if k.service != "" {
		d.Owner = kms.OwnerService
	}
	for _, user := range k.users {
		d.Dependents = append(d.Dependents, kms.Dependent{Name: user})
	}
	if w.own(k) == "PendingDeletion" {
		d.DeletionDate = k.deleteAt
	}
	if n := len(k.material); n > 0 && !w.passed(k.until) {
		d.PrimaryVersion, d.Rotation.Last, d.MaterialExpiresAt = n, k.material[n-1], k.until
	}
	if !k.external && !k.mac {
		d.Rotation.VersionsLeft = w.maxVersions - k.live()
	}
	if k.days > 0 {
		d.Rotation.Days, d.Rotation.Next, d.Rotation.Status = k.days, d.Rotation.Last.Add(time.Duration(k.days)*24*time.Hour), kms.RotationSuspended
		switch {
		case w.state(k) != "Enabled":
			d.Rotation.Reason = "the key is " + w.state(k)
		case d.Rotation.VersionsLeft == 0:
			d.Rotation.Reason = fmt.Sprintf("there is room for no further version of the key, which has %d versions", k.live())
		default:
			d.Rotation.Status = kms.RotationEnabled
		}
	}
	d.RetiredBefore = w.lost(k)
	if k.retiring != 0 && !w.passed(k.retireAt) {
		d.RetiringBefore, d.RetiresAt, d.RetiringWhy = k.retiring, k.retireAt, "r"
	}
	if w.now.Before(k.dim) {
		d.Brownout = kms.Brownout{Share: 1, Until: k.dim}
	}
	return d
}

// level is where the keys are.
func (w *twins) level() kms.Protection {
	if w.k.ConfigWith().Software == nil {
		return kms.ProtectionHSM
	}
	return kms.ProtectionSoftware
}

// look holds all that the other process can see against the model: every key as it is described, and every
// ciphertext, whether it can be decrypted.
func (w *twins) look() {
	w.Helper()
	m, ctx := w.managers[1-w.at], w.tb.Context()
	for _, k := range w.keys {
		got, err := m.DescribeKey(ctx, w.ids[k])
		w.expect("DescribeKey "+k.name, w.answers("DescribeKey", k, ""), err)
		if err == nil {
			w.compare(k, got)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.instances)) {
		got, err := m.DescribeInstance(ctx, name)
		w.expect("DescribeInstance "+name, done, err)
		w.compareInstance(w.instances[name], got)
	}
	for _, c := range w.ciphertexts {
		w.opened(m, c)
	}
	w.compareLog()
}

// expect holds an answer against the model's. It is written down only where they diverge.
func (w *twins) expect(what, want string, err error) {
	w.Helper()
	if got := answerOf(err); got != want {
		w.diverges("%s of m%d: the service answers %s, the model %s", what, 2-w.at, got, want)
	}
}

// known are the names of keys by their IDs, sorted.
func (w *twins) known(ids []string) (names []string) {
	for k, id := range w.ids {
		if slices.Contains(ids, id) {
			names = append(names, k.name)
		}
	}
	for range len(ids) - len(names) {
		names = append(names, "another key")
	}
	slices.Sort(names)
	return names
}
