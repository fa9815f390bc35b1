package killed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/keystore"
	"github.com/keyhold/kms/keystore/boltstore"
	"github.com/keyhold/kms/software"
)

// The child of TestKilledUnderLoad: it leads a mixed life with several goroutines, each with
// keys and aliases of its own, and tells of each call before it is made and when it returned.

const (
	livers     = 4 // goroutines that use and change keys
	maintainer = livers
)

// A tale is a line from the child: a call that begins, or one that is over.
type tale struct {
	Who    int
	Over   bool
	Op     string
	Key    string   `json:",omitempty"`
	Alias  string   `json:",omitempty"`
	N      int      `json:",omitempty"`
	Code   string   `json:",omitempty"` // what refused it
	Err    string   `json:",omitempty"`
	Text   []byte   `json:",omitempty"` // the ciphertext
	Purged []string `json:",omitempty"`

	named bool // to the parent: the alias may have named a key that was there
}

// Two clocks stand still: keys that were scheduled for 7 days are due by the later one, and so is
// imported material that expires.
var (
	lifeNow   = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	lifeOver  = lifeNow.AddDate(0, 0, 7)
	lifeLater = lifeOver.Add(10 * time.Minute)
)

// anOwner is who owns a key of external origin, and what its material was wrapped as.
type anOwner struct {
	Who            int
	Wrapped, Token []byte
}

// openLife opens a Manager by one of the clocks. Destroyed is told of each destruction before it
// is done.
func openLife(ctx context.Context, store keystore.Store, now time.Time, destroyed func(id string)) (*kms.Manager, error) {
	root, err := software.NewRoot(kit.Pattern(32))
	if err != nil {
		return nil, err
	}
	return kms.Open(ctx, kms.Config{
		Store: store, Root: root, Software: &mourner{kit.Recorder{Provider: software.New()}, destroyed}, PurgeDelay: -1,
		Now: func() time.Time { return now }, MaxKeyVersions: 1000,
	})
}

// A mourner is a provider that tells of what it destroys.
type mourner struct {
	kit.Recorder
	told func(id string)
}

func (p *mourner) Destroy(ctx context.Context, id string, material []byte) error {
	p.told(id)
	return p.Provider.Destroy(ctx, id, material)
}

// A liar is a Store that says that a Put was made before it was: it keeps all in memory, and
// writes to the disk what was put some Puts ago.
type liar struct {
	keystore.Store // in memory
	disk           keystore.Store
	later          chan keystore.Item
}

func newLiar(ctx context.Context, disk keystore.Store) (*liar, error) {
	s := &liar{new(keystore.Memory), disk, make(chan keystore.Item, 4)}
	_, err := keystore.Copy(ctx, s.Store, disk, nil)
	return s, err
}

func (s *liar) Unwrap() keystore.Store { return s.Store }

func (s *liar) Put(ctx context.Context, name string, old keystore.Version, value []byte) (keystore.Version, error) {
	version, err := s.Store.Put(ctx, name, old, value)
	for item := (keystore.Item{Name: name, Value: value}); err == nil; {
		select {
		case s.later <- item:
			return version, nil
		default:
			first := <-s.later
			onDisk, _ := s.disk.Get(ctx, first.Name)
			_, err = s.disk.Put(ctx, first.Name, onDisk.Version, first.Value)
		}
	}
	return "", err
}

// live leads a life until it is killed.
func live(ctx context.Context, folder string, lies bool) error {
	disk, err := boltstore.Open(filepath.Join(folder, "keys"), &boltstore.Options{Create: true})
	if err != nil {
		return err
	}
	store := keystore.Store(disk)
	if lies {
		if store, err = newLiar(ctx, disk); err != nil {
			return err
		}
	}
	tell := newTeller()
	mourn := func(id string) { tell(tale{Who: -1, Op: "destroy", Key: id}) }
	m, err := openLife(ctx, store, lifeNow, mourn)
	if err != nil {
		return err
	}
	later, err := openLife(ctx, store, lifeLater, mourn)
	if err != nil {
		return err
	}
	owners := map[string]anOwner{}
	if err := readJSON(filepath.Join(folder, "owners"), &owners); err != nil {
		return err
	}
	lives := make([]*life, livers)
	for i := range lives {
		lives[i] = &life{Manager: m, who: i, tell: tell, owners: owners, keys: map[string]kms.Key{}, aliases: map[string]bool{}}
	}
	for key, err := range m.Keys(ctx, nil) {
		if err != nil {
			return err
		}
		lives[whose(key.Description)].keys[key.ID] = key
	}
	for alias, err := range m.Aliases(ctx, "") {
		if err != nil {
			return err
		}
		lives[whose(strings.TrimPrefix(alias.Name, "alias/"))].aliases[alias.Name] = true
	}
	for _, l := range lives {
		go func() {
			for {
				l.step(ctx)
			}
		}()
	}
	for n := 0; ; n++ {
		by, op := later, "maintain later"
		if n%4 == 3 {
			by, op = m, "maintain"
		}
		tell(tale{Who: maintainer, Op: op})
		report, err := by.Maintain(ctx)
		tell(over(tale{Who: maintainer, Op: op, Purged: report.Purged}, err))
	}
}

