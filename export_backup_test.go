package kms

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/frames"
	"github.com/keyhold/kms/internal/keyid"
	"github.com/keyhold/kms/internal/sealing"
)

// What the tests of backups may see and do: they take one apart and make others, as one could
// who holds the recipient.

// A BackupItem is an item in the frames of a backup.
type BackupItem struct {
	Kind byte
	Body []byte
}

// BackupItems are all items of a backup.
func BackupItems(backup []byte, recipient Root) (all []BackupItem, err error) {
	r := bufio.NewReader(bytes.NewReader(backup))
	h, err := readBackupHeader(opInspect, r)
	if err != nil {
		return nil, err
	}
	key, err := h.open(opInspect, recipient)
	if err != nil {
		return nil, err
	}
	b := &backupReader{op: opInspect, header: h, frames: frames.NewReader(r, key, h.hash())}
	for {
		kind, body, err := b.next()
		if errors.Is(err, io.EOF) || err != nil && b.frames.Last() {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, BackupItem{kind, bytes.Clone(body)})
	}
}

// MakeBackup is a backup with the header of another and any items.
func MakeBackup(backup []byte, recipient Root, items []BackupItem) ([]byte, error) {
	var stream bytes.Buffer
	for _, item := range items {
		if err := writeBackupItem(&stream, item.Kind, item.Body, nil); err != nil {
			return nil, err
		}
	}
	return SealBackup(backup, recipient, stream.Bytes())
}

// SealBackup is a backup with the header of another and any bytes in its frames.
func SealBackup(backup []byte, recipient Root, stream []byte) ([]byte, error) {
	h, err := readBackupHeader(opInspect, bytes.NewReader(backup))
	if err != nil {
		return nil, err
	}
	key, err := h.open(opInspect, recipient)
	if err != nil {
		return nil, err
	}
	made := bytes.NewBuffer(h.encode())
	w := frames.NewWriter(made, key, h.hash())
	if _, err := w.Write(stream); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return made.Bytes(), nil
}

// OddBackup is a backup whose first key was changed, as a bug could have written it: the
// fields of change replace those of its record, and all is authentic.
func OddBackup(backup []byte, recipient Root, change []byte) ([]byte, error) {
	return EditBackup(backup, recipient, backupKey, change)
}

// The kinds of items that EditBackup changes.
const (
	InstanceItem = backupInstance
	KeyItem      = backupKey
	CountItem    = backupCount
)

// BackupRecords are what the items of a backup hold, by their kind.
var BackupRecords = map[byte]reflect.Type{
	InstanceItem: reflect.TypeFor[instanceRecord](), KeyItem: reflect.TypeFor[record](), CountItem: reflect.TypeFor[allowanceRecord](),
}

// EditBackup is a backup whose first item of a kind was changed: the fields of change replace
// those that it has, and all is authentic.
func EditBackup(backup []byte, recipient Root, kind byte, change []byte) ([]byte, error) {
	items, err := BackupItems(backup, recipient)
	if err != nil {
		return nil, err
	}
	var rec instanceRecord
	if err := json.Unmarshal(items[0].Body[32:], &rec); err != nil {
		return nil, err
	}
	keys, err := sealing.Derive(rec.ID, rec.Store, 0, bytes.Clone(items[0].Body[:32]))
	if err != nil {
		return nil, err
	}
	item := &items[slices.IndexFunc(items, func(i BackupItem) bool { return i.Kind == kind })]
	head, body := 0, item.Body
	switch kind {
	case backupInstance:
		head, body = 32, item.Body[32:]
	case backupKey:
		head = keyIDSize
		body, _ = sealing.Peek(rec.ID, item.Body[head:])
	}
	fields, more := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(change, &more); err != nil {
		return nil, err
	}
	maps.Copy(fields, more)
	if body, err = json.Marshal(fields); err != nil {
		return nil, err
	}
	start := bytes.Clone(item.Body[:head])
	if kind == backupKey {
		body = keys.Authenticate(keyItem(string(start)), body)
	}
	item.Body = append(start, body...)
	return MakeBackup(backup, recipient, Reclose(items))
}

// PointAlias makes an alias name a key, as no call does.
func PointAlias(ctx context.Context, m *Manager, alias, keyID string) error {
	c := m.begin(opInspect)
	current, err := m.loadAlias(ctx, c, alias)
	if err != nil {
		return err
	}
	id, _ := keyid.Parse(keyID)
	return m.writeAlias(ctx, c, alias, current, id)
}

// Reclose puts the closing that is right for its items in the place of the last.
func Reclose(items []BackupItem) []BackupItem {
	sum, info := newDigest(), BackupInfo{}
	for _, item := range items {
		switch item.Kind {
		case backupKey:
			sum.addKey(string(item.Body[:keyIDSize]), item.Body[keyIDSize:])
			value := item.Body[keyIDSize:]
			named, _ := sealing.Named(value)
			body, _ := sealing.Peek(named, value)
			var r struct{ DestroyedAt time.Time }
			if info.Keys++; json.Unmarshal(body, &r) == nil && !r.DestroyedAt.IsZero() {
				info.Tombstones++
			}
		case backupAlias:
			info.Aliases++
		}
	}
	items[len(items)-1].Body, _ = json.Marshal(backupClosing{Keys: info.Keys, Tombstones: info.Tombstones, Aliases: info.Aliases, Digest: sum.Sum(nil)})
	return items
}
