package fresh

// seqs holds a sequence number for each of many keys, in little more room than they take: 27 to
// 37 bytes for an ID of a key and its number. It is a table that is probed from a key's place on; a
// slot without a number is free.
type seqs[K comparable] struct {
	slots []seqSlot[K]
	used  int
}

type seqSlot[K comparable] struct {
	key K
	seq uint64
}

// slot is that of a key, or the free one that it would have. Nil: there is no room at all.
func (s *seqs[K]) slot(key K, hash uint64) *seqSlot[K] {
	n := uint64(len(s.slots))
	if n == 0 {
		return nil
	}
	for i := hash % n; ; i = (i + 1) % n {
		if slot := &s.slots[i]; slot.seq == 0 || slot.key == key {
			return slot
		}
	}
}

func (s *seqs[K]) get(key K, hash uint64) uint64 {
	if slot := s.slot(key, hash); slot != nil {
		return slot.seq
	}
	return 0
}

// raise sets the number of a key, unless it is as high.
func (s *seqs[K]) raise(key K, seq uint64, hash func(K) uint64) {
	if slot := s.slot(key, hash(key)); slot != nil && slot.seq > 0 {
		slot.seq = max(slot.seq, seq)
		return
	}
	if seq == 0 {
		return
	}
	if s.used+1 > len(s.slots)*7/8 {
		old := s.slots
		s.slots = make([]seqSlot[K], len(old)*4/3+8)
		for _, o := range old {
			if o.seq > 0 {
				*s.slot(o.key, hash(o.key)) = o
			}
		}
	}
	*s.slot(key, hash(key)) = seqSlot[K]{key, seq}
	s.used++
}
