package kms_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/keyhold/kms"
	"github.com/keyhold/kms/internal/kit"
	"github.com/keyhold/kms/kmstest"
	"github.com/stretchr/testify/require"
)

// stops is a writer and a reader whose n-th call fails, and each after it; 0: none.
type stops struct {
	io.ReadWriteSeeker
	at, calls int
	err       error
}

func (s *stops) stopped() bool { s.calls++; return s.at > 0 && s.calls >= s.at }

func (s *stops) Read(p []byte) (int, error) {
	if s.stopped() {
		return 0, s.err
	}
	return s.ReadWriteSeeker.Read(p)
}

func (s *stops) Write(p []byte) (int, error) {
	if s.stopped() {
		return 0, s.err
	}
	return s.ReadWriteSeeker.Write(p)
}

func (s *stops) Seek(offset int64, whence int) (int64, error) {
	if s.stopped() {
		return 0, s.err
	}
	return s.ReadWriteSeeker.Seek(offset, whence)
}

// discarded takes everything, and seeker gives what is in a Reader.
type discarded struct {
	io.Writer
	io.ReadSeeker
}

func seeker(b []byte) io.ReadWriteSeeker { return discarded{io.Discard, bytes.NewReader(b)} }

// sized is a service with an instance acme, 20 keys with as long a description as makes a backup
// of so many bytes in its frames, and as many aliases of the last.
func sized(t *testing.T, size, aliases int, recipient kms.Root) *kmstest.KMS {
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 0)
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = kit.KeyIn(t, k, "acme")
	}
	for i := range aliases {
		require.NoError(t, k.CreateAlias(t.Context(), "alias/"+strings.Repeat("a", 200)+string(rune('a'+i)), ids[19]))
	}
	for range 10 { // from then on the count of the instance's changes, which is in it, has two digits
		inFrames(t, k, recipient)
	}
	more := size - inFrames(t, k, recipient)
	for _, id := range ids {
		n := min(more, kms.MaxDescription)
		require.NoError(t, kit.Err(k.SetDescription(t.Context(), id, strings.Repeat("d", n))))
		more = size - inFrames(t, k, recipient)
		if over := -more; over > 0 { // what else a description adds to a record
			require.NoError(t, kit.Err(k.SetDescription(t.Context(), id, strings.Repeat("d", n-over))))
			more = 0
		}
		if more == 0 {
			break
		}
	}
	require.Equal(t, size, inFrames(t, k, recipient))
	return k
}

func inFrames(t *testing.T, k *kmstest.KMS, recipient kms.Root) (n int) {
	_, all := frames(t, kit.Backup(t, k.Manager, "acme", recipient))
	for _, frame := range all {
		n += len(frame) - 40
	}
	return n
}

// TestBackupWriterStops: a writer that fails at any of its calls, wherever a frame ends, is told
// of as it is, and the instance is as it was: not backed up.
func TestBackupWriterStops(t *testing.T) {
	full, recipient := errors.New("disk full"), kit.Root(t, 7)
	for where, size := range map[string]int{
		"in a key": 80_000, "in an alias": 64<<10 + 1000, "in the closing": 64<<10 + 1, "at the end": 64 << 10, "in one frame": 64<<10 - 1,
	} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			k := sized(t, size, 8, recipient)
			whole := &stops{ReadWriteSeeker: seeker(nil)}
			require.NoError(t, kit.Err(k.BackupInstance(t.Context(), "acme", whole, recipient, nil)))
			require.Equal(t, 1+(size+64<<10-1)/(64<<10), whole.calls, "a header and frames")
			k.Clock.AdvanceDays(1)
			for at := 1; at <= whole.calls; at++ {
				m, w := k.Manager, &stops{ReadWriteSeeker: seeker(nil), at: at, err: full}
				was, err := m.DescribeInstance(t.Context(), "acme")
				require.NoError(t, err)
				err = kit.Err(m.BackupInstance(t.Context(), "acme", w, recipient, nil))
				require.ErrorIs(t, err, full, "call %d", at)
				require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
				require.Equal(t, at, w.calls, "it was written to after it had failed")
				now, err := m.DescribeInstance(t.Context(), "acme")
				require.NoError(t, err)
				require.Equal(t, was, now)
			}
		})
	}
}

