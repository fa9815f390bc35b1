package kms

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"maps"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/frames"
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
	text, value := string(items[1].Body[:keyIDSize]), items[1].Body[keyIDSize:]
	fields, more := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	body, _ := sealing.Peek(rec.ID, value)
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(change, &more); err != nil {
		return nil, err
	}
	maps.Copy(fields, more)
	if value, err = keys.Encode(keyItem(text), fields); err != nil {
		return nil, err
	}
	items[1].Body = append([]byte(text), value...)
	return MakeBackup(backup, recipient, Reclose(items))
}

// Reclose puts the closing that is right for its items in the place of the last.
func Reclose(items []BackupItem) []BackupItem {
	sum, info := newDigest(), BackupInfo{}
	for _, item := range items {
		switch item.Kind {
		case backupKey:
			sum.addKey(string(item.Body[:keyIDSize]), item.Body[keyIDSize:])
			info.Keys++
		case backupAlias:
			info.Aliases++
		}
	}
	items[len(items)-1].Body, _ = json.Marshal(backupClosing{Keys: info.Keys, Aliases: info.Aliases, Digest: sum.Sum(nil)})
	return items
}
