package forensics_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/xaes"
	"github.com/keyhold/kms/provider"
	"github.com/keyhold/kms/software"
	"github.com/stretchr/testify/require"
)

// A forensic is an attacker with every byte that a key store ever wrote, some roots, the material
// of imported keys and this source code. He uses no service, only what is known of the formats.
type forensic struct {
	roots    []kms.Root
	imported [][]byte
	home     []byte // the key of the default instance, from a backup; nil: he has none

	seen      map[[32]byte]bool
	records   []foundRecord
	instances []foundInstance
	seals     []foundSeal         // opened instance keys
	materials map[string][][]byte // by key ID, "/" and version
	shreds    map[string][][]byte // by key ID
}

// What he looks for in records.
type (
	foundRecord struct {
		ID       string         `json:"id"`
		Versions []foundVersion `json:"versions"`
		Doomed   []foundVersion `json:"doomed"`
		Shred    []byte         `json:"shred"`
	}
	foundVersion struct {
		Version uint32 `json:"version"`
		Sealed  []byte `json:"sealed"`
	}
	foundInstance struct {
		ID    string      `json:"id"`
		Store []byte      `json:"store"`
		Seals []foundRoot `json:"seals"`
	}
	foundRoot struct {
		Key    []byte `json:"key"`
		Former []byte `json:"former"`
	}
	foundSeal struct {
		store []byte
		id    string
		key   *xaes.Key
	}
)

// carve takes all that looks like a record out of bytes, wherever it stands and whoever has
// forgotten it.
func (f *forensic) carve(media []byte) {
	if f.seen == nil {
		f.seen, f.materials, f.shreds = map[[32]byte]bool{}, map[string][][]byte{}, map[string][][]byte{}
	}
	begin := []byte(`{"id":"`)
	for at := bytes.Index(media, begin); at >= 0; {
		rest := media[at:]
		var body json.RawMessage
		if json.NewDecoder(bytes.NewReader(rest[:min(len(rest), 64<<10)])).Decode(&body) == nil {
			if sum := sha256.Sum256(body); !f.seen[sum] {
				f.seen[sum] = true
				f.found(body)
			}
		}
		next := bytes.Index(rest[len(begin):], begin)
		if next < 0 {
			return
		}
		at += len(begin) + next
	}
}

func (f *forensic) found(body []byte) {
	var in foundInstance
	if json.Unmarshal(body, &in) == nil && len(in.Store) == 16 {
		f.instances = append(f.instances, in)
		return
	}
	var r foundRecord
	if json.Unmarshal(body, &r) == nil && len(r.ID) == 36 {
		f.records = append(f.records, r)
	}
}

// open opens all that he can open.
func (f *forensic) open() {
	for _, in := range f.instances {
		for _, s := range in.Seals {
			for _, root := range f.roots {
				for _, sealed := range [][]byte{s.Key, s.Former} {
					if key, err := root.Decrypt(sealed, asFramed([]byte("keyhold instance key v1"), in.Store, []byte(in.ID))); err == nil {
						f.derive(in, key)
					}
				}
			}
		}
		if in.ID == kms.DefaultInstance && f.home != nil {
			f.derive(in, f.home)
		}
	}
	for _, r := range f.records {
		id, err := hex.DecodeString(strings.ReplaceAll(r.ID, "-", ""))
		if err != nil {
			continue
		}
		for _, s := range f.seals {
			for _, v := range append(r.Versions, r.Doomed...) {
				n := binary.BigEndian.AppendUint32(nil, v.Version)
				if m, err := s.key.Open(nil, v.Sealed, asFramed([]byte("keyhold material v1"), s.store, []byte(s.id), id, n)); err == nil {
					name := r.ID + "/" + hex.EncodeToString(n)
					f.materials[name] = append(f.materials[name], m)
				}
			}
			if m, err := s.key.Open(nil, r.Shred, asFramed([]byte("keyhold shred secret v1"), s.store, []byte(s.id), id)); err == nil {
				f.shreds[r.ID] = append(f.shreds[r.ID], m)
			}
		}
	}
}

// derive keeps the key of an instance that seals material.
func (f *forensic) derive(in foundInstance, key []byte) {
	derived, err := hkdf.Expand(sha256.New, key, "keyhold/v1/seal", 32)
	if err != nil {
		return
	}
	if seal, err := xaes.New(derived); err == nil {
		f.seals = append(f.seals, foundSeal{in.Store, in.ID, seal})
	}
}

// reads tells whether he can read a ciphertext, one without encryption context.
func (f *forensic) reads(ctx context.Context, ciphertext []byte) ([]byte, bool) {
	const header = 23
	info, err := kms.Inspect(ciphertext)
	if err != nil {
		return nil, false
	}
	version := ciphertext[header-4 : header]
	id, err := hex.DecodeString(strings.ReplaceAll(info.KeyID, "-", ""))
	if err != nil {
		return nil, false
	}
	for _, material := range f.materials[info.KeyID+"/"+hex.EncodeToString(version)] {
		name := info.KeyID + "/" + strconv.FormatUint(uint64(binary.BigEndian.Uint32(version)), 10)
		key, err := software.New().Open(ctx, name, provider.AES256, material)
		if err != nil {
			continue
		}
		if plain, err := key.Decrypt(ctx, nil, ciphertext[header:], ciphertext[:header]); err == nil {
			return plain, true
		}
	}
	for _, shred := range f.shreds[info.KeyID] {
		for _, material := range f.imported {
			working, err := hkdf.Key(sha256.New, material, shred, string(asFramed([]byte("keyhold imported key v1"), id, version)), 32)
			if err != nil {
				continue
			}
			key, err := xaes.New(working)
			if err != nil {
				continue
			}
			if padded, err := key.Open(nil, ciphertext[header:], ciphertext[:header]); err == nil {
				return padded[32:], true
			}
		}
	}
	return nil, false
}

// asFramed joins parts, each behind its length.
func asFramed(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// instanceKeyIn is the instance key that begins a backup: the recipient opens the backup key, and
// that opens the frames.
func instanceKeyIn(t *testing.T, backup []byte, recipient kms.Root) []byte {
	t.Helper()
	const magicSize, frameSize, itemHead = 8, 64 << 10, 5
	part := func(at int) ([]byte, int) {
		end := at + 4 + int(binary.BigEndian.Uint32(backup[at:]))
		return backup[at+4 : end], end
	}
	facts, at := part(magicSize)
	sealed, at := part(at)
	secret, err := recipient.Decrypt(sealed, asFramed([]byte("keyhold backup key v1"), facts))
	require.NoError(t, err)
	key, err := xaes.New(secret)
	require.NoError(t, err)
	header, frame := sha256.Sum256(backup[:at]), backup[at:]
	last := byte(1)
	if len(frame) > frameSize+xaes.Overhead {
		frame, last = frame[:frameSize+xaes.Overhead], 0
	}
	items, err := key.Open(nil, frame, asFramed([]byte("keyhold backup frame v1"), header[:], make([]byte, 8), []byte{last}))
	require.NoError(t, err)
	return items[itemHead : itemHead+xaes.KeySize]
}