// TestBackupReaderStops: a reader that fails is no damage. What it said is told, at every byte of
// the header and around every end of a frame, and nothing is written.
func TestBackupReaderStops(t *testing.T) {
	ctx, broken, recipient := t.Context(), errors.New("connection reset"), kit.Root(t, 7)
	k := sized(t, 2*64<<10, 0, recipient)
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	header, all := frames(t, backup)
	require.Len(t, all, 2)
	at := []int{}
	for n := range header {
		at = append(at, n)
	}
	for i := range 3 {
		for _, beside := range []int{-1, 0, 1} {
			if n := len(header) + i*sealedFrame + beside; n <= len(backup) {
				at = append(at, n)
			}
		}
	}
	for _, n := range at {
		err := kit.Err(kms.VerifyBackup(ctx, io.MultiReader(bytes.NewReader(backup[:n]), iotest.ErrReader(broken)), recipient))
		require.ErrorIs(t, err, broken, "%d bytes", n)
		require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
		require.NoError(t, kit.Err(kms.VerifyBackup(ctx, iotest.DataErrReader(bytes.NewReader(backup)), recipient)))
	}
}

// TestRestoreReaderStops: a Restore whose source fails at any call of Read or Seek says so. Until
// all was read once nothing is written; and done again it ends where one does to whom nothing happened.
func TestRestoreReaderStops(t *testing.T) {
	ctx, broken, recipient := t.Context(), errors.New("connection reset"), kit.Root(t, 7)
	k := sized(t, 80_000, 2, recipient)
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	to := kit.NewService(t, k)
	empty := kit.CopyStore(t, to.Store)
	whole := &stops{ReadWriteSeeker: seeker(backup)}
	require.NoError(t, kit.Err(to.Restore(ctx, whole, recipient, nil)))
	end := kit.Outcome(t, to.Manager)
	read, wrote := 0, 0
	for at := 1; at <= whole.calls; at++ {
		store := kit.CopyStore(t, empty)
		m := to.Another(t, func(c *kms.Config) { c.Store, c.CacheKeys = store, 16 })
		was := kit.Outcome(t, m)
		err := kit.Err(m.Restore(ctx, &stops{ReadWriteSeeker: seeker(backup), at: at, err: broken}, recipient, nil))
		require.ErrorIs(t, err, broken, "call %d", at)
		require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err))
		if len(kit.Outcome(t, m)) == len(was) {
			require.Zero(t, wrote, "call %d: nothing is there, and was before", at)
			require.Equal(t, was, kit.Outcome(t, m))
			read++
		} else {
			wrote++
		}
		kit.Restore(t, m, backup, recipient, nil)
		require.Equal(t, end, kit.Outcome(t, m), "call %d", at)
	}
	require.NotZero(t, read)
	require.NotZero(t, wrote)
}

// A careless writer breaks one clause of the contract of io.Writer, and keeps what it was given.
type careless struct {
	got   []byte
	kept  [][]byte
	write func(c *careless, p []byte) (int, error)
}

func (c *careless) Write(p []byte) (int, error) { return c.write(c, p) }

// carelessWriters are the clauses, and what is wrapped; nil: it does no harm.
var carelessWriters = map[string]struct {
	write func(c *careless, p []byte) (int, error)
	err   error
}{
	"short":         {func(c *careless, p []byte) (int, error) { c.got = append(c.got, p[1:]...); return len(p) - 1, nil }, io.ErrShortWrite},
	"nothing":       {func(c *careless, p []byte) (int, error) { return 0, nil }, io.ErrShortWrite},
	"too much":      {func(c *careless, p []byte) (int, error) { c.got = append(c.got, p...); return len(p) + 1, nil }, kms.ErrUnavailable},
	"less than 0":   {func(c *careless, p []byte) (int, error) { return -1, nil }, kms.ErrUnavailable},
	"all and error": {func(c *careless, p []byte) (int, error) { c.got = append(c.got, p...); return len(p), io.ErrClosedPipe }, io.ErrClosedPipe},
	"too much, and error": {func(c *careless, p []byte) (int, error) {
		return len(p) + 1, io.ErrClosedPipe
	}, kms.ErrUnavailable},
	"keeps": {func(c *careless, p []byte) (int, error) { c.kept = append(c.kept, p); return len(p), nil }, nil},
	"changes": {func(c *careless, p []byte) (int, error) {
		c.got = append(c.got, p...)
		clear(p)
		return len(p), nil
	}, nil},
}

