package kms

import (
	"context"
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
	KeyID    string
	Instance string
	At       time.Time // of the receipt
	Level    DeletionLevel
	Reached  []ReachedLevel // up to that level, ascending
	Missing  string         // for the next level; "" where there is none
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
	d.reach(DeletionLevel3, gone.At, "")
	sealed := max(gone.Generation, rec.Restored)
	switch {
	case r.Protection == ProtectionHSM:
		d.reach(DeletionLevel4, gone.At, "if the hardware destroyed the key, as it said, and there is no copy of the hardware's memory")
	case sealed >= rec.Generation:
		d.lacks("the instance still has the instance key under which the material was sealed", "Shred the instance with Shred. "+order)
	case rec.shredding():
		d.lacks("a Shred of the instance was begun and not finished", "Call Shred again. "+order)
	case sealed >= rec.sealedFrom():
		d.lacks("the present root opens, on old media, the instance key under which the material was sealed",
			"Rotate the root with RotateRoot, and destroy the old one with every copy.")
	default:
		d.reach(DeletionLevel4, rec.RootedAt, "if every root that was in use before RotateRoot at "+instant(rec.RootedAt)+
			" was destroyed, and so was the recipient of every backup from before "+instant(rec.KeyedAt))
	}
}

func (d *DeletionReceipt) reach(l DeletionLevel, since time.Time, condition string) {
	d.Level = l
	d.Reached = append(d.Reached, ReachedLevel{Level: l, Since: since, Who: whoCannot[l], If: condition})
}

func (d *DeletionReceipt) lacks(missing, do string) { d.Missing, d.Do = missing, do }
