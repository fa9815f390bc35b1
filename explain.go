package kms

import (
	"cmp"
	"context"
)

// Explanation tells whether an operation would be done, and if not, why.
type Explanation struct {
	Op       Op
	KeyID    string // the key concerned; "" where there is none
	Instance string // the instance concerned, where the operation is about one
	State    State  // of the key; none where there is no such key
	Allowed  bool
	Reasons  []error  // all that stands in the way, in the order in which it is told: Code and Hint say what to do
	Brownout Brownout // allowed, but a share of uses is refused
}

// Explain tells whether an operation would be done to a key, or to an instance, without doing
// it: every reason against it at once, where the call itself tells the first, each with its
// hint. The ref is what the operation is about: a key ID or an alias, an instance's ID for
// operations of instances and for CreateKey, empty for those that are about neither.
//
// It looks at what the key is, and asks Authorize, for itself and then for the operation. If nothing
// else stands in the way of a use, it has the provider open the key, as the use would. It does not look at arguments that the call would have: a window, a ciphertext, a token. Of a
// key that is gone it says so and no more. Nothing is counted, and Observe is told of
// Explain alone. It fails with ErrInvalid for an operation that callers do not do, and with
// ErrUnavailable where the key store cannot be read.
func (m *Manager) Explain(ctx context.Context, op Op, ref string) (_ Explanation, err error) {
	c := m.begin(OpExplain)
	defer c.end(ctx, &err)
	about := aboutOf(op)
	x := Explanation{Op: op}
	asked := c.also(op)
	switch {
	case about == aboutNone:
		return x, invalid(c.op, "the operation is none of the exported constants of type Op")
	case about == aboutKey:
		err = m.explainKey(ctx, c, asked, ref, &x)
	case about == aboutInstance:
		err = m.explainInstance(ctx, c, asked, ref, &x)
	case ref != "":
		return x, invalid(c.op, "the ref is not empty, and the operation is about no key and no instance")
	default:
		if err = c.authorize(ctx, Request{}); err == nil {
			x.against(asked.authorize(ctx, Request{}))
		}
	}
	if err != nil {
		return Explanation{}, err
	}
	x.Allowed = len(x.Reasons) == 0
	return x, nil
}

// about is what an operation is about.
type about uint8

const (
	aboutNone about = iota
	aboutKey
	aboutInstance
	aboutAll
)

// instanceOps are the operations that are about an instance.
var instanceOps = map[Op]bool{
	OpCreateKey: true, OpCreateInstance: true, OpDescribeInstance: true, OpRenewInstance: true, OpReleaseInstance: true, OpShred: true,
	OpSetInstanceDeletionProtection: true, OpBackupInstance: true, OpPlanRelease: true, OpReleaseReceipt: true,
}

func aboutOf(op Op) about {
	switch {
	case op < OpCreateKey || op >= numOps:
		return aboutNone
	case instanceOps[op]:
		return aboutInstance
	case op == OpMigrateLegacyKey || op == OpDeletionReceipt || lifecycle[op].next != [numStates]State{}:
		return aboutKey
	default:
		return aboutAll
	}
}

// against adds a reason, if it is one.
func (x *Explanation) against(reasons ...error) {
	for _, err := range reasons {
		if err != nil {
			x.Reasons = append(x.Reasons, err)
		}
	}
}

