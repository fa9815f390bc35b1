package killed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyhold/kms"
)

// A ledger is what the parent knows from tales: what must be, and what may be. It shares nothing
// with the code that it checks.
type ledger struct {
	keys    map[string]*account
	aliases map[string][]string // the keys that it may name; "": none
	open    map[int]tale        // calls that began, and did not return
	purged  map[string]bool
	tales   int
}

// An account is what is known of a key.
type account struct {
	who     int
	may     []fact // one of them is true
	texts   [][]byte
	dropped bool // its material was deleted, or was to be, at some time
	early   bool // it was purged before the call that scheduled it had returned
}

// A fact is what a key is.
type fact struct {
	gone, disabled, material, expires, protected bool
	days, primary, tag                           int // until its deletion, 0: none
}

func (f fact) state() kms.State {
	switch {
	case f.gone:
		return kms.Deleted
	case f.days > 0:
		return kms.PendingDeletion
	case !f.material:
		return kms.PendingImport
	case f.disabled:
		return kms.Disabled
	default:
		return kms.Enabled
	}
}

// after is what a call makes of a key, or the code by which it is refused.
func (f fact) after(t tale) (fact, string) {
	const wrongState = "Rejected.StateModifiedFailed"
	state := f.state()
	codes := map[kms.State]string{
		kms.PendingImport: "Rejected.PendingImport", kms.Disabled: "Rejected.Disabled",
		kms.PendingDeletion: "Rejected.PendingDeletion", kms.Deleted: "Forbidden.KeyNotFound",
	}
	var allowed bool
	code, next := codes[state], f
	switch t.Op {
	case "encrypt", "rotate":
		if allowed = state == kms.Enabled; t.Op == "rotate" {
			next.primary++
		}
	case "tag":
		allowed, next.tag = state != kms.PendingDeletion, t.N
	case "protect":
		allowed, next.protected = state != kms.PendingDeletion, t.N == 1
	case "enable", "disable":
		allowed, next.disabled = state == kms.Enabled || state == kms.Disabled, t.Op == "disable"
	case "schedule":
		allowed, next.days = (state == kms.Disabled || state == kms.PendingImport) && !f.protected, t.N
	case "cancel":
		allowed, next.days = state == kms.PendingDeletion, 0
	case "drop":
		allowed = state != kms.PendingDeletion
		next.material, next.expires, next.primary = false, false, 0
	case "import":
		allowed = state != kms.PendingDeletion
		next.material, next.expires, next.primary = true, t.N > 0, 1
	}
	switch {
	case f.gone:
		return f, code
	case allowed:
		return next, ""
	case slices.Contains([]string{"enable", "disable", "schedule", "cancel", "import"}, t.Op):
		return f, wrongState
	default:
		return f, code
	}
}

// byTime is what Maintain may have made of a key meanwhile.
func byTime(may []fact) []fact {
	for i := 0; i < len(may); i++ {
		f := may[i]
		if f.material && f.expires {
			g := f
			g.material, g.expires, g.primary = false, false, 0
			may = with(may, g)
		}
		if f.days == 7 {
			may = with(may, fact{gone: true})
		}
	}
	return may
}

