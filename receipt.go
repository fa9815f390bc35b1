package kms

import (
	"context"
	"slices"
	"strings"
	"time"
)

// DeletionLevel is how far a key is deleted, in the words of docs/threat-model.md. Each is
// more than the one before.
type DeletionLevel uint8

// The levels.
const (
	NotDeleted     DeletionLevel = iota // the key lives
	DeletionLevel0                      // it is suspended, and can be had back
	DeletionLevel1                      // no process uses it any more, for good
	DeletionLevel2                      // its material is not in the live record
	DeletionLevel3                      // without the root, no byte that the store ever wrote is of use
	DeletionLevel4                      // nor with the root, if those of before were destroyed
)

// whoCannot tells who can no longer read what was encrypted under a key.
var whoCannot = [...]string{
	DeletionLevel0: "whoever uses the API: the key is suspended",
	DeletionLevel1: "whoever uses the API, for good, by every process",
	DeletionLevel2: "whoever reads the live record, also with the root: the material is not in it",
	DeletionLevel3: "whoever has every byte that the store ever wrote (free pages, logs, snapshots), without the root",
	DeletionLevel4: "whoever has such old bytes and the root",
}

// String returns "none", or "level 0" to "level 4".
func (l DeletionLevel) String() string {
	if l == NotDeleted || l > DeletionLevel4 {
		return "none"
	}
	return "level " + string('0'+rune(l-DeletionLevel0))
}

// DeletionReceipt tells how far a key is deleted, and what the next level takes. It is what
// the service knows, and no proof to others.
type DeletionReceipt struct {
	KeyID    string // "": all keys of the instance, by its release
	Instance string
	At       time.Time // of the receipt
	Level    DeletionLevel
	Reached  []ReachedLevel // up to that level, ascending
	Missing  string         // for the next level; "" at level 4
	Do       string         // to reach it
}

// ReachedLevel is a level that a key has reached.
type ReachedLevel struct {
	Level DeletionLevel
	Since time.Time // zero: it is not known
	Who   string    // can no longer read what was encrypted under the key
	If    string    // what has to be true besides, and the service cannot know; "": nothing
}

// DeletionReceipt returns how far a key is deleted, also one that is Deleted, and while its instance
// is Expired. It changes nothing. Where the instance was released, or where no key of that ID
// is known, it is ErrNotFound. An alias whose key was deleted can be given.
//
// Level 4 is conditional. The service knows that an instance key which never sealed the material
// took the place of that which did, and that the present root never sealed that one. It cannot know
// whether the roots of before were destroyed, or what became of backups.
func (m *Manager) DeletionReceipt(ctx context.Context, ref string) (_ DeletionReceipt, err error) {
	c := m.begin(OpDeletionReceipt)
	defer c.end(ctx, &err)
	id, err := m.resolve(ctx, c, ref)
	if err != nil {
		return DeletionReceipt{}, err
	}
	e, err := m.load(ctx, c, id)
	if err != nil {
		return DeletionReceipt{}, err
	}
	rec, _, err := m.getInstance(ctx, c, e.record.keys.ID())
	if err != nil {
		return DeletionReceipt{}, err
	}
	if rec.state(c.now()) == InstanceReleased {
		return DeletionReceipt{}, keyGone(c.op, c.keyID, true)
	}
	d := DeletionReceipt{KeyID: c.keyID, Instance: rec.ID, At: c.now()}
	d.judge(e.record, rec)
	return d, nil
}

// sealedFields are the fields of a record that hold something sealed, or made from it, and
// whether it leads to plaintext: by itself, or with what others may have, such as the owner's copy
// of imported material. Without one that does, old media hold nothing that could be read.
var sealedFields = map[string]func(*record) bool{
	// In software the material; in hardware the name of what is in the hardware.
	"Versions": func(r *record) bool {
		return r.Protection != ProtectionHSM && (r.Origin == OriginKMS || r.Fingerprint != nil)
	},
	"Doomed": func(r *record) bool { return r.Protection != ProtectionHSM && len(r.Doomed) > 0 },
	// The material of versions that were taken over is in the record, wherever the key is.
	"Old": func(r *record) bool {
		return slices.ContainsFunc(r.Old, func(v oldVersion) bool { return len(v.Sealed) > 0 })
	},
	// With imported material it gives the working key of a symmetric key.
	"Shred":       func(r *record) bool { return len(r.Shred) > 0 && specs[r.Spec].material.Bytes > 0 },
	"Fingerprint": func(*record) bool { return false },
}

// leads reports whether something is, or was, sealed in a record that leads to plaintext.
func (r *record) leads() bool {
	for _, leads := range sealedFields {
		if leads(r) {
			return true
		}
	}
	return false
}

// elsewhere is the condition on which a level is reached, because something outside of the service
// may have what opens ciphertexts of the key; "": nothing does.
func (r *record) elsewhere() string {
	switch {
	case r.Elsewhere || len(r.Old) > 0:
		return "if the other system in which the key was made deleted it, too"
	case r.Origin == OriginExternal && specs[r.Spec].material.Bytes == 0:
		return "if the owner's copies of the imported private key were destroyed, which works by itself"
	default:
		return ""
	}
}

