package kms_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	"github.com/keyhold/kms/legacy"
	"github.com/keyhold/kms/legacy/keyring"
	"github.com/stretchr/testify/require"
)

// A fact is one change of an item of a backup, and the call of the API that makes it to the item's
// key. Nil: no call does, and the backup is refused.
type fact struct {
	change string // fields as JSON
	call   func(ctx context.Context, k *kmstest.KMS, id string) error
}

// inBackups are the instances of which one item at a time is changed, by what is in them.
var inBackups = map[string]func(*testing.T) (k *kmstest.KMS, instance, id string){
	"software": func(t *testing.T) (*kmstest.KMS, string, string) {
		k := kmstest.New(t)
		id := kit.Tenant(t, k, "acme", 0)
		return k, "acme", id
	},
	"signer": func(t *testing.T) (*kmstest.KMS, string, string) {
		k := kmstest.New(t)
		require.NoError(t, kit.Err(k.CreateInstance(t.Context(), &kms.InstanceOptions{ID: "acme"})))
		key, err := k.CreateKey(t.Context(), &kms.CreateKeyOptions{Instance: "acme", Spec: kms.SpecEd25519})
		require.NoError(t, err)
		return k, "acme", key.ID
	},
	"hardware": func(t *testing.T) (*kmstest.KMS, string, string) {
		k, id := kit.CountedIn(t, "acme")
		return k, "acme", id
	},
	"imported": func(t *testing.T) (*kmstest.KMS, string, string) {
		k := kmstest.New(t)
		require.NoError(t, kit.Err(k.CreateInstance(t.Context(), &kms.InstanceOptions{ID: "acme"})))
		id, _, _ := kit.ImportedKeyIn(t, k, "acme", kit.Material())
		return k, "acme", id
	},
	"retiring": func(t *testing.T) (*kmstest.KMS, string, string) {
		k := kmstest.New(t)
		id := kit.Tenant(t, k, "acme", 0)
		for _, before := range []int{0, 2, 0, 3} { // of four versions the first is gone, and the second to go
			if before == 0 {
				require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
				require.NoError(t, kit.Err(k.RotateKey(t.Context(), id)))
				continue
			}
			k.Clock.AdvanceDays(8)
			require.NoError(t, kit.Err(k.RetireKeyVersions(t.Context(), id, kms.RetireOptions{Before: before, Days: 7 * before})))
			if before == 2 {
				k.Clock.AdvanceDays(15)
				kit.Maintain(t, k)
				k.Clock.AdvanceDays(2)
				kit.Maintain(t, k)
			}
		}
		return k, "acme", id
	},
	"tombstone": func(t *testing.T) (*kmstest.KMS, string, string) {
		k := kmstest.New(t)
		id := kit.Tenant(t, k, "acme", 0)
		kit.Purge(t, k, id)
		return k, "acme", id
	},
	"taken over": func(t *testing.T) (*kmstest.KMS, string, string) {
		old := kit.OldKeyring(t, "invoices", 2)
		k := kmstest.New(t, kit.WithSources(old.Source))
		require.NoError(t, kit.Err(k.CreateInstance(t.Context(), &kms.InstanceOptions{ID: "acme"})))
		require.NoError(t, kit.Err(k.MigrateLegacyKey(t.Context(), old.ID, "acme")))
		return k, "acme", old.ID
	},
	"service": func(t *testing.T) (*kmstest.KMS, string, string) {
		k := kmstest.New(t)
		key, err := k.Service("payments").Key(t.Context())
		require.NoError(t, err)
		return k, kms.DefaultInstance, key.ID
	},
}

func says(text string) string { b, _ := json.Marshal(text); return string(b) }

// dependents are so many, as JSON.
func dependents(n int) string {
	all := make([]kms.Dependent, n)
	for i := range all {
		all[i].Name = fmt.Sprintf("table %d", i)
	}
	b, _ := json.Marshal(all)
	return string(b)
}

const ahead, past = `"2031-01-01T00:00:00Z"`, `"2020-01-01T00:00:00Z"`

func describe(text string) func(context.Context, *kmstest.KMS, string) error {
	return func(ctx context.Context, k *kmstest.KMS, id string) error {
		return kit.Err(k.SetDescription(ctx, id, text))
	}
}

