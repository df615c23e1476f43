package watch

import "time"

// debounce is a timer that fires when a burst of events has ended, or has lasted for maxWait.
type debounce struct {
	quiet   time.Duration // without an event until a burst has ended
	maxWait time.Duration
	timer   *time.Timer
	first   time.Time // the first event of the burst; zero if there was none
}

func (d *debounce) event() {
	if d.first.IsZero() {
		d.first = time.Now()
	}
	d.timer.Reset(min(d.quiet, time.Until(d.first.Add(d.maxWait))))
}

func (d *debounce) fireNow() { d.timer.Reset(0) }

// reset makes the next event the first of another burst.
func (d *debounce) reset() { d.first = time.Time{} }