func with[T comparable](all []T, one T) []T {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

func (a *account) mayBe(what func(fact) bool) bool { return slices.ContainsFunc(byTime(a.may), what) }

func isGone(f fact) bool { return f.gone }

// read takes a tale, or tells what is wrong with it.
func (l *ledger) read(t tale) error {
	l.tales++
	switch {
	case t.Op == "destroy":
		return l.destroyed(t.Key)
	case !t.Over:
		if a := l.keys[t.Key]; a != nil && (t.Op == "drop" || t.Op == "import" && t.N > 0) {
			a.dropped = true
		}
		t.named = t.Alias != "" && slices.ContainsFunc(l.namedBy(t.Alias), l.alive)
		l.open[t.Who] = t
		return nil
	}
	begun := l.open[t.Who]
	delete(l.open, t.Who)
	switch {
	case t.Who == maintainer && t.Code != "":
		return errors.New("Maintain: " + t.Err)
	case t.Who == maintainer:
		return l.areGone(t.Purged)
	case t.Op == "create" && t.Code != "":
		return errors.New("CreateKey: " + t.Err)
	case t.Op == "create":
		l.keys[t.Key] = &account{who: t.Who, may: []fact{{material: true, primary: 1}}}
		return nil
	case t.Alias != "":
		return l.named(t, begun)
	}
	a := l.keys[t.Key]
	if a.early && t.Op == "schedule" && t.Code == "" {
		a.early = false
		return nil
	}
	may := byTime(a.may)
	a.may = nil
	for _, f := range may {
		if next, code := f.after(begun); code == t.Code {
			a.may = with(a.may, next)
		}
	}
	if a.may == nil {
		return fmt.Errorf("%s of %s, which may be %+v: answered %q %s", t.Op, t.Key, may, t.Code, t.Err)
	}
	if t.Op == "encrypt" && t.Code == "" {
		if a.texts = append(a.texts, t.Text); len(a.texts) > 12 { // the first, and the last
			a.texts = slices.Delete(a.texts, 4, 5)
		}
	}
	return nil
}

// namedBy is what an alias may name.
func (l *ledger) namedBy(alias string) []string {
	if was := l.aliases[alias]; was != nil {
		return was
	}
	return []string{""}
}

func (l *ledger) free(id string) bool { return id == "" || l.keys[id].mayBe(isGone) }

func (l *ledger) alive(id string) bool {
	return id != "" && l.keys[id].mayBe(func(f fact) bool { return !f.gone })
}

// named takes the answer of a call for an alias. Its key may have gone while the call was made.
func (l *ledger) named(t, begun tale) error {
	was, ok := l.namedBy(t.Alias), false
	switch is := []string{t.Key}; {
	case t.Op == "point" && t.Code == "":
		ok, l.aliases[t.Alias] = slices.ContainsFunc(was, l.free), is
	case t.Op == "repoint" && t.Code == "":
		ok, l.aliases[t.Alias] = begun.named, is
	case t.Op == "unpoint" && t.Code == "":
		ok, l.aliases[t.Alias] = begun.named, nil
	case t.Op != "point" && t.Code == "Forbidden.AliasNotFound":
		ok = slices.ContainsFunc(was, l.free)
	}
	if !ok {
		return fmt.Errorf("%s of %s, which named %v: answered %q %s", t.Op, t.Alias, was, t.Code, t.Err)
	}
	return nil
}

// areGone takes a report of purges.
func (l *ledger) areGone(ids []string) error {
	for _, id := range ids {
		a := l.keys[id]
		switch {
		case l.purged[id]:
			return errors.New("purged twice: " + id)
		case a == nil || !a.mayBe(isGone) && !l.inFlight(id, "schedule"):
			return errors.New("purged, and never scheduled: " + id)
		}
		a.early = l.inFlight(id, "schedule")
		l.purged[id], a.may = true, []fact{{gone: true}}
	}
	return nil
}

// destroyed is told before a provider destroys the material of a key version.
func (l *ledger) destroyed(version string) error {
	id, _, _ := strings.Cut(version, "/")
	a := l.keys[id]
	switch {
	case l.purged[id]:
		return errors.New("destroyed again: " + version)
	case a == nil || !a.dropped && !a.mayBe(isGone) && !l.inFlight(id, "schedule"):
		return errors.New("destroyed, and nobody asked for it: " + version)
	}
	return nil
}

func (l *ledger) inFlight(id, op string) bool {
	for _, t := range l.open {
		if t.Key == id && t.Op == op {
			return true
		}
	}
	return false
}

// killed turns what was in flight into what may have been done.
func (l *ledger) killed() {
	for _, t := range l.open {
		a := l.keys[t.Key]
		switch {
		case t.Alias != "":
			now := t.Key
			if t.Op == "unpoint" {
				now = ""
			}
			l.aliases[t.Alias] = with(slices.Clone(l.namedBy(t.Alias)), now)
		case a != nil:
			for _, f := range byTime(a.may) {
				if next, code := f.after(t); code == "" {
					a.may = with(a.may, next)
				}
			}
		}
	}
	for _, a := range l.keys {
		a.may = byTime(a.may)
	}
}

// check holds what stands in the store to the ledger, and settles what was open.
func (l *ledger) check(ctx context.Context, m *kms.Manager) error {
	there := map[string]kms.Key{}
	for key, err := range m.Keys(ctx, nil) {
		if err != nil {
			return err
		}
		there[key.ID] = key
	}
	for id, key := range there {
		if l.keys[id] != nil {
			continue
		}
		made, ok := l.open[whose(key.Description)] // by a call that did not return
		if !ok || made.Op != "create" {
			return errors.New("a key that nobody made: " + id)
		}
		delete(l.open, made.Who)
		l.keys[id] = &account{who: made.Who, may: []fact{{material: true, primary: 1}}}
	}
	for id, a := range l.keys {
		key, ok := there[id]
		if err := a.settle(key, ok); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		for _, text := range a.texts {
			plain, err := m.Decrypt(ctx, text, nil)
			if _, code := a.may[0].after(tale{Op: "encrypt"}); code != kms.Code(err) || err == nil && string(plain) != id {
				return fmt.Errorf("%s, %v: its ciphertext: %q, %w", id, a.may[0], plain, err)
			}
		}
	}
	clear(l.open)
	return l.checkAliases(ctx, m)
}

// settle keeps the facts that fit what is seen: more than one where two of them look alike, as a key
// without material does whether it is disabled or not.
func (a *account) settle(key kms.Key, ok bool) error {
	var fit []fact
	for _, f := range a.may {
		is := fact{gone: true}
		if ok {
			is = fact{disabled: f.disabled, material: f.material, expires: !key.MaterialExpiresAt.IsZero(),
				protected: key.Protected, primary: key.PrimaryVersion}
			_, _ = fmt.Sscan(key.Tags["n"], &is.tag)
			if !key.DeletionDate.IsZero() {
				is.days = int(key.DeletionDate.Sub(lifeNow).Hours() / 24)
			}
		}
		if f == is && (!ok || f.state() == key.State) {
			fit = append(fit, f)
		}
	}
	if len(fit) == 0 {
		return fmt.Errorf("is %v %+v, may be %+v", key.State, key, a.may)
	}
	a.may = fit
	return nil
}

func (l *ledger) checkAliases(ctx context.Context, m *kms.Manager) error {
	for alias, may := range l.aliases {
		key, err := m.DescribeKey(ctx, alias)
		if err != nil && !errors.Is(err, kms.ErrNotFound) {
			return err
		}
		is := slices.DeleteFunc(slices.Clone(may), func(id string) bool {
			return id != key.ID && (err == nil || id != "" && !l.keys[id].may[0].gone)
		})
		if len(may) > 0 && len(is) == 0 || len(may) == 0 && err == nil {
			return fmt.Errorf("%s names %q, may name %q: %w", alias, key.ID, may, err)
		}
		l.aliases[alias] = is
	}
	return nil
}
