package target

import "github.com/cespare/xxhash/v2"

// Shard is one collector's share of the targets, where several have the same list. Its zero value has all of them.
type Shard struct {
	Index, Count int
}

// Has tells whether a target belongs to the shard. Each collector scores every target, and the highest score has it
// (rendezvous hashing): each target is in one shard of all, and of one more or one fewer only those move that must.
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

// mix is the finalizer of SplitMix64, which spreads each bit over all.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
