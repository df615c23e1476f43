package target

import "github.com/cespare/xxhash/v2"

// Shard is one collector's share of the targets, when several collectors have the same list. The zero value contains all
// targets.
type Shard struct {
	Index, Count int // Index is from 0 to Count-1
}

// Has reports whether the shard contains the target with this ID. Of the shards with the same Count, exactly one does.
//
// It uses rendezvous hashing: each shard scores the target, and the highest score wins. When Count changes, few targets
// move to another shard.
func (s Shard) Has(id string) bool {
	if s.Count <= 1 {
		return true
	}
	h := xxhash.Sum64String(id)
	best, highest := 0, uint64(0)
	for i := range s.Count {
		if score := mix(h + uint64(i)*0x9e3779b97f4a7c15); score >= highest {
			best, highest = i, score
		}
	}
	return best == s.Index
}

// mix is the finalizer of SplitMix64: each input bit affects every output bit.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
