package telemetry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
)

const (
	maxStored = 1 << 20 // bytes that are read from the storage for one key
	// storageTimeout is how long a storage may delay the telemetry. After that it is no longer used.
	storageTimeout = 5 * time.Second
)

// eventStore keeps event states in a storage extension. Without one it does nothing. Events are sent even if the storage
// fails. At worst, some of them are sent again after a restart.
type eventStore struct {
	client  storage.Client // nil if none is configured, or if it did not answer in time
	log     *zap.Logger
	failed  bool              // whether a failure was logged
	pending map[string][]byte // values to write by key; nil to delete
}

// storageKey returns the key under which the state of a place is stored. It is a hash because not every storage accepts paths
// as keys.
func storageKey(p target.Place) string {
	sum := sha256.Sum256([]byte(p.String()))
	return fmt.Sprintf("place_%x", sum[:16])
}

// load returns the state that is stored under a key, or an empty one if there is none.
func (s *eventStore) load(ctx context.Context, key string) *eventState {
	data, waiting := s.pending[key]
	if !waiting && s.client != nil {
		s.call(ctx, func(ctx context.Context) (err error) {
			data, err = s.client.Get(ctx, key)
			return err
		})
	}
	state, err := decode(data)
	if err != nil {
		s.fail(fmt.Errorf("the value stored under %s is invalid: %w", key, err))
		state = &eventState{}
	}
	state.key = key
	return state
}

func decode(data []byte) (*eventState, error) {
	state := &eventState{}
	switch {
	case len(data) == 0:
		return state, nil
	case len(data) > maxStored:
		return nil, fmt.Errorf("it has %d bytes, but must not have more than %d", len(data), maxStored)
	}
	if err := json.Unmarshal(data, state); err != nil {
		return nil, err
	}
	state.Recent = state.Recent[max(0, len(state.Recent)-maxRecent):]
	return state, nil
}

// put limits the announcements of a state. If the state has changed since the last put, the next flush writes it.
func (s *eventStore) put(state *eventState, maxAnnounced int) {
	if state.used > 0 {
		state.Announced = slices.Delete(state.Announced, 0, max(0, len(state.Announced)-max(maxAnnounced, state.used)))
	}
	changed := state.changed
	state.changed, state.used = false, 0
	if !changed || s.client == nil {
		return
	}
	// Each leaf is stored once. Otherwise every probe would change what is stored.
	stored := *state
	stored.Recent = nil
	for i, id := range state.Recent {
		if !slices.Contains(state.Recent[i+1:], id) {
			stored.Recent = append(stored.Recent, id)
		}
	}
	data, err := json.Marshal(&stored)
	if err != nil {
		s.fail(err)
		return
	}
	s.pending[state.key] = data
}

// delete makes the next flush delete the state that is stored under a key.
func (s *eventStore) delete(key string) {
	if s.client != nil {
		s.pending[key] = nil
	}
}

// flush writes pending changes to the storage. If that fails, the next flush tries again.
func (s *eventStore) flush(ctx context.Context) {
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

// call runs an operation of the storage, and reports whether it succeeded. A storage that does not answer in time is not used
// again.
func (s *eventStore) call(ctx context.Context, op func(context.Context) error) (ok bool) {
	limited, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	err := op(limited)
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

// fail logs the first failure.
func (s *eventStore) fail(err error) {
	if !s.failed {
		s.log.Error("The storage for events failed. Events are still sent, but some may be sent again after a restart. "+
			"Check the extension that is named in storage.", zap.Error(err))
	}
	s.failed = true
}
