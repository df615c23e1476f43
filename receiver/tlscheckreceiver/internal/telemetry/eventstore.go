package telemetry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

const (
	maxStored = 1 << 20 // bytes of what is read from the storage
	// storageTimeout is how long a storage may delay the telemetry, once.
	storageTimeout = 5 * time.Second
)

// eventStore keeps event states in the storage extension. Without one it does nothing. Events are sent whatever happens to
// the storage: at worst some of them are sent again after a restart.
type eventStore struct {
	client  storage.Client // nil where none is configured, or it has not answered in time
	log     *zap.Logger
	failed  bool              // whether a failure was logged
	pending map[string][]byte // what is to be written; nil for what is to be deleted
}

// storageKey is where the state of a place is stored. It is a hash, as not every storage takes paths for keys.
func storageKey(p target.Place) string {
	sum := sha256.Sum256([]byte(p.String()))
	return fmt.Sprintf("place_%x", sum[:16])
}

// load returns what is stored under a key, an empty state where nothing is.
func (s *eventStore) load(ctx context.Context, key string) *eventState {
	data, waiting := s.pending[key]
	if !waiting && s.client != nil {
		s.call(ctx, func(ctx context.Context) (err error) {
			data, err = s.client.Get(ctx, key)
			return err
		})
	}
	state := &eventState{}
	if len(data) == 0 {
		return state
	}
	err := errors.New("it is too large")
	if len(data) <= maxStored {
		err = json.Unmarshal(data, state)
	}
	if err != nil {
		s.fail(fmt.Errorf("what is stored under %s cannot be read: %w", key, err))
		return &eventState{}
	}
	state.Recent = state.Recent[max(0, len(state.Recent)-maxRecent):]
	return state
}

// keep has a state written at the next save if it has changed. room is how many announcements it may have.
func (s *eventStore) keep(key string, state *eventState, room int) {
	if state.asked > 0 {
		state.Announced = slices.Delete(state.Announced, 0, max(0, len(state.Announced)-max(room, state.asked)))
	}
	changed := state.changed
	state.changed, state.asked = false, 0
	if !changed || s.client == nil {
		return
	}
	// How often each leaf was seen lately is not worth a write at each probe.
	short := *state
	short.Recent = nil
	for i, id := range state.Recent {
		if !slices.Contains(state.Recent[i+1:], id) {
			short.Recent = append(short.Recent, id)
		}
	}
	data, err := json.Marshal(&short)
	if err != nil {
		s.fail(err)
		return
	}
	s.pending[key] = data
}

// forget has what is stored under a key deleted at the next save.
func (s *eventStore) forget(key string) {
	if s.client != nil {
		s.pending[key] = nil
	}
}

// save writes what waits to be written. What could not be written is tried again at the next save.
func (s *eventStore) save(ctx context.Context) {
	if s.client == nil || len(s.pending) == 0 {
		return
	}
	ops := make([]*storage.Operation, 0, len(s.pending))
	for key, data := range s.pending {
		if data == nil {
			ops = append(ops, storage.DeleteOperation(key))
		} else {
			ops = append(ops, storage.SetOperation(key, data))
		}
	}
	if s.call(ctx, func(ctx context.Context) error { return s.client.Batch(ctx, ops...) }) {
		clear(s.pending)
	}
}

// call makes one call of the storage, and reports whether it succeeded. A storage that does not answer in time is not used
// again.
func (s *eventStore) call(ctx context.Context, do func(context.Context) error) (ok bool) {
	limited, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	err := do(limited)
	if err == nil {
		return true
	}
	s.fail(err)
	if limited.Err() != nil {
		s.client = nil
		clear(s.pending)
	}
	return false
}

func (s *eventStore) fail(err error) {
	if !s.failed {
		s.log.Error("The storage of events fails. Events are still sent, but some may be sent again after a restart. "+
			"Check the extension that is named in storage.", zap.Error(err))
	}
	s.failed = true
}
