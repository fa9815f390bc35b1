package legacytest

import (
	"context"
	"errors"
	"slices"

	"github.com/keyhold/kms/internal/suite"
	"github.com/keyhold/kms/legacy"
)

func keyCases() []promise {
	return []promise{{
		Name: "the scheme is a name",
		Why:  "The scheme is kept with every key that is taken over: it must be well formed, and the same in every Source of it.",
		Run:  schemeIsAName,
	}, {
		Name: "keys are as the contract says",
		Why:  "The service takes IDs, locators and material as they are into its own records.",
		Run:  keysAreSound,
	}, {
		Name: "keys ascend by ID",
		Why:  "The service merges the keys of a Source into its own list, which ascends; no ID is there twice.",
		Run:  keysAscend,
	}, {
		Name: "keys can be listed again",
		Why:  "The list is read often, in part and at the same time; each reading gives the same.",
		Run:  keysAgain,
	}, {
		Name: "a cancelled context ends the list",
		Why:  "A list may be long or far away: the caller can end it, and is told that it ended so.",
		Run:  cancelledList,
	}, {
		Name: "the bare source has no keys",
		Why:  "When all keys were taken over, the Source is opened without any; it must not make one up.",
		Run:  bareHasNone,
	}}
}

func schemeIsAName(f *fixture) {
	scheme := f.Source.Scheme()
	if !legacy.ValidScheme(scheme) {
		f.Errorf("the scheme %q is not 1 to 32 bytes of a-z, 0-9, dot and dash", scheme)
	}
	if f.Source.Scheme() != scheme || f.Bare.Scheme() != scheme {
		f.Errorf("the scheme is not always %q", scheme)
	}
}

func keysAreSound(f *fixture) {
	keys := f.keys()
	several := false
	for _, k := range keys {
		if err := k.Check(); err != nil {
			f.Errorf("a key: %v", err)
		}
		several = several || len(k.Versions) > 1
	}
	if len(keys) < 2 || !several {
		f.Fatalf("the Subject has fewer than two keys, or none of two versions")
	}
}

func keysAscend(f *fixture) {
	last := ""
	for _, k := range f.keys() {
		if k.ID <= last {
			f.Fatalf("a key follows one whose ID is not smaller")
		}
		last = k.ID
	}
}

func keysAgain(f *fixture) {
	first := f.keys()
	for i := range first {
		// The list may be the Source's own, which is what is to be found out.
		first[i].Versions = slices.Clone(first[i].Versions)
	}
	for k := range f.Source.Keys(f.Context()) {
		if k.ID != first[0].ID {
			f.Fatalf("the second list begins with another key")
		}
		break
	}
	again := f.keys()
	if len(again) != len(first) {
		f.Fatalf("the first list has %d keys, a later one %d", len(first), len(again))
	}
	for i, k := range first {
		if !sameKey(k, again[i]) {
			f.Fatalf("key %d is another in a later list", i)
		}
		for _, v := range again[i].Versions {
			suite.Scribble(v.Material()) // a copy
		}
		again[i].Versions[0] = legacy.Version{}
	}
	for i, k := range f.keys() {
		if !sameKey(k, first[i]) {
			f.Fatalf("key %d is another after the caller changed what it was given", i)
		}
	}
}

func sameKey(a, b legacy.Key) bool {
	if len(a.Versions) != len(b.Versions) {
		return false
	}
	for i, v := range a.Versions {
		w := b.Versions[i]
		if v.Locator != w.Locator || !v.CreatedAt.Equal(w.CreatedAt) || string(v.Material()) != string(w.Material()) {
			return false
		}
	}
	return a.ID == b.ID && a.Description == b.Description && a.CreatedAt.Equal(b.CreatedAt) &&
		a.Imported == b.Imported && a.Rotates == b.Rotates
}

func cancelledList(f *fixture) {
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	n := 0
	for _, err := range f.Source.Keys(ctx) {
		n++
		if !errors.Is(err, context.Canceled) {
			f.Fatalf("a cancelled list goes on: %v", err)
		}
	}
	if n != 1 {
		f.Fatalf("a cancelled list told its end %d times", n)
	}
}

func bareHasNone(f *fixture) {
	for _, err := range f.Bare.Keys(f.Context()) {
		f.Fatalf("the bare Source yields something; error: %v", err)
	}
}
