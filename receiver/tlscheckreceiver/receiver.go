package tlscheckreceiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/zap"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/probe"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/schedule"
	"github.com/otel-tlscheck/otelcol-tlscheck/internal/target"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/metadata"
	"github.com/otel-tlscheck/otelcol-tlscheck/receiver/tlscheckreceiver/internal/record"
)

// tlsCheck is one receiver, whatever signals it is used for. The collector starts and stops it once for each of them.
type tlsCheck struct {
	set     receiver.Settings
	cfg     *Config
	metrics consumer.Metrics // nil where unused
	traces  consumer.Traces  // nil where unused
	forget  func()           // removes it from the factory's instances
	health  *health

	startOnce, stopOnce sync.Once
	startErr            error

	stopProbing   context.CancelFunc
	stopRecording context.CancelFunc
	recorded      chan struct{} // closed when the last batch is sent
}

// Start begins to probe. Everything that can be refused was when the configuration was validated, except for files that
// changed since.
func (r *tlsCheck) Start(_ context.Context, host component.Host) error {
	r.health.join(host)
	r.startOnce.Do(func() { r.startErr = r.start() })
	return r.startErr
}

func (r *tlsCheck) start() error {
	targets, err := r.cfg.build()
	if err != nil {
		return err
	}
	r.warnOfTwins(targets)
	recorder, err := record.New(r.set, r.cfg.Config, r.metrics, r.traces)
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

	outcomes := make(chan *probe.Outcome, min(r.cfg.MaxConcurrentProbes, len(targets)))
	prober := &probe.Prober{}
	plan := &schedule.Schedule{
		Targets:       targets,
		MaxConcurrent: r.cfg.MaxConcurrentProbes,
		Probe: func(ctx context.Context, t *target.Target, late time.Duration) {
			telemetry.TLSCheckProbeLateness.Record(ctx, late.Seconds())
			telemetry.TLSCheckProbesInFlight.Add(ctx, 1)
			defer telemetry.TLSCheckProbesInFlight.Add(ctx, -1)
			o := prober.Probe(ctx, t)
			if o == nil {
				return
			}
			if h := o.Handshake; h != nil && h.Remembered {
				telemetry.TLSCheckVerdictCacheHits.Add(ctx, 1)
			} else if h != nil && h.Verdict != nil {
				telemetry.TLSCheckVerdictCacheMisses.Add(ctx, 1)
			}
			outcomes <- o
		},
		Skip: func(*target.Target) { telemetry.TLSCheckProbesSkipped.Add(probing, 1) },
	}
	go func() {
		plan.Run(probing)
		close(outcomes)
	}()
	go func() {
		recorder.Run(recording, outcomes)
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

// warnOfTwins tells of targets whose telemetry cannot be told apart.
func (r *tlsCheck) warnOfTwins(targets []*target.Target) {
	seen := make(map[string]bool, len(targets))
	for _, t := range targets {
		identity := fmt.Sprint(t.Endpoint, t.Attributes) // fmt sorts the keys of maps
		if seen[identity] {
			r.set.Logger.Warn("Two targets have the same endpoint and the same attributes: their metrics cannot be told apart. "+
				"Give them different attributes.", zap.Stringer("endpoint", t.Endpoint))
		}
		seen[identity] = true
	}
}
