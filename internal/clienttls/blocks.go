package clienttls

import (
	"maps"
	"time"
	"weak"

	"go.uber.org/zap"
)

// Blocks are the blocks that targets use, one for each set of settings. One goroutine uses it at a time.
type Blocks struct {
	checkEvery time.Duration
	log        *zap.Logger // told of renewed files that cannot be used
	blocks     map[string]weak.Pointer[Block]
}

// NewBlocks returns an empty set of blocks. A block's files are checked again when they were not for checkEvery, so that ten
// thousand targets that share a block do not check them for each of their probes.
func NewBlocks(checkEvery time.Duration, log *zap.Logger) *Blocks {
	return &Blocks{checkEvery: checkEvery, log: log, blocks: make(map[string]weak.Pointer[Block])}
}

// Get returns the block of c. Settings are the same where written is the same.
func (b *Blocks) Get(written string, c *Config) *Block {
	block := b.blocks[written].Value()
	if block == nil || len(block.errs) > 0 { // the files that it lacked may be there now
		block = newBlock(c, b.checkEvery, b.log)
		b.blocks[written] = weak.Make(block)
	}
	return block
}

// Len returns the number of blocks, those included that no target uses and Sweep has not removed yet.
func (b *Blocks) Len() int { return len(b.blocks) }

// Sweep removes the blocks that no target uses any more.
func (b *Blocks) Sweep() {
	maps.DeleteFunc(b.blocks, func(_ string, block weak.Pointer[Block]) bool { return block.Value() == nil })
}