func protect(why string) func(context.Context, *kmstest.KMS, string) error {
	return func(ctx context.Context, k *kmstest.KMS, id string) error {
		return kit.Err(k.SetDeletionProtection(ctx, id, true, why))
	}
}

func rotate(days int) func(context.Context, *kmstest.KMS, string) error {
	return func(ctx context.Context, k *kmstest.KMS, id string) error {
		return kit.Err(k.UpdateRotationPolicy(ctx, id, days))
	}
}

func tag(tags map[string]string) func(context.Context, *kmstest.KMS, string) error {
	return func(ctx context.Context, k *kmstest.KMS, id string) error { return kit.Err(k.SetTags(ctx, id, tags)) }
}

func depend(n int) func(context.Context, *kmstest.KMS, string) error {
	return func(ctx context.Context, k *kmstest.KMS, id string) (err error) {
		for i := range n {
			err = errors.Join(err, kit.Err(k.AddDependent(ctx, id, kms.Dependent{Name: fmt.Sprintf("table %d", i)})))
		}
		return err
	}
}

func dim(share float64) func(context.Context, *kmstest.KMS, string) error {
	return func(ctx context.Context, k *kmstest.KMS, id string) error {
		return kit.Err(k.SetBrownout(ctx, id, share, k.Clock.Now().AddDate(1, 0, 0)))
	}
}

func named(name string) func(context.Context, *kmstest.KMS, string) error {
	return func(ctx context.Context, k *kmstest.KMS, _ string) error {
		return kit.Err(k.CreateInstance(ctx, &kms.InstanceOptions{ID: "other", Name: name}))
	}
}

// does is for what a call does that has no bound which the change could be at.
func does(context.Context, *kmstest.KMS, string) error { return nil }

var long = strings.Repeat("d", kms.MaxDescription)

