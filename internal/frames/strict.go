package frames

import (
	"bytes"
	"errors"
	"io"
)

var (
	// ErrCount is returned for a Read or a Write whose count is not one that it can have.
	ErrCount = errors.New("frames: a reader or writer returned a count out of its bounds")

	// ErrPosition is returned for a Seek that ended elsewhere than it was told to.
	ErrPosition = errors.New("frames: a seeker went to another position")
)

// maxEmptyReads is how many reads in a row may return nothing and no error.
const maxEmptyReads = 100

// StrictWriter returns a writer that holds w to the contract of io.Writer: less than everything
// without an error is io.ErrShortWrite, and an impossible count is ErrCount. Every call of w gets
// bytes of its own, so that a writer that keeps or changes them does no harm.
func StrictWriter(w io.Writer) io.Writer { return strictWriter{w} }

type strictWriter struct{ w io.Writer }

func (s strictWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(bytes.Clone(p))
	switch {
	case n < 0 || n > len(p):
		return 0, ErrCount
	case n < len(p) && err == nil:
		return n, io.ErrShortWrite
	}
	return n, err
}

// StrictReader returns a reader that holds r to the contract of io.Reader: an impossible count is
// ErrCount, and a hundred reads in a row that return nothing are io.ErrNoProgress.
func StrictReader(r io.Reader) io.Reader { return strictReader{r} }

type strictReader struct{ r io.Reader }

func (s strictReader) Read(p []byte) (int, error) {
	for range maxEmptyReads {
		n, err := s.r.Read(p)
		switch {
		case n < 0 || n > len(p):
			return 0, ErrCount
		case n > 0 || err != nil || len(p) == 0:
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// StrictReadSeeker is StrictReader for a reader that seeks from the start and from where it stands:
// a position that is negative or not the one that was asked for is ErrPosition.
func StrictReadSeeker(r io.ReadSeeker) io.ReadSeeker { return strictReadSeeker{strictReader{r}, r} }

type strictReadSeeker struct {
	io.Reader
	s io.Seeker
}

func (s strictReadSeeker) Seek(offset int64, whence int) (int64, error) {
	at, err := s.s.Seek(offset, whence)
	if err == nil && (at < 0 || whence == io.SeekStart && at != offset) {
		return 0, ErrPosition
	}
	return at, err
}