func whose(text string) (who int) {
	_, _ = fmt.Sscanf(text, "w%d", &who)
	return who
}

func over(t tale, err error) tale {
	t.Over = true
	if err != nil {
		t.Code, t.Err = kms.Code(err), err.Error()
	}
	return t
}

// newTeller tells tales on standard output, whole lines in the order in which they are told.
func newTeller() func(tale) {
	var mu sync.Mutex
	return func(t tale) {
		line, err := json.Marshal(t)
		mu.Lock()
		defer mu.Unlock()
		if _, failed := os.Stdout.Write(append(line, '\n')); err != nil || failed != nil {
			os.Exit(2)
		}
	}
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// A life is that of one goroutine. No other one changes its keys, but Maintain.
type life struct {
	*kms.Manager
	who     int
	tell    func(tale)
	owners  map[string]anOwner
	keys    map[string]kms.Key // as they were answered last
	aliases map[string]bool
}

// step makes one call, of those that make sense.
func (l *life) step(ctx context.Context) {
	if len(l.keys) < 4 {
		l.create(ctx)
		return
	}
	ids := make([]string, 0, len(l.keys))
	for id := range l.keys {
		ids = append(ids, id)
	}
	key := l.keys[ids[rand.IntN(len(ids))]]
	t := tale{Key: key.ID}
	switch n := rand.IntN(8); key.State {
	case kms.Enabled:
		switch {
		case n == 0 && key.Origin == kms.OriginExternal:
			t.Op = "drop"
		case n == 1 && key.Origin == kms.OriginExternal:
			t.Op, t.N = "import", rand.IntN(2)
			if key.Protected { // an end that comes nearer is refused
				t.N = 0
			}
		case n == 0:
			t.Op = "rotate"
		case n <= 3:
			t.Op = "encrypt"
		case n == 4:
			t.Op, t.N = "tag", 1+rand.IntN(1e6)
		case n == 5:
			t.Op, t.N = "protect", b2i(!key.Protected)
		case n == 6:
			t.Alias = fmt.Sprintf("alias/w%d-%d", l.who, rand.IntN(3))
			t.Op = "point"
			if l.aliases[t.Alias] {
				t.Op = []string{"repoint", "unpoint"}[rand.IntN(2)]
			}
		default:
			t.Op = "disable"
		}
	case kms.Disabled:
		switch {
		case n <= 2:
			t.Op = "enable"
		case n == 3 || key.Protected:
			t.Op, t.N = "protect", 0
		default:
			if t.Op, t.N = "schedule", 30; key.Origin == kms.OriginKMS && n != 4 {
				t.N = 7
			}
		}
	case kms.PendingImport:
		t.Op, t.N = "import", rand.IntN(2)
	case kms.PendingDeletion:
		if t.Op = "cancel"; n > 3 && key.Origin != kms.OriginExternal {
			return
		}
	}
	l.do(ctx, t)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (l *life) create(ctx context.Context) {
	t := tale{Who: l.who, Op: "create"}
	l.tell(t)
	key, err := l.CreateKey(ctx, &kms.CreateKeyOptions{Description: fmt.Sprintf("w%d", l.who)})
	t.Key = key.ID
	l.tell(over(t, err))
	if err == nil {
		l.keys[key.ID] = key
	}
}

func (l *life) do(ctx context.Context, t tale) {
	t.Who = l.who
	l.tell(t)
	key, err := l.keys[t.Key], error(nil)
	switch t.Op {
	case "drop":
		key, err = l.DeleteKeyMaterial(ctx, t.Key, &kms.DeleteMaterialOptions{Force: true, Reason: "the owner wants it back"})
	case "import":
		var until time.Time
		if t.N > 0 {
			until = lifeOver
		}
		own := l.owners[t.Key]
		key, err = l.ImportKeyMaterial(ctx, t.Key, own.Wrapped, own.Token, until)
	case "rotate":
		key, err = l.RotateKey(ctx, t.Key)
	case "encrypt":
		t.Text, err = l.Encrypt(ctx, t.Key, []byte(t.Key), nil)
	case "tag":
		key, err = l.SetTags(ctx, t.Key, map[string]string{"n": fmt.Sprint(t.N)})
	case "protect":
		key, err = l.SetDeletionProtection(ctx, t.Key, t.N == 1, "")
	case "point":
		err = l.CreateAlias(ctx, t.Alias, t.Key)
	case "repoint":
		err = l.UpdateAlias(ctx, t.Alias, t.Key)
	case "unpoint":
		err = l.DeleteAlias(ctx, t.Alias)
	case "disable":
		key, err = l.DisableKey(ctx, t.Key)
	case "enable":
		key, err = l.EnableKey(ctx, t.Key)
	case "schedule":
		key, err = l.ScheduleKeyDeletion(ctx, t.Key, t.N)
	case "cancel":
		key, err = l.CancelKeyDeletion(ctx, t.Key)
	}
	l.tell(over(t, err))
	if t.Alias != "" {
		l.aliases[t.Alias] = err == nil && t.Op != "unpoint"
		return
	}
	if err != nil { // Maintain was there
		if key, err = l.DescribeKey(ctx, t.Key); errors.Is(err, kms.ErrNotFound) {
			delete(l.keys, t.Key)
			return
		}
	}
	l.keys[t.Key] = key
}