// facts are the changes by the kind of the item, the instance of inBackups and the first field. A field of a
// record that is not here is set to something that is not zero, which no call does.
var facts = map[byte]map[string][]fact{
	kms.KeyItem: {
		"software": {
			{`{"id":"01890000-0000-7000-8000-000000000000"}`, nil},
			{`{"seq":0}`, nil}, {`{"seq":9223372036854775808}`, nil}, {`{"seq":5}`, does},
			{`{"disabled":true}`, does}, {`{"disabledAt":` + past + `}`, nil}, {`{"disabledAt":` + past + `,"disabled":true}`, does},
			{`{"protected":true}`, protect("")}, {`{"protectedWhy":"x"}`, nil}, {`{"protectedWhy":"x","protected":true}`, protect("x")},
			{`{"protectedWhy":` + says(long) + `,"protected":true}`, protect(long)}, {`{"protectedWhy":` + says(long+"d") + `,"protected":true}`, protect(long + "d")},
			{`{"primary":0}`, nil}, {`{"primary":2}`, nil},
			{`{"versions":[]}`, nil}, {`{"versions":[{"version":1,"sealed":"AAAA"}]}`, nil}, {`{"versions":[],"primary":0}`, nil},
			{`{"deleteAt":` + ahead + `}`, nil}, {`{"deleteAt":` + ahead + `,"disabled":true}`, does},
			{`{"destroyedAt":` + past + `}`, nil}, {`{"materialUntil":` + ahead + `}`, nil},
			{`{"protection":"HSM"}`, nil}, {`{"protection":""}`, nil}, {`{"protection":"PAPER"}`, nil},
			{`{"usage":""}`, nil}, {`{"usage":"SIGN/VERIFY"}`, nil}, {`{"usage":"GENERATE/VERIFY_MAC"}`, nil},
			{`{"origin":"EXTERNAL"}`, nil}, {`{"origin":""}`, nil}, {`{"origin":"PAPER"}`, nil},
			{`{"owner":"SERVICE"}`, nil}, {`{"owner":"SERVICE","service":"payments"}`, nil}, {`{"owner":"LEGACY"}`, nil}, {`{"owner":"NOBODY"}`, nil},
			{`{"service":"payments"}`, nil},
			{`{"brownUntil":` + ahead + `}`, nil}, {`{"brownShare":1}`, nil}, {`{"brownShare":1000000,"brownUntil":` + ahead + `}`, dim(1)},
			{`{"brownShare":1000001,"brownUntil":` + ahead + `}`, dim(1.000001)},
			{`{"rotationDays":6}`, rotate(6)}, {`{"rotationDays":7}`, rotate(7)}, {`{"rotationDays":365}`, rotate(365)}, {`{"rotationDays":366}`, rotate(366)},
			{`{"rotationDays":-1}`, rotate(-1)},
			{`{"spec":"AES_128"}`, nil}, {`{"spec":"HMAC_256"}`, nil}, {`{"spec":""}`, nil}, {`{"spec":"AES_512"}`, nil},
			{`{"description":` + says(long) + `}`, describe(long)}, {`{"description":` + says(long+"d") + `}`, describe(long + "d")},
			{`{"tags":{"a":"b"}}`, tag(map[string]string{"a": "b"})}, {`{"tags":{"":"b"}}`, tag(map[string]string{"": "b"})}, {`{"tags":{"acs:a":"b"}}`, tag(map[string]string{"acs:a": "b"})},
			{`{"created":"0001-01-01T00:00:00Z"}`, nil}, {`{"dueSeenAt":` + past + `}`, nil},
			{`{"dependents":` + dependents(kms.MaxDependents) + `}`, depend(kms.MaxDependents)}, {`{"dependents":` + dependents(kms.MaxDependents+1) + `}`, depend(kms.MaxDependents + 1)},
			{`{"dependents":[{"name":"a"},{"name":"a"}]}`, nil}, {`{"dependents":[{"name":""}]}`, nil},
			{`{"doomed":[{"version":1,"sealed":"AAAA"}]}`, nil}, {`{"forgotten":{"at":` + past + `}}`, nil},
			{`{"old":[{"scheme":"kms-1.0","locator":"1","sealed":"AAAA"}]}`, nil}, {`{"old":[{"scheme":"kms-1.0","locator":"1"}]}`, nil},
			{`{"was":{"scheme":"kms-1.0","locator":"1","mac":"AAAA"}}`, nil}, {`{"shred":"AAAA"}`, nil}, {`{"fingerprint":"AAAA"}`, nil}, {`{"unknown":1}`, nil},
			{`{"retiredBefore":1}`, nil}, {`{"retiredBefore":2}`, nil}, {`{"retiringBefore":2,"retireAt":` + ahead + `}`, nil}, {`{"retireAt":` + ahead + `}`, nil},
			{`{"retireSeenAt":` + past + `}`, nil}, {`{"retireWhy":"x"}`, nil}, {`{"bare":true}`, nil}, {`{"elsewhere":true}`, nil},
		},
		"retiring": {
			{`{"retiredBefore":3}`, nil}, {`{"retiredBefore":1}`, nil}, {`{"retiredBefore":0}`, does}, {`{"retiredBefore":6}`, nil},
			{`{"retiringBefore":2}`, nil}, {`{"retiringBefore":4}`, does}, {`{"retiringBefore":5}`, does}, {`{"retiringBefore":6}`, nil}, {`{"retiringBefore":0}`, nil},
			{`{"retireAt":"0001-01-01T00:00:00Z"}`, nil}, {`{"retireAt":` + ahead + `}`, does}, {`{"retireSeenAt":` + past + `}`, does},
			{`{"retireWhy":` + says(long[:kms.MaxDependent]) + `}`, does}, {`{"retireWhy":` + says(long[:kms.MaxDependent+1]) + `}`, nil},
			{`{"primary":2}`, nil}, {`{"rotationDays":7,"runsOutTold":true}`, does}, {`{"bare":true}`, nil}, {`{"elsewhere":true}`, nil},
		},
		"signer":   {{`{"rotationDays":7}`, rotate(7)}, {`{"usage":"ENCRYPT/DECRYPT"}`, nil}, {`{"spec":"AES_256"}`, nil}, {`{"runsOutTold":true}`, nil}},
		"hardware": {{`{"protection":"SOFTWARE"}`, nil}, {`{"primary":0}`, nil}},
		"imported": {
			{`{"materialUntil":` + ahead + `}`, does}, {`{"versions":[]}`, does}, {`{"versions":[],"materialUntil":` + ahead + `}`, nil}, {`{"origin":"KMS"}`, nil},
			{`{"shred":null,"fingerprint":null}`, nil}, {`{"shred":null}`, nil}, {`{"fingerprint":null}`, nil}, {`{"rotationDays":7}`, rotate(7)}, {`{"versions":[],"primary":2}`, nil},
			{`{"versions":[],"deleteAt":` + ahead + `}`, does},
		},
		"tombstone": {
			{`{"description":"x"}`, nil}, {`{"disabled":true}`, nil}, {`{"primary":1}`, nil}, {`{"tags":{"a":"b"}}`, nil}, {`{"rotationDays":7}`, nil}, {`{"protected":true}`, nil},
			{`{"forgotten":null}`, does}, {`{"was":{"scheme":"","locator":"1","mac":"AAAA"}}`, nil}, {`{"destroyedAt":"0001-01-01T00:00:00Z"}`, nil},
		},
		"taken over": {
			{`{"owner":"SERVICE","service":"payments"}`, nil}, {`{"origin":"EXTERNAL"}`, nil}, {`{"spec":"HMAC_256","usage":"GENERATE/VERIFY_MAC"}`, nil},
		},
		"service": {
			{`{"service":""}`, nil}, {`{"service":"orders"}`, nil}, {`{"service":"p_q"}`, nil}, {`{"owner":"CUSTOMER"}`, nil}, {`{"description":"x"}`, nil}, {`{"tags":{"a":"b"}}`, nil},
			{`{"dependents":[{"name":"a"}]}`, nil}, {`{"protected":true}`, nil}, {`{"brownShare":1,"brownUntil":` + ahead + `}`, nil}, {`{"rotationDays":7}`, does},
		},
	},
	kms.InstanceItem: {
		"software": {
			{`{"id":"emca"}`, nil}, {`{"store":"AAAAAAAAAAAAAAAAAAAAAA=="}`, nil}, {`{"created":"0001-01-01T00:00:00Z"}`, nil}, {`{"seq":7}`, nil},
			{`{"name":` + says(long[:kms.MaxInstanceName]) + `}`, named(long[:kms.MaxInstanceName])},
			{`{"name":` + says(long[:kms.MaxInstanceName+1]) + `}`, named(long[:kms.MaxInstanceName+1])},
			{`{"protection":"HSM"}`, nil}, {`{"protection":""}`, nil}, {`{"protection":"PAPER"}`, nil},
			{`{"expiresAt":` + ahead + `}`, does}, {`{"protected":true}`, does}, {`{"protectedWhy":"x"}`, nil}, {`{"protectedWhy":"x","protected":true}`, does},
			{`{"releaseOnly":true}`, nil}, {`{"releaseOnly":true,"protected":true}`, does},
			{`{"protectedWhy":` + says(long+"d") + `,"protected":true}`, nil},
		},
		"service": {{`{"name":"x"}`, nil}, {`{"expiresAt":` + ahead + `}`, nil}, {`{"protection":"SOFTWARE"}`, nil}},
	},
	kms.CountItem: {
		"hardware": {
			{`{"key":"01890000-0000-7000-8000-000000000000"}`, nil}, {`{"seq":0}`, nil}, {`{"versions":null}`, nil}, {`{"versions":{}}`, nil}, {`{"versions":{"0":1}}`, nil},
			{`{"versions":{"2":1}}`, nil}, {`{"versions":{"1":2147483648}}`, does}, {`{"versions":{"1":2147483649}}`, nil},
		},
	},
}