// TestBackupCarelessWriters: an instance counts as backed up only where what arrived is a backup.
func TestBackupCarelessWriters(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	for name, c := range carelessWriters {
		k := sized(t, 140_000, 0, recipient)
		kit.KeyIn(t, k, "acme")
		was, err := k.DescribeInstance(ctx, "acme")
		require.NoError(t, err)
		k.Clock.AdvanceDays(1)
		w := &careless{write: c.write}
		err = kit.Err(k.BackupInstance(ctx, "acme", w, recipient, nil))
		now, _ := k.DescribeInstance(ctx, "acme")
		if c.err != nil {
			require.ErrorIs(t, err, c.err, name)
			require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err), name)
			require.Equal(t, was, now, name)
			require.True(t, needsBackup(t, k.Manager, "acme"), name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, k.Clock.Now(), now.BackedUpAt)
		got := append(w.got, bytes.Join(w.kept, nil)...)
		require.NoError(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(got), recipient)), name)
	}
}

// A lax source breaks one clause of the contract of a reader or a seeker, at its second call.
type lax struct {
	*bytes.Reader
	calls int
	read  func(r io.Reader, p []byte) (int, error)
	seek  func(at int64) int64
}

func (l *lax) Read(p []byte) (int, error) {
	if l.calls++; l.read != nil && l.calls > 1 {
		return l.read(l.Reader, p)
	}
	return l.Reader.Read(p)
}

func (l *lax) Seek(offset int64, whence int) (int64, error) {
	at, err := l.Reader.Seek(offset, whence)
	if l.seek != nil {
		at = l.seek(at)
	}
	return at, err
}

// TestBackupLaxSources: a source that breaks its contract is an error, and nothing is written; one that
// makes use of what its contract allows is none.
func TestBackupLaxSources(t *testing.T) {
	ctx, recipient := t.Context(), kit.Root(t, 7)
	k := sized(t, 140_000, 0, recipient)
	backup := kit.Backup(t, k.Manager, "acme", recipient)
	for name, c := range map[string]struct {
		lax
		err error // nil: it is read
	}{
		"too much":        {lax{read: func(_ io.Reader, p []byte) (int, error) { return len(p) + 1, nil }}, kms.ErrUnavailable},
		"less than 0":     {lax{read: func(io.Reader, []byte) (int, error) { return -1, nil }}, kms.ErrUnavailable},
		"nothing, always": {lax{read: func(io.Reader, []byte) (int, error) { return 0, nil }}, io.ErrNoProgress},
		"too much at EOF": {lax{read: func(_ io.Reader, p []byte) (int, error) { return len(p) + 1, io.EOF }}, kms.ErrUnavailable},
		"a byte":          {lax{read: func(r io.Reader, p []byte) (int, error) { return r.Read(p[:1]) }}, nil},
		"data with EOF": {lax{read: func(r io.Reader, p []byte) (int, error) {
			n, err := r.Read(p)
			if r.(*bytes.Reader).Len() == 0 {
				err = io.EOF
			}
			return n, err
		}}, nil},
		"data with an error": {lax{read: func(r io.Reader, p []byte) (int, error) {
			n, _ := r.Read(p[:min(len(p), 100)])
			return n, io.ErrClosedPipe
		}}, io.ErrClosedPipe},
		"scribbles": {lax{read: func(r io.Reader, p []byte) (int, error) {
			n, err := r.Read(p[:min(len(p), 100)])
			clear(p[n:])
			return n, err
		}}, nil},
		"says another place": {lax{seek: func(at int64) int64 { return at + 1 }}, kms.ErrBackup},
		"says a place below": {lax{seek: func(int64) int64 { return -1 }}, kms.ErrUnavailable},
	} {
		source := func() *lax { l := c.lax; l.Reader = bytes.NewReader(backup); return &l }
		to := kit.NewService(t, k)
		before := kit.StoredItems(t, to)
		for what, err := range map[string]error{
			"Restore":      kit.Err(to.Restore(ctx, source(), recipient, nil)),
			"VerifyBackup": kit.Err(kms.VerifyBackup(ctx, source(), recipient)),
		} {
			switch {
			case c.err == nil, what == "VerifyBackup" && c.seek != nil: // it does not seek
				require.NoError(t, err, "%s: %s", name, what)
			case c.seek != nil:
				require.Contains(t, []string{"ErrUnavailable", "ErrBackup"}, kit.Conditions(err)[0], name)
			default:
				require.ErrorIs(t, err, c.err, "%s: %s", name, what)
				require.Equal(t, []string{"ErrUnavailable"}, kit.Conditions(err), name)
			}
		}
		if c.err != nil {
			require.Equal(t, before, kit.StoredItems(t, to), name)
		}
	}
}

