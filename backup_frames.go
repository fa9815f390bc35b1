package kms

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"github.com/cockroachdb/errors"
	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/xaes"
)

// The contents of a backup are one stream of bytes, cut into frames of 64 KiB, each sealed by
// itself under the backup key: the last may be shorter, and is not empty. Its associated data
// says of which backup a frame is, the how manyth, and whether it is the last. So no frame
// can be changed, moved, taken away, repeated, or come from another backup, nothing can
// follow the last one, and what was read of a frame is authentic before the next is read.
const frameSize = 64 << 10

// A framing is what both ends know of the frames of a backup.
type framing struct {
	key    *xaes.Key
	header [sha256.Size]byte
	index  uint64 // of the next frame
}

// context is the associated data of the next frame.
func (f *framing) context(last bool) []byte {
	final := []byte{0}
	if last {
		final[0] = 1
	}
	return sealing.Join([]byte("keyhold backup frame v1"), f.header[:], binary.BigEndian.AppendUint64(nil, f.index), final)
}

// A frameWriter seals what is written to it. Close writes the last frame.
type frameWriter struct {
	framing
	w      io.Writer
	plain  []byte // of the frame that is being filled
	sealed []byte
}

func newFrameWriter(w io.Writer, key *xaes.Key, h *backupHeader) *frameWriter {
	return &frameWriter{framing: framing{key: key, header: h.hash()}, w: w,
		plain: make([]byte, 0, frameSize), sealed: make([]byte, 0, frameSize+xaes.Overhead)}
}

func (f *frameWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if len(f.plain) == frameSize {
			if err := f.flush(false); err != nil {
				return n, err
			}
		}
		fits := min(len(p), frameSize-len(f.plain))
		f.plain = append(f.plain, p[:fits]...)
		p, n = p[fits:], n+fits
	}
	return n, nil
}

func (f *frameWriter) flush(last bool) error {
	sealed, err := sealing.Append(f.key, f.sealed[:0], f.plain, f.context(last))
	clear(f.plain)
	f.plain = f.plain[:0]
	f.index++
	if err == nil {
		_, err = f.w.Write(sealed)
	}
	return err
}

// Close writes the last frame. It does not close what the frames are written to.
func (f *frameWriter) Close() error { return f.flush(true) }

// wipe forgets what was not written.
func (f *frameWriter) wipe() { clear(f.plain[:cap(f.plain)]) }

// errFrame is a frameReader's one answer to what is wrong with a frame.
var errFrame = errors.New("kms: malformed frame of a backup")

// A frameReader opens the frames that a frameWriter made. It says io.EOF behind the last
// frame, if nothing follows that; errFrame where a frame is not the one that belongs there;
// other errors are those of the reader below.
type frameReader struct {
	framing
	r      *bufio.Reader
	sealed []byte
	plain  []byte
	unread []byte // of plain
	last   bool   // it was read
}

func newFrameReader(r *bufio.Reader, key *xaes.Key, h *backupHeader) *frameReader {
	return &frameReader{framing: framing{key: key, header: h.hash()}, r: r,
		sealed: make([]byte, frameSize+xaes.Overhead), plain: make([]byte, 0, frameSize)}
}

func (f *frameReader) Read(p []byte) (int, error) {
	if len(f.unread) == 0 {
		if f.last {
			return 0, io.EOF
		}
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.unread)
	f.unread = f.unread[n:]
	return n, nil
}

func (f *frameReader) next() error {
	n, err := io.ReadFull(f.r, f.sealed)
	switch {
	case errors.Is(err, io.EOF):
		return errFrame // there is always a last frame
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	}
	_, err = f.r.Peek(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.last = err != nil
	plain, err := f.key.Open(f.plain[:0], f.sealed[:n], f.context(f.last))
	if err != nil || len(plain) == 0 {
		return errFrame
	}
	f.unread = plain
	f.index++
	return nil
}

// wipe forgets what was read.
func (f *frameReader) wipe() { clear(f.plain[:cap(f.plain)]) }