// fields are the names of the fields of a record, and of which type they are.
func fields(of reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for f := range of.NumField() {
		if name, _, _ := strings.Cut(of.Field(f).Tag.Get("json"), ","); name != "" {
			all[name] = of.Field(f).Type
		}
	}
	return all
}

// TestBackupFields changes one fact of an item of a sound backup at a time. It is taken if and only
// if a call of the API can bring the item about. No field of an item is left out.
func TestBackupFields(t *testing.T) {
	recipient := kit.Root(t, 7)
	tried, taken := 0, 0
	for kind, by := range facts {
		unseen := fields(kms.BackupRecords[kind])
		for _, all := range by {
			for _, f := range all {
				var change map[string]json.RawMessage
				require.NoError(t, json.Unmarshal([]byte(f.change), &change))
				for name := range change {
					delete(unseen, name)
				}
			}
		}
		more := maps.Clone(by)
		for name, of := range unseen {
			require.Equal(t, byte(kms.InstanceItem), kind, "nothing changes the field %s", name)
			more["software"] = append(slices.Clone(more["software"]), fact{`{"` + name + `":` + something(t, of) + `}`, nil})
		}
		for _, what := range slices.Sorted(maps.Keys(more)) {
			k, instance, id := inBackups[what](t)
			backup := kit.Backup(t, k.Manager, instance, recipient)
			same, err := kms.EditBackup(backup, recipient, kind, []byte(`{}`))
			require.NoError(t, err)
			require.NoError(t, kit.Err(kms.VerifyBackup(t.Context(), bytes.NewReader(same), recipient)), what)
			r := unchanging(t, k, recipient)
			for _, f := range more[what] {
				tried++
				odd, err := kms.EditBackup(backup, recipient, kind, []byte(f.change))
				require.NoError(t, err)
				if f.call == nil || f.call(t.Context(), k, id) != nil {
					r.refuse(t, odd, what+" "+shortened(f.change))
					continue
				}
				taken++
				_, err = kms.VerifyBackup(t.Context(), bytes.NewReader(odd), recipient)
				require.NoError(t, err, "%s %s", what, shortened(f.change))
				to := kit.NewService(t, k, kit.InHardware)
				report := kit.Restore(t, to.Manager, odd, recipient, nil)
				require.Empty(t, report.Skipped)
				require.Equal(t, report.Backup.Keys, report.Restored+report.Tombstones)
			}
		}
	}
	require.Greater(t, taken, 20)
	t.Logf("%d changes were made, of which %d were taken", tried, taken)
}

