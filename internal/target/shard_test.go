package target

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// owner returns which of count shards has the target.
func owner(t *testing.T, id string, count int) int {
	t.Helper()
	found := -1
	for i := range count {
		if (Shard{i, count}).Has(id) {
			assert.Equal(t, -1, found, "%s is in two shards", id)
			found = i
		}
	}
	assert.NotEqual(t, -1, found, "%s is in no shard", id)
	return found
}

func TestShardsAreEvenAndMoveLittle(t *testing.T) {
	const n = 20000
	for _, count := range []int{2, 3, 4, 5} {
		size, moved := make([]int, count), 0
		for i := range n {
			id := fmt.Sprintf("host-%d.example.com:443", i)
			now, next := owner(t, id, count), owner(t, id, count+1)
			size[now]++
			if now != next {
				moved++
				assert.Equal(t, count, next, "a target stays or moves to the new shard")
			}
		}
		for i, s := range size {
			assert.InEpsilon(t, n/count, s, 0.05, "shard %d of %d has %d", i, count, s)
		}
		assert.InEpsilon(t, n/(count+1), moved, 0.05, "from %d to %d", count, count+1)
	}
}

func TestShardIsTheSameInEveryProcess(t *testing.T) {
	var all []int
	for i := range 20 {
		all = append(all, owner(t, fmt.Sprintf("host-%d.example.com:443", i), 4))
	}
	assert.Equal(t, []int{1, 0, 2, 2, 2, 1, 0, 2, 2, 1, 3, 0, 1, 0, 2, 3, 0, 3, 2, 3}, all)
}

func TestNoShards(t *testing.T) {
	assert.True(t, Shard{}.Has("any"))
	assert.True(t, Shard{0, 1}.Has("any"))
}
