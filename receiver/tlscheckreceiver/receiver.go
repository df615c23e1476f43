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
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/schedule"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/watch"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/record"
)

// tlsCheck is one receiver, whatever signals it is used for. The collector starts and stops it once for each of them.
type tlsCheck struct {
	set    receiver.Settings
	cfg    *Config
	to     record.Consumers // each nil where unused
	forget func()           // removes it from the factory's instances
	health *health

	startOnce, stopOnce sync.Once
	startErr            error

	stopProbing   context.CancelFunc
	stopRecording context.CancelFunc
	recorded      chan struct{} // closed when the last batch is sent

	memory storage.Client // nil where no storage is configured
}

// Start begins to probe. Everything that can be refused was when the configuration was validated, except for files that
// changed since.
func (r *tlsCheck) Start(ctx context.Context, host component.Host) error {
	r.health.join(host)
	r.startOnce.Do(func() { r.startErr = r.start(ctx, host) })
	return r.startErr
}

func (r *tlsCheck) start(ctx context.Context, host component.Host) (err error) {
	builder := newBuilder(r.set.Logger)
	targets, err := r.cfg.build(builder)
	if err != nil {
		return err
	}
	r.warnOfTwins(targets)
	if r.memory, err = r.openStorage(ctx, host); err != nil {
		return err
	}
	recorder, err := record.New(r.set, r.cfg.Config, r.to, r.memory)
	if err != nil {
		return err
	}
	recorder.Observe = r.health.observe
	telemetry, err := metadata.NewTelemetryBuilder(r.set.TelemetrySettings)
	if err != nil {
		return err
	}

	// The context that Start is given may end when everything is started; these live until Shutdown.
	probing, stopProbing := context.WithCancel(context.Background())
	recording, stopRecording := context.WithCancel(context.Background())
	r.stopProbing, r.stopRecording, r.recorded = stopProbing, stopRecording, make(chan struct{})

	work := &work{
		shard:     target.Shard(r.cfg.Shard),
		prober:    &probe.Prober{},
		telemetry: telemetry,
		outcomes:  make(chan *probe.Outcome, 256),
	}
	work.prober.Again = func(t *target.Target, after time.Duration) {
		time.AfterFunc(after, func() { work.plan.Now(t) }) // which does nothing once all has ended
	}
	work.plan = &schedule.Schedule{
		MaxConcurrent: r.cfg.MaxConcurrentProbes,
		Probe:         work.probe,
		Skip:          func(*target.Target) { telemetry.TLSCheckProbesSkipped.Add(probing, 1) },
	}
	work.watch = watch.New(work.plan.Now, func(dir string, err error) {
		r.set.Logger.Warn("Some directories of certificate files cannot be watched; files there are read at each interval only.",
			zap.String("directory", dir), zap.Error(err))
	})
	files := &targetFiles{
		patterns: r.cfg.TargetFiles, defaults: &r.cfg.TargetDefaults, timeoutSet: r.cfg.timeoutSet,
		builder: builder, log: r.set.Logger,
		files: make(map[string]*targetFile), live: make(map[entryID][]*target.Target),
	}
	builder.unique = true
	files.read()
	work.set(slices.Concat(targets, files.targets()))

	var working sync.WaitGroup
	working.Go(func() { work.plan.Run(probing) })
	working.Go(func() { work.watch.Run(probing) })
	if len(files.patterns) > 0 {
		working.Go(func() {
			wrong := files.wrong()
			telemetry.TLSCheckTargetFilesErrors.Add(probing, wrong)
			for tick := time.NewTicker(lookEvery); ; {
				select {
				case <-probing.Done():
					tick.Stop()
					return
				case <-tick.C:
				}
				if files.read() {
					work.set(slices.Concat(targets, files.targets()))
				}
				telemetry.TLSCheckTargetFilesErrors.Add(probing, files.wrong()-wrong)
				wrong = files.wrong()
			}
		})
	}
	go func() {
		working.Wait()
		close(work.outcomes)
	}()
	go func() {
		recorder.Run(recording, work.outcomes)
		telemetry.Shutdown()
		close(r.recorded)
	}()
	return nil
}

// grace is how long the next components may take over the last batch, and then how long over letting go of it.
const grace = time.Second

// Shutdown calls off the probes that are running, sends what the others found, and returns. It waits for consumers that
// block no longer than ctx, and not for ever where ctx has no end.
func (r *tlsCheck) Shutdown(ctx context.Context) (err error) {
	r.stopOnce.Do(func() {
		defer r.forget()
		defer func() {
			if r.memory != nil {
				err = errors.Join(err, r.memory.Close(ctx))
			}
		}()
		if r.recorded == nil { // never started
			return
		}
		defer r.stopRecording()
		r.stopProbing()
		select {
		case <-r.recorded:
			return
		case <-ctx.Done():
		case <-time.After(grace):
		}
		r.stopRecording()
		select {
		case <-r.recorded:
		case <-time.After(grace):
			err = errors.New("the last batch is lost: the next component in the pipeline blocks and does not heed the end of its context")
		}
	})
	return err
}

// openStorage returns what keeps the state of events over a restart, nil where that is not configured.
func (r *tlsCheck) openStorage(ctx context.Context, host component.Host) (storage.Client, error) {
	if r.cfg.Storage == nil {
		return nil, nil
	}
	extension, ok := host.GetExtensions()[*r.cfg.Storage].(storage.Extension)
	if !ok {
		return nil, fmt.Errorf("storage: %q is no storage extension that is configured; add one, such as file_storage, under extensions and under service::extensions", r.cfg.Storage)
	}
	client, err := extension.GetClient(ctx, component.KindReceiver, r.set.ID, "")
	if err != nil {
		return nil, fmt.Errorf("storage: %q cannot be opened: %w", r.cfg.Storage, err)
	}
	return client, nil
}

// warnOfTwins tells of targets whose telemetry cannot be told apart.
func (r *tlsCheck) warnOfTwins(targets []*target.Target) {
	seen := make(map[string]bool, len(targets))
	warn := func(what, name string, t *target.Target) {
		identity := fmt.Sprint(name, t.Attributes) // fmt sorts the keys of maps
		if seen[identity] {
			r.set.Logger.Warn("Two targets have the same "+what+" and the same attributes: their metrics cannot be told apart. "+
				"Give them different attributes.", zap.String(what, name))
		}
		seen[identity] = true
	}
	for _, t := range targets {
		if t.HasEndpoint() {
			warn("endpoint", t.Endpoint.String(), t)
		}
		if t.Files.Pattern != "" && !t.Files.Silent {
			warn("file_path", t.Files.Pattern, t)
		}
	}
}