func shortened(s string) string { return s[:min(len(s), 80)] }

// something is a value that is not zero.
func something(t *testing.T, of reflect.Type) string {
	v := reflect.New(of).Elem()
	switch of.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(1)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		if of.Elem().Kind() != reflect.Uint8 {
			return "[{}]"
		}
		v.SetBytes([]byte{1})
	case reflect.Pointer:
		v.Set(reflect.New(of.Elem()))
	case reflect.Struct:
		require.Equal(t, reflect.TypeFor[time.Time](), of)
		v.Set(reflect.ValueOf(time.Unix(1e9, 0).UTC()))
	default:
		t.Fatalf("nothing is known that is not zero of %s", of)
	}
	b, err := json.Marshal(v.Interface())
	require.NoError(t, err)
	return string(b)
}

// aliasNames are names at the bounds of what an alias may be.
var aliasNames = []string{
	"alias/a", "alias/default", "alias/Default", "alias/default/", "alias/acs", "alias/acs/", "alias/acs/payments", "alias/acs/other", "alias/acsx", "alias/ac",
	"alias/", "alias", "default", "Alias/a", "alias/a b", "alias/" + strings.Repeat("a", kms.MaxAlias-6), "alias/" + strings.Repeat("a", kms.MaxAlias-5),
}

// TestBackupAliasNames: a backup gives a key the names that CreateAlias gives it, and the key of a
// service the one that it has.
func TestBackupAliasNames(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	for _, what := range []string{"software", "service", "default"} {
		k := kmstest.New(t)
		id, instance := k.MustCreateKey(t).ID, kms.DefaultInstance
		if what != "default" {
			k, instance, id = inBackups[what](t)
		}
		backup := kit.Backup(t, k.Manager, instance, recipient)
		items, err := kms.BackupItems(backup, recipient)
		require.NoError(t, err)
		items = slices.DeleteFunc(items, func(i kms.BackupItem) bool { return i.Kind == 3 })
		r := unchanging(t, k, recipient)
		for _, name := range aliasNames {
			alias := kms.BackupItem{Kind: 3, Body: []byte(id + name)}
			made, err := kms.MakeBackup(backup, recipient, kms.Reclose(slices.Insert(slices.Clone(items), len(items)-1, alias)))
			require.NoError(t, err)
			allowed := k.CreateAlias(ctx, name, id) == nil
			if what == "service" {
				allowed = name == "alias/acs/payments"
			}
			if !allowed {
				r.refuse(t, made, what+" "+name)
				continue
			}
			to := kit.NewService(t, k)
			report := kit.Restore(t, to.Manager, made, recipient, nil)
			require.Equal(t, 1, report.Aliases, "%s %s", what, name)
			key, err := to.DescribeKey(ctx, name)
			require.NoError(t, err)
			require.Equal(t, id, key.ID)
		}
	}
}