// judge goes up the levels as far as the key is.
func (d *DeletionReceipt) judge(r *record, rec *instanceRecord) {
	const order = "Then rotate the root with RotateRoot and destroy the old one with every copy, in this order."
	state := r.facts().state(d.At)
	if state != PendingDeletion && state != Deleted {
		d.lacks("it lives: it is "+state.String(), "See PlanDeletion for whether it may go, then ScheduleKeyDeletion.")
		return
	}
	d.reach(DeletionLevel0, time.Time{}, "")
	if state != Deleted {
		d.lacks("its deletion date, "+instant(r.DeleteAt)+", has not come", "Wait. Until then CancelKeyDeletion gives it back.")
		return
	}
	t, _ := r.tombstone(d.At)
	d.reach(DeletionLevel1, t.DeletedAt, "")
	if r.DestroyedAt.IsZero() || len(r.Doomed) > 0 {
		d.lacks("it was not purged yet", "Run Maintain: it purges the key PurgeDelay after it first saw the deletion date passed.")
		return
	}
	gone := r.forgotten()
	d.reach(DeletionLevel2, gone.At, "")
	d.reach(DeletionLevel3, gone.At, r.elsewhere())
	hardware := ""
	if r.Protection == ProtectionHSM {
		hardware = hardwareDestroyed
	}
	sealed := max(gone.Generation, rec.Restored)
	switch {
	case r.Bare:
		d.reach(DeletionLevel4, gone.At, both(hardware, r.elsewhere()))
	case sealed >= rec.Generation:
		d.lacks("the instance still has the instance key under which the material was sealed", "Shred the instance with Shred. "+order)
	case rec.shredding():
		d.lacks("a Shred of the instance was begun and not finished", "Call Shred again. "+order)
	case sealed >= rec.sealedFrom():
		d.lacks("the present root opens, on old media, the instance key under which the material was sealed",
			"Rotate the root with RotateRoot, and destroy the old one with every copy.")
	default:
		roots := "if every root that was in use before RotateRoot at " + instant(rec.RootedAt) +
			" was destroyed, of which the present one is none, and so was the recipient of every backup from before " + instant(rec.KeyedAt)
		d.reach(DeletionLevel4, rec.RootedAt, both(roots, hardware, r.elsewhere()))
	}
}

// hardwareDestroyed is the condition of a level where keys were in hardware.
const hardwareDestroyed = "if the hardware destroyed what it was told to, as it said, and there is no copy of the hardware's memory"

// both joins the conditions that there are.
func both(conditions ...string) string {
	return strings.Join(slices.DeleteFunc(conditions, func(s string) bool { return s == "" }), "; and ")
}

// ReleaseReceipt returns how far the keys of an instance are gone by its release, in the levels of
// DeletionReceipt: the KeyID is empty, and each level is that of every key which the instance had.
// Keys that were deleted before are at least as far. It changes nothing. An Active instance has no
// level; one that is Expired has level 0, for RenewInstance brings its keys back.
//
// Level 4 is conditional, as with DeletionReceipt. It needs a root that never sealed the instance key:
// one that RotateRoot came to after the key was destroyed.
func (m *Manager) ReleaseReceipt(ctx context.Context, id string) (_ DeletionReceipt, err error) {
	c := m.begin(OpReleaseReceipt)
	defer c.end(ctx, &err)
	rec, err := m.namedInstance(ctx, c, id)
	if err != nil {
		return DeletionReceipt{}, err
	}
	home, _, err := m.getInstance(ctx, c, DefaultInstance)
	if err != nil {
		return DeletionReceipt{}, err
	}
	d := DeletionReceipt{Instance: id, At: c.now()}
	d.judgeRelease(rec, home)
	return d, nil
}

// judgeRelease goes up the levels as far as the keys of an instance are.
func (d *DeletionReceipt) judgeRelease(rec, home *instanceRecord) {
	state := rec.state(d.At)
	if state == InstanceActive {
		d.lacks("it is Active", "See PlanRelease for whether it may go, then ReleaseInstance.")
		return
	}
	d.reach(DeletionLevel0, earliest(rec.ExpiresAt, rec.ReleasedAt), "")
	if state == InstanceExpired {
		d.lacks("it can be renewed until "+instant(rec.releasesAt()), "Wait, or release it with ReleaseInstance. Until then RenewInstance gives its keys back.")
		return
	}
	over, destroyed, hardware := rec.ReleasedAt, rec.ReleasedAt, ""
	if end := rec.releasesAt(); !end.IsZero() && (over.IsZero() || end.Before(over)) {
		over = end
	}
	d.reach(DeletionLevel1, over, "")
	if !rec.destroyed() {
		d.lacks("its instance key was not destroyed yet", "Run Maintain: it destroys the key PurgeDelay after it first saw the end of the instance, or once the hardware can be reached.")
		return
	}
	if rec.Protection == ProtectionHSM {
		destroyed, hardware = time.Time{}, hardwareDestroyed // it may have taken Maintain to finish
	}
	d.reach(DeletionLevel2, destroyed, "")
	const elsewhere = "if what others have of keys that were imported or taken over was destroyed, too"
	d.reach(DeletionLevel3, destroyed, elsewhere)
	switch {
	case home.Seals[0].Since <= rec.SealedBy:
		d.lacks("the present root opens the instance key on old media", "Rotate the root with RotateRoot, and destroy the old one with every copy.")
	default:
		d.reach(DeletionLevel4, home.RootedAt, both("if every root that was in use before RotateRoot at "+instant(home.RootedAt)+
			" was destroyed, of which the present one is none, and so was the recipient of every backup of the instance", elsewhere, hardware))
	}
}

func (d *DeletionReceipt) reach(l DeletionLevel, since time.Time, condition string) {
	d.Level = l
	d.Reached = append(d.Reached, ReachedLevel{Level: l, Since: since, Who: whoCannot[l], If: condition})
}

func (d *DeletionReceipt) lacks(missing, do string) { d.Missing, d.Do = missing, do }
