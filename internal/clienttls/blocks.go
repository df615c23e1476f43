package clienttls

import (
	"maps"
	"time"
	"weak"

	"go.uber.org/zap"
)

// Blocks is the set of blocks that targets use, one for each combination of settings. Only one goroutine may use it at a
// time.
type Blocks struct {
	checkEvery time.Duration
	log        *zap.Logger
	blocks     map[string]weak.Pointer[Block]
}

// NewBlocks returns an empty set of blocks. The files of a block are checked at most once every checkEvery, however many
// targets share the block. Renewed files that cannot be used are logged.
func NewBlocks(checkEvery time.Duration, log *zap.Logger) *Blocks {
	return &Blocks{checkEvery: checkEvery, log: log, blocks: make(map[string]weak.Pointer[Block])}
}

// Get returns the block of c. The key must be the same for the same settings, and different for different ones.
func (b *Blocks) Get(key string, c *Config) *Block {
	block := b.blocks[key].Value()
	if block == nil || len(block.errs) > 0 { // files that were missing may exist now
		block = newBlock(c, b.checkEvery, b.log)
		b.blocks[key] = weak.Make(block)
	}
	return block
}

// Len returns the number of blocks, including unused ones that Sweep has not removed yet.
func (b *Blocks) Len() int { return len(b.blocks) }

// Sweep removes the blocks that no target uses any more and that the garbage collector has freed.
func (b *Blocks) Sweep() {
	maps.DeleteFunc(b.blocks, func(_ string, block weak.Pointer[Block]) bool { return block.Value() == nil })
}