// forge puts the items of a kind of one backup into another, which is of the same instance.
func forge(t *testing.T, backup []byte, recipient kms.Root, change func([]kms.BackupItem) []kms.BackupItem) []byte {
	items, err := kms.BackupItems(backup, recipient)
	require.NoError(t, err)
	made, err := kms.MakeBackup(backup, recipient, kms.Reclose(change(items)))
	require.NoError(t, err)
	return made
}

// TestRestoreTakesNoKeyOfAnotherSystem: under the ID of a key of Config.Legacy a backup brings that
// key, or its tombstone, and no other.
func TestRestoreTakesNoKeyOfAnotherSystem(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	old := kit.OldKeyring(t, "invoices", 2)
	fake := kit.OldMaterial("of the tenant")
	version := legacy.NameID("test", "invoicesa")
	impostor, err := keyring.New(legacy.Key{ID: old.ID, Versions: []legacy.Version{keyring.NewVersion(version, time.Time{}, fake)}})
	require.NoError(t, err)
	for what, c := range map[string]struct {
		source  legacy.Source
		deleted bool
		state   kms.State
	}{
		"the key":                  {old.Source, false, kms.Enabled},
		"its tombstone":            {old.Source, true, kms.Deleted},
		"an impostor":              {impostor, false, kms.Enabled},
		"the impostor's tombstone": {impostor, true, kms.Enabled},
	} {
		t.Run(what, func(t *testing.T) {
			there := kmstest.New(t, kit.WithSources(c.source))
			require.NoError(t, kit.Err(there.CreateInstance(ctx, &kms.InstanceOptions{ID: "acme"})))
			require.NoError(t, kit.Err(there.MigrateLegacyKey(ctx, old.ID, "acme")))
			if c.deleted {
				kit.Purge(t, there, old.ID)
			}
			backup := kit.Backup(t, there.Manager, "acme", recipient)
			k := kit.NewService(t, there, kit.WithSources(old.Source))
			report := kit.Restore(t, k.Manager, backup, recipient, nil)
			for _, m := range []*kms.Manager{k.Manager, k.Another(t)} {
				require.Equal(t, c.state, kit.StateOf(t, m, old.ID))
				_, err := m.Decrypt(ctx, old.Ciphertexts[0], old.EC)
				require.Equal(t, c.state == kms.Enabled, err == nil)
			}
			if c.source == old.Source {
				require.Empty(t, report.Skipped)
				return
			}
			require.Equal(t, []kms.SkippedItem{{KeyID: old.ID, Why: kms.SkippedOther}}, report.Skipped)
			require.NoError(t, kit.Err(k.MigrateLegacyKey(ctx, old.ID, "")), "it can still be taken over")
		})
	}
}

