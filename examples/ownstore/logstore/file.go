package logstore

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"strings"
)

// The file is one line and then the items, in the order in which they were put:
//
//	length of the name (2 bytes) | length of the value (4) | checksum of both (4) |
//	checksum of the six and four bytes before (4) | name | value
//
// Numbers are big-endian. The lengths have a checksum of their own, so that a file that was
// cut off, as by a crash, is told from one that is damaged. The checksums find accidents;
// against people the service authenticates what it puts.
const (
	firstLine  = "keyhold logstore 1\n"
	headerSize = 2 + 4 + 4 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(name string, value []byte) []byte {
	b := make([]byte, 0, headerSize+len(name)+len(value))
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	b = binary.BigEndian.AppendUint32(b, checksum([]byte(name), value))
	b = binary.BigEndian.AppendUint32(b, checksum(b))
	return append(append(b, name...), value...)
}

// decode reads the item that b begins with. Its size is 0 if b ends before the item does.
func decode(b []byte) (name string, value []byte, size int, err error) {
	if len(b) < headerSize {
		return "", nil, 0, nil
	}
	if checksum(b[:10]) != binary.BigEndian.Uint32(b[10:]) {
		return "", nil, 0, ErrDamaged
	}
	n := headerSize + int(binary.BigEndian.Uint16(b))
	size = n + int(binary.BigEndian.Uint32(b[2:]))
	if len(b) < size {
		return "", nil, 0, nil
	}
	if checksum(b[headerSize:size]) != binary.BigEndian.Uint32(b[6:]) {
		return "", nil, 0, ErrDamaged
	}
	return string(b[headerSize:n]), b[n:size], size, nil
}

func checksum(parts ...[]byte) (sum uint32) {
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// load reads the file. What stands at its end and is not complete was never acknowledged,
// and is cut off.
func (s *Store) load() error {
	b, err := io.ReadAll(s.file)
	if err != nil {
		return err
	}
	if strings.HasPrefix(firstLine, string(b)) {
		return s.begin()
	}
	if !strings.HasPrefix(string(b), firstLine) {
		return ErrDamaged
	}
	s.size = int64(len(firstLine))
	for s.size < int64(len(b)) {
		name, value, size, err := decode(b[s.size:])
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		s.keep(s.size, name, value)
		s.size += int64(size)
	}
	if s.size < int64(len(b)) {
		if err := s.file.Truncate(s.size); err != nil {
			return err
		}
	}
	return s.file.Sync()
}

// begin writes the first line of a file that is new, or that was cut off in it.
func (s *Store) begin() error {
	if err := s.file.Truncate(0); err != nil {
		return err
	}
	return s.write([]byte(firstLine))
}

// append writes an item behind the others.
func (s *Store) append(name string, value []byte) error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != s.size {
		return ErrShared
	}
	return s.write(encode(name, value))
}

// write returns when the bytes are on the disk.
func (s *Store) write(b []byte) error {
	if _, err := s.file.Write(b); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.size += int64(len(b))
	return nil
}
