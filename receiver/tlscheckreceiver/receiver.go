package tlscheckreceiver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/engine"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/targetconfig"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/health"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/telemetry"
)

// tlsCheck is one receiver for all its signals. The collector starts and stops it once for each signal.
type tlsCheck struct {
	set    receiver.Settings
	cfg    *Config
	next   telemetry.Consumers // the consumers of unused signals are nil
	forget func()              // removes the receiver from the factory's instances
	health *health.Health

	startOnce, stopOnce sync.Once
	startErr            error

	storage       storage.Client // keeps the state of events over a restart; nil if no storage is configured
	stopProbing   context.CancelFunc
	stopObserving context.CancelFunc
	done          chan struct{} // closed when the last batch has been sent; nil before the start
}

// Start starts probing. Validate has already found the errors in the configuration, so Start fails only if files have
// changed since, or if the telemetry or the storage cannot be set up.
func (r *tlsCheck) Start(ctx context.Context, host component.Host) error {
	r.health.Join(host)
	r.startOnce.Do(func() { r.startErr = r.start(ctx, host) })
	return r.startErr
}

func (r *tlsCheck) start(ctx context.Context, host component.Host) (err error) {
	cfg, builder := r.cfg.complete(), targetconfig.NewBuilder(checkFilesEvery, r.set.Logger)
	configured, err := cfg.build(builder)
	if err != nil {
		return err
	}
	targetconfig.WarnOfDuplicates(configured, r.set.Logger)
	if r.storage, err = r.openStorage(ctx, host); err != nil {
		return err
	}
	recorder, err := telemetry.New(r.set, cfg.Config, r.next, r.storage)
	if err != nil {
		return err
	}
	own, err := metadata.NewTelemetryBuilder(r.set.TelemetrySettings)
	if err != nil {
		return err
	}
	files := targetconfig.NewTargetFiles(cfg.TargetFiles, cfg.defaults(), builder, r.set.Logger)
	targets := func() []*target.Target { return slices.Concat(configured, files.Targets()) }
	metrics := ownMetrics{own}
	probes := engine.New(engine.Config{
		MaxConcurrent: cfg.MaxConcurrentProbes, Shard: target.Shard(cfg.Shard),
		Observers: []engine.Observer{r.health, metrics, recorder}, // the one that may block comes last
		Begin:     metrics.probeBegins, End: metrics.probeEnds, Skip: metrics.probeSkipped,
		FlushAfter: flushAfter, Log: r.set.Logger,
	}, targets())
	r.run(probes, func(ctx context.Context) {
		files.Follow(ctx, func() { probes.Set(targets()) }, metrics.targetFileErrors)
	}, own.Shutdown)
	return nil
}

// Tests shorten these.
var (
	flushAfter      = time.Second // how long the first outcome of a batch waits
	checkFilesEvery = time.Second // the time between two checks of target files, and of the files of a tls block
)

// run starts the engine and follow, which reads the target files again when they change. Both end with stopProbing. Then
// run calls stopped.
func (r *tlsCheck) run(probes *engine.Engine, follow func(context.Context), stopped func()) {
	// The context that Start was given may end once everything has started. These contexts end with Shutdown.
	probing, stopProbing := context.WithCancel(context.Background())
	observing, stopObserving := context.WithCancel(context.Background())
	r.stopProbing, r.stopObserving, r.done = stopProbing, stopObserving, make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { probes.Run(probing, observing) })
	running.Go(func() { follow(probing) })
	go func() {
		running.Wait()
		stopped()
		close(r.done)
	}()
}

// grace is how long the next components may take for the last batch. If they take longer, their context is cancelled, and
// they have the same time again to return.
const grace = time.Second

// Shutdown cancels the running probes, sends the outcomes of the completed ones, and returns. If the next components block,
// it cancels their context after a second or when ctx ends, and returns an error if they still block a second later.
func (r *tlsCheck) Shutdown(ctx context.Context) (err error) {
	r.stopOnce.Do(func() {
		r.health.Close()
		defer r.forget()
		defer func() {
			if r.storage != nil {
				err = errors.Join(err, r.storage.Close(ctx))
			}
		}()
		if r.done != nil {
			err = r.stop(ctx)
		}
	})
	return err
}

func (r *tlsCheck) stop(ctx context.Context) error {
	defer r.stopObserving()
	r.stopProbing()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
	case <-time.After(grace):
	}
	r.stopObserving()
	select {
	case <-r.done:
		return nil
	case <-time.After(grace):
		return errors.New("the last batch is lost: the next component in the pipeline blocks and does not return although its context was cancelled")
	}
}

// openStorage returns the client of the storage extension, or nil if none is configured.
func (r *tlsCheck) openStorage(ctx context.Context, host component.Host) (storage.Client, error) {
	if r.cfg.Storage == nil {
		return nil, nil
	}
	extension, ok := host.GetExtensions()[*r.cfg.Storage].(storage.Extension)
	if !ok {
		return nil, fmt.Errorf("storage: %q is not a configured storage extension; add one, such as file_storage, under extensions and under service::extensions", r.cfg.Storage)
	}
	client, err := extension.GetClient(ctx, component.KindReceiver, r.set.ID, "")
	if err != nil {
		return nil, fmt.Errorf("storage: %q cannot be opened: %w", r.cfg.Storage, err)
	}
	return client, nil
}