// TestRestoreTakesNoNameOfOthers: the restore of one instance names no key of another, and asks for
// each alias that it makes.
func TestRestoreTakesNoNameOfOthers(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	k := kmstest.New(t)
	id := kit.Tenant(t, k, "acme", 0)
	for _, name := range []string{"alias/a", "alias/b"} {
		require.NoError(t, k.CreateAlias(ctx, name, id))
	}
	backup := kit.Backup(t, k.Manager, "acme", recipient)

	t.Run("denied", func(t *testing.T) {
		var asked []kms.Request
		to := kit.NewService(t, k, func(c *kms.Config) {
			c.Authorize = func(_ context.Context, r kms.Request) error {
				if r.Op != kms.OpCreateAlias {
					return nil
				}
				if asked = append(asked, r); r.Alias == "alias/b" {
					return errors.New("not that one")
				}
				return nil
			}
		})
		one := func(b []byte) kms.RestoreReport { asked = nil; return kit.Restore(t, to.Manager, b, recipient, nil) }
		alone := forge(t, backup, recipient, func(all []kms.BackupItem) []kms.BackupItem {
			return slices.DeleteFunc(all, func(i kms.BackupItem) bool { return string(i.Body) == id+"alias/a" })
		})
		report := one(alone)
		require.Equal(t, []kms.SkippedItem{{KeyID: id, Alias: "alias/b", Why: kms.SkippedDenied}}, report.Skipped)
		require.Equal(t, []kms.Request{{Op: kms.OpCreateAlias, KeyID: id, Alias: "alias/b"}}, asked)
		require.ErrorIs(t, kit.Err(to.DescribeKey(ctx, "alias/b")), kms.ErrNotFound)
	})
	t.Run("a key of another instance", func(t *testing.T) {
		to := kit.NewService(t, k)
		require.NoError(t, kit.Err(to.CreateInstance(ctx, &kms.InstanceOptions{ID: "emca"})))
		kit.Restore(t, to.Manager, backup, recipient, nil)
		record := kit.StoredValue(t, to, "key/"+id)
		kit.EditItem(t, to, "key/"+id, func([]byte) []byte { // it says that it lives elsewhere
			return append([]byte{1, 4}, append([]byte("emca"), record[6:]...)...)
		})
		require.NoError(t, to.DeleteAlias(ctx, "alias/a"))
		report := kit.Restore(t, to.Manager, backup, recipient, nil)
		require.Equal(t, []kms.SkippedItem{
			{KeyID: id, Why: kms.SkippedInstance}, {KeyID: id, Alias: "alias/a", Why: kms.SkippedInstance}, {KeyID: id, Alias: "alias/b", Why: kms.SkippedInstance},
		}, report.Skipped)
		require.ErrorIs(t, kit.Err(to.DescribeKey(ctx, "alias/a")), kms.ErrNotFound)
	})
	t.Run("the ID that an alias has ready", func(t *testing.T) {
		for _, alias := range []string{kms.DefaultKey, "alias/acs/payments"} {
			to := kit.NewService(t, k)
			require.NoError(t, kms.PointAlias(ctx, to.Manager, alias, id))
			report := kit.Restore(t, to.Manager, backup, recipient, nil)
			require.Contains(t, report.Skipped, kms.SkippedItem{KeyID: id, Why: kms.SkippedTaken})
			require.ErrorIs(t, kit.Err(to.DescribeKey(ctx, id)), kms.ErrNotFound)
		}
	})
	t.Run("the view of a service", func(t *testing.T) {
		to := kit.NewService(t, k)
		for _, other := range []string{to.MustCreateKey(t).ID, mustKey(t, to.Service("orders")).ID} {
			require.NoError(t, kms.PointAlias(ctx, to.Manager, "alias/acs/payments", other))
			_, err := to.Service("payments").Key(ctx)
			require.ErrorIs(t, err, kms.ErrReadOnly)
			require.NotContains(t, err.Error(), "another system")
		}
	})
}

func mustKey(t *testing.T, s *kms.Service) kms.Key {
	key, err := s.Key(t.Context())
	require.NoError(t, err)
	return key
}