func (m *Manager) explainKey(ctx context.Context, c, asked *call, ref string, x *Explanation) error {
	id, err := m.resolve(ctx, c, ref)
	x.KeyID, asked.keyID = c.keyID, c.keyID
	if refusedAs(err, ErrNotFound) {
		x.against(asked.authorize(ctx, Request{Alias: ref}), m.missing(ctx, asked, ref, aliasNotFound(asked.op, ref)))
		return nil
	}
	if err != nil {
		return err
	}
	request := Request{KeyID: c.keyID}
	if ref != c.keyID {
		request.Alias = ref
	}
	x.against(asked.authorize(ctx, request))
	e, err := m.load(ctx, asked, id)
	switch {
	case refusedAs(err, ErrNotFound):
		x.against(m.missing(ctx, asked, ref, err))
		return nil
	case refusedAs(err, ErrTampered):
		x.against(err)
		return nil
	case err != nil:
		return err
	}
	ie, err := m.homeOf(ctx, asked, e.record.keys.ID())
	if err != nil {
		return err
	}
	x.State = e.record.state(ie, asked.now())
	if asked.op == OpMigrateLegacyKey {
		x.against(m.notMigrated(asked, e.record, ie)...)
		return nil
	}
	found := e.record.obstacles(asked, ie)
	if asked.op == OpDeletionReceipt { // of whatever the key is, unless its instance was released
		if ie.rec.state(asked.now()) == InstanceReleased {
			x.against(keyGone(asked.op, e.record.id(), true))
		}
		return nil
	}
	if found&isGone != 0 {
		x.against(m.missing(ctx, asked, ref, e.record.refusal(asked, ie, isGone)))
		return nil
	}
	x.against(e.record.refusals(asked, ie, found)...)
	m.explainMore(asked, e.record, x)
	if lifecycle[asked.op].isUse() && e.record.Owner != OwnerLegacy && len(x.Reasons) == 0 {
		if _, err := m.openPrimary(ctx, asked, e); ctx.Err() == nil {
			x.against(err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// missing is what stands in the way where there is no key, or none any more: gone, unless the
// operation makes the default key.
func (m *Manager) missing(ctx context.Context, asked *call, ref string, gone error) error {
	if row := &lifecycle[asked.op]; ref != DefaultKey || row.kind != using || row.needs != forSealing {
		return gone
	}
	making := *asked
	making.op = OpCreateKey
	return making.authorize(ctx, Request{Alias: ref, Instance: DefaultInstance})
}

// explainMore is what stands in the way of an operation besides the state.
func (m *Manager) explainMore(asked *call, r *record, x *Explanation) {
	if lifecycle[asked.op].isUse() {
		x.Brownout = r.brownout(asked.now())
		if x.Brownout.Share == 1 {
			x.against(newBrownoutError(asked, r))
		}
	}
	switch asked.op {
	case OpRotateKey:
		x.against(m.checkVersions(asked, r))
	case OpRetireKeyVersions:
		x.against(r.refuseRetiring(asked))
	case OpCancelRetirement:
		x.against(r.refuseCancel(asked))
	}
	switch {
	case asked.op == OpImportKeyMaterial && r.facts().state(asked.now()) == PendingImport:
		_, err := m.importer(asked, r)
		x.against(err)
	case asked.op == OpRotateKey:
		_, err := m.provider(asked, r)
		x.against(err)
	}
}

func (m *Manager) explainInstance(ctx context.Context, c, asked *call, id string, x *Explanation) error {
	switch asked.op {
	case OpCreateKey:
		id = cmp.Or(id, DefaultInstance)
	case OpCreateInstance:
		id = cmp.Or(id, m.ids.Next(c.now()).String())
	}
	x.Instance = id
	if err := c.nameInstance(ctx, id); err != nil {
		return err
	}
	x.against(asked.authorizeInstance(ctx, id))
	rec, _, err := m.getInstance(ctx, asked, id)
	absent, tampered := refusedAs(err, ErrNotFound), refusedAs(err, ErrTampered)
	switch {
	case err != nil && !absent && !tampered:
		return err
	case asked.op == OpCreateInstance && absent:
	case asked.op == OpCreateInstance:
		x.against(instanceTaken(asked.op, id))
	case err != nil:
		x.against(err)
	default:
		reasons, err := m.instanceObstacles(ctx, asked, rec)
		if err != nil {
			return err
		}
		x.against(reasons...)
	}
	return nil
}

// instanceObstacles is all that stands in the way of an operation on an instance; of a release, one
// without Force.
func (m *Manager) instanceObstacles(ctx context.Context, asked *call, rec *instanceRecord) (all []error, err error) {
	state := rec.state(asked.now())
	switch asked.op {
	case OpCreateKey, OpRenewInstance, OpSetInstanceDeletionProtection, OpReleaseInstance, OpShred, OpPlanRelease:
		if state == InstanceReleased {
			return []error{instanceGone(asked.op, rec.ID)}, nil
		}
	case OpBackupInstance:
		if rec.destroyed() {
			return []error{instanceGone(asked.op, rec.ID)}, nil
		}
	}
	switch asked.op {
	case OpCreateKey:
		if state == InstanceExpired {
			all = append(all, newInstanceExpired(asked.op, "", rec))
		}
		if _, err := m.level(asked.op, rec.Protection); err != nil {
			all = append(all, err)
		}
	case OpReleaseInstance:
		if err := m.releasable(asked, rec); err != nil {
			all = append(all, err)
		}
		if rec.ID != DefaultInstance {
			blockers, err := m.releaseBlockers(ctx, asked, rec, true)
			switch {
			case refusedAs(err, ErrUnavailable):
				return nil, err
			case err != nil:
				blockers = append(blockers, err)
			}
			all = append(all, blockers...)
		}
	}
	return all, nil
}
