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

// tlsCheck is one receiver, whatever signals it is used for. The collector starts and stops it once for each of them.
type tlsCheck struct {
	set    receiver.Settings
	cfg    *Config
	to     telemetry.Consumers // each nil where unused
	forget func()              // removes it from the factory's instances
	health *health.Health

	startOnce, stopOnce sync.Once
	startErr            error

	kept          storage.Client // what is remembered over a restart; nil where no storage is configured
	stopProbing   context.CancelFunc
	stopObserving context.CancelFunc
	done          chan struct{} // closed when the last batch is sent; nil before the start
}

// Start begins to probe. Everything that can be refused was when the configuration was validated, except for files that
// changed since.
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
	targetconfig.WarnOfTwins(configured, r.set.Logger)
	if r.kept, err = r.openStorage(ctx, host); err != nil {
		return err
	}
	recorder, err := telemetry.New(r.set, cfg.Config, r.to, r.kept)
	if err != nil {
		return err
	}
	own, err := metadata.NewTelemetryBuilder(r.set.TelemetrySettings)
	if err != nil {
		return err
	}
	files := targetconfig.NewFiles(cfg.TargetFiles, cfg.defaults(), builder, r.set.Logger)
	targets := func() []*target.Target { return slices.Concat(configured, files.Targets()) }
	metrics := ownMetrics{own}
	probes := engine.New(engine.Config{
		MaxConcurrent: cfg.MaxConcurrentProbes, Shard: target.Shard(cfg.Shard),
		Observers: []engine.Observer{recorder, metrics, r.health},
		Begin:     metrics.probeBegins, End: metrics.probeEnds, Skip: metrics.probeSkipped,
		FlushAfter: flushAfter, Log: r.set.Logger,
	}, targets())
	r.run(probes, func(ctx context.Context) {
		files.Follow(ctx, func() { probes.Set(targets()) }, metrics.targetFileMistakes)
	}, own.Shutdown)
	return nil
}

// Tests shorten these.
var (
	flushAfter      = time.Second // how old the first outcome of a batch becomes
	checkFilesEvery = time.Second // the time between two looks at target files and at the files of a tls block
)

// run starts the engine and what follows the target files. Both end with stopProbing, and then stopped is called.
func (r *tlsCheck) run(probes *engine.Engine, follow func(context.Context), stopped func()) {
	// The context that Start is given may end when everything is started; these end at Shutdown.
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

// grace is how long the next components may take for the last batch, and then how long to return when their context ends.
const grace = time.Second

// Shutdown cancels the probes that are running, sends what the others found, and returns. It waits for consumers that
// block no longer than ctx, and not forever where ctx has no end.
func (r *tlsCheck) Shutdown(ctx context.Context) (err error) {
	r.stopOnce.Do(func() {
		defer r.forget()
		defer func() {
			if r.kept != nil {
				err = errors.Join(err, r.kept.Close(ctx))
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
		return errors.New("the last batch is lost: the next component in the pipeline blocks and ignores that its context has ended")
	}
}

// openStorage returns what keeps the state of events over a restart, nil where that is not configured.
func (r *tlsCheck) openStorage(ctx context.Context, host component.Host) (storage.Client, error) {
	if r.cfg.Storage == nil {
		return nil, nil
	}
	extension, ok := host.GetExtensions()[*r.cfg.Storage].(storage.Extension)
	if !ok {
		return nil, fmt.Errorf("storage: %q is not a storage extension that is configured; add one, such as file_storage, under extensions and under service::extensions", r.cfg.Storage)
	}
	client, err := extension.GetClient(ctx, component.KindReceiver, r.set.ID, "")
	if err != nil {
		return nil, fmt.Errorf("storage: %q cannot be opened: %w", r.cfg.Storage, err)
	}
	return client, nil
}
