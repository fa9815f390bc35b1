// Package frames is a stream of sealed frames: what a backup is written in.
//
// The stream is cut into frames of 64 KiB, each sealed on its own under one key; the last may be
// shorter and is not empty. The associated data of a frame is the hash of the header, the frame's
// index, and whether it is the last. So no frame can be changed, moved, removed, repeated or taken
// from another stream, and nothing can follow the last one. What was read of a frame is authentic
// before the next is read.
package frames

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"

	"github.com/keyhold/kms/internal/sealing"
	"github.com/keyhold/kms/internal/xaes"
)

// Size is the size of the contents of a frame, in bytes.
const Size = 64 << 10

// Err is the one answer to whatever is wrong with a frame.
var Err = errors.New("frames: malformed frame")

// ErrWiped is the answer of a Reader or a Writer that was wiped.
var ErrWiped = errors.New("frames: the stream was wiped")

// framing is what both ends know of the next frame.
type framing struct {
	key    *xaes.Key
	header [sha256.Size]byte
	index  uint64
	wiped  bool
}

// context is the associated data of the next frame.
func (f *framing) context(last bool) []byte {
	final := []byte{0}
	if last {
		final[0] = 1
	}
	return sealing.Join([]byte("keyhold backup frame v1"), f.header[:], binary.BigEndian.AppendUint64(nil, f.index), final)
}

// Writer seals what is written to it. Close writes the last frame.
type Writer struct {
	framing
	w      io.Writer
	plain  []byte // of the frame that is being filled
	sealed []byte
}

// NewWriter returns a Writer of frames to w, for the header with that hash.
func NewWriter(w io.Writer, key *xaes.Key, header [sha256.Size]byte) *Writer {
	return &Writer{framing: framing{key: key, header: header}, w: w,
		plain: make([]byte, 0, Size), sealed: make([]byte, 0, Size+xaes.Overhead)}
}

// Write seals p. Its errors are those of the writer below.
func (f *Writer) Write(p []byte) (n int, err error) {
	if f.wiped {
		return 0, ErrWiped
	}
	for len(p) > 0 {
		if len(f.plain) == Size {
			if err := f.flush(false); err != nil {
				return n, err
			}
		}
		fits := min(len(p), Size-len(f.plain))
		f.plain = append(f.plain, p[:fits]...)
		p, n = p[fits:], n+fits
	}
	return n, nil
}

func (f *Writer) flush(last bool) error {
	sealed, err := sealing.Append(f.key, f.sealed[:0], f.plain, f.context(last))
	clear(f.plain)
	f.plain = f.plain[:0]
	f.index++
	if err == nil {
		_, err = f.w.Write(sealed)
	}
	return err
}

// Close writes the last frame. It does not close the writer below.
func (f *Writer) Close() error {
	if f.wiped {
		return ErrWiped
	}
	return f.flush(true)
}

// Wipe overwrites what was not written yet. Afterwards nothing can be written.
func (f *Writer) Wipe() {
	f.wiped = true
	clear(f.plain[:cap(f.plain)])
}

// Reader opens the frames that a Writer made. It returns io.EOF after the last frame if nothing
// follows that, and Err for a frame that does not belong where it is. Other errors are those of the
// reader below.
type Reader struct {
	framing
	r      *bufio.Reader
	sealed []byte
	plain  []byte
	unread []byte // of plain
	last   bool   // it was read
}

// NewReader returns a Reader of the frames in r, for the header with that hash.
func NewReader(r *bufio.Reader, key *xaes.Key, header [sha256.Size]byte) *Reader {
	return &Reader{framing: framing{key: key, header: header}, r: r,
		sealed: make([]byte, Size+xaes.Overhead), plain: make([]byte, 0, Size)}
}

// Read reads from the current frame, or from the next one once that is used up.
func (f *Reader) Read(p []byte) (int, error) {
	if f.wiped {
		return 0, ErrWiped
	}
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

func (f *Reader) next() error {
	n, err := io.ReadFull(f.r, f.sealed)
	switch {
	case errors.Is(err, io.EOF):
		return Err // there is always a last frame
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
		return Err
	}
	f.unread = plain
	f.index++
	return nil
}

// Last reports whether the last frame was read.
func (f *Reader) Last() bool { return f.last }

// Wipe overwrites what was read. Afterwards nothing can be read.
func (f *Reader) Wipe() {
	f.wiped = true
	clear(f.plain[:cap(f.plain)])
}