// A wordy root seals to as much as is asked for, and opens to as much.
type wordy struct {
	kms.Root
	seal, key int
}

func (r wordy) Encrypt(plain, ad []byte) ([]byte, error) {
	sealed, err := r.Root.Encrypt(plain, ad)
	return append(sealed, make([]byte, r.seal-len(sealed))...), err
}

func (r wordy) Decrypt(sealed, ad []byte) ([]byte, error) {
	plain, err := r.Root.Decrypt(bytes.TrimRight(sealed, "\x00"), ad)
	return append(plain, make([]byte, r.key)...), err
}

// TestBackupRecipients: what a recipient seals fits into a header, or there is no backup; and what it
// opens is a backup key, or it is none.
func TestBackupRecipients(t *testing.T) {
	ctx := t.Context()
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 0)
	before := kit.StoredItems(t, k)
	var w bytes.Buffer
	err := kit.Err(k.BackupInstance(ctx, "acme", &w, wordy{Root: kit.Root(t, 7), seal: 16<<10 + 1}, nil))
	require.Equal(t, []string{"ErrRoot"}, kit.Conditions(err))
	require.Zero(t, w.Len())
	require.Equal(t, before, kit.StoredItems(t, k))

	most := wordy{Root: kit.Root(t, 7), seal: 16 << 10}
	backup := kit.Backup(t, k.Manager, "acme", most)
	require.NoError(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(backup), most)))
	before = kit.StoredItems(t, k)
	most.key = 1
	require.ErrorIs(t, kit.Err(kms.VerifyBackup(ctx, bytes.NewReader(backup), most)), kms.ErrBackup)
	require.ErrorIs(t, kit.Err(k.Restore(ctx, bytes.NewReader(backup), most, nil)), kms.ErrBackup)
	require.Equal(t, before, kit.StoredItems(t, k))
}

// TestClockBeyondDates: where the clock is beyond the dates that can be written, what would have to
// write one is refused, and nothing is written.
func TestClockBeyondDates(t *testing.T) {
	k := kmstest.New(t)
	kit.Tenant(t, k, "acme", 0)
	key := kit.DisabledKey(t, k)
	k.Clock.Set(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC))
	require.ErrorIs(t, kit.Err(k.Encrypt(t.Context(), key, nil, nil)), kms.ErrDisabled)
	before := kit.StoredItems(t, k)
	for name, call := range map[string]func(context.Context) error{
		"BackupInstance": func(ctx context.Context) error {
			return kit.Err(k.BackupInstance(ctx, "acme", io.Discard, k.Root, nil))
		},
		"Maintain":       func(ctx context.Context) error { return kit.Err(k.Maintain(ctx)) },
		"Close":          func(ctx context.Context) error { return k.Close(ctx) }, // when the key was refused
		"CreateKey":      func(ctx context.Context) error { return kit.Err(k.CreateKey(ctx, nil)) },
		"CreateInstance": func(ctx context.Context) error { return kit.Err(k.CreateInstance(ctx, nil)) },
	} {
		require.Equal(t, []string{"ErrInvalid"}, kit.Conditions(call(t.Context())), name)
	}
	require.Equal(t, before, kit.StoredItems(t, k))
}