// TestRestoreEnds: whatever can know a key, after a Restore with its tombstone everything about it is
// ErrNotFound, also for another Manager, and after a Restore of an older backup without the list. The
// keys that end without being in the backup are reported, also before anything is written.
func TestRestoreEnds(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	for what, c := range map[string]struct {
		begin func(t *testing.T) (backup []byte, id string, to *kmstest.KMS)
		ended bool
	}{
		"a backup": {func(t *testing.T) ([]byte, string, *kmstest.KMS) {
			k := kmstest.New(t)
			id := kit.Tenant(t, k, "acme", 0)
			return kit.Backup(t, k.Manager, "acme", recipient), id, kit.NewService(t, k)
		}, false},
		"a source": {func(t *testing.T) ([]byte, string, *kmstest.KMS) {
			k, old := kit.OldIn(t, "acme", false)
			return kit.Backup(t, k.Manager, "acme", recipient), old.ID, kit.NewService(t, k, kit.WithSources(old.Source))
		}, true},
		"a source, and a backup": {func(t *testing.T) ([]byte, string, *kmstest.KMS) {
			k, old := kit.OldIn(t, "acme", true)
			return kit.Backup(t, k.Manager, "acme", recipient), old.ID, kit.NewService(t, k, kit.WithSources(old.Source))
		}, true},
		"the default key to be": {func(t *testing.T) ([]byte, string, *kmstest.KMS) {
			k := kmstest.New(t)
			id := k.MustCreateKey(t).ID
			kit.Tenant(t, k, "acme", 0)
			to := kit.NewService(t, k)
			require.NoError(t, kms.PointAlias(ctx, to.Manager, kms.DefaultKey, id))
			return kit.Backup(t, k.Manager, "acme", recipient), id, to
		}, true},
		"a service's key to be": {func(t *testing.T) ([]byte, string, *kmstest.KMS) {
			k := kmstest.New(t)
			id := k.MustCreateKey(t).ID
			kit.Tenant(t, k, "acme", 0)
			to := kit.NewService(t, k)
			require.NoError(t, kms.PointAlias(ctx, to.Manager, "alias/acs/payments", id))
			return kit.Backup(t, k.Manager, "acme", recipient), id, to
		}, true},
	} {
		t.Run(what, func(t *testing.T) {
			backup, id, to := c.begin(t)
			var ended []string
			if c.ended {
				ended = []string{id}
			}
			nobody := "01890000-0000-7000-8000-000000000000"
			opts := kms.RestoreOptions{Tombstones: []kms.Tombstone{{KeyID: id}, {KeyID: nobody}}}
			dry := opts
			dry.DryRun = true
			before := kit.StoredItems(t, to)
			require.Equal(t, ended, kit.Restore(t, to.Manager, backup, recipient, &dry).Ended)
			require.Equal(t, before, kit.StoredItems(t, to), "nothing was written")
			require.Equal(t, ended, kit.Restore(t, to.Manager, backup, recipient, &opts).Ended)
			for range 2 {
				for _, m := range []*kms.Manager{to.Manager, to.Another(t)} {
					require.ErrorIs(t, kit.Err(m.DescribeKey(ctx, id)), kms.ErrNotFound)
					require.ErrorIs(t, kit.Err(m.Encrypt(ctx, id, nil, nil)), kms.ErrNotFound)
					require.ErrorIs(t, kit.Err(m.MigrateLegacyKey(ctx, id, "")), kms.ErrNotFound)
					require.NoError(t, kit.Err(m.Encrypt(ctx, kms.DefaultKey, nil, nil)))
					require.NotEqual(t, id, mustKey(t, m.Service("payments")).ID)
					for key := range m.Keys(ctx, nil) {
						require.NotEqual(t, id, key.ID)
					}
				}
				require.True(t, slices.ContainsFunc(kit.Tombstones(t, to.Manager), func(g kms.Tombstone) bool { return g.KeyID == id }))
				require.ErrorIs(t, kit.Err(to.DescribeKey(ctx, nobody)), kms.ErrNotFound)
				kit.Restore(t, to.Manager, backup, recipient, nil)
			}
			// A backup of what came of it is sound, and ends the key elsewhere.
			for instance := range to.Instances(ctx) {
				require.NoError(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(kit.Backup(t, to.Manager, instance.ID, recipient)), recipient)))
			}
		})
	}
}

// TestRestoreRefusesMaterial: material that is no key of its spec is found before anything is written.
func TestRestoreRefusesMaterial(t *testing.T) {
	recipient := kit.Root(t, 7)
	k, instance, _ := inBackups["signer"](t)
	odd, err := kms.EditBackup(kit.Backup(t, k.Manager, instance, recipient), recipient, kms.KeyItem, []byte(`{"spec":"EC_P256"}`))
	require.NoError(t, err)
	r := unchanging(t, k, recipient)
	require.ErrorIs(t, kit.Err(r.to.Restore(t.Context(), bytes.NewReader(odd), recipient, nil)), kms.ErrBackup)
}
