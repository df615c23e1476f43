//go:build acceptance

package acceptance

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// item is a data point, a span or an event, as a map that conditions are checked against. It has the attributes, those of the
// resource with the prefix "resource.", endpoint (server.address and server.port), scope, and
//   - for a data point: metric, unit, value (for a histogram the count)
//   - for an event: event, severity, body, trace and span (the IDs; absent if the event has none)
//   - for a span: span, parent (the name of the parent), status (Unset or Error), message, kind, seconds, event (the names and
//     attributes of its events)
type item map[string]string

func point(ts *testscript.TestScript, neg bool, args []string) { find(ts, neg, "metric", args, points) }

func span(ts *testscript.TestScript, neg bool, args []string) { find(ts, neg, "span", args, spans) }

func event(ts *testscript.TestScript, neg bool, args []string) { find(ts, neg, "event", args, events) }

func find(ts *testscript.TestScript, neg bool, kind string, args []string, load func(path string) ([]item, error)) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] point|span|event FILE NAME [CONDITION...]")
	}
	conditions := []condition{{name: kind, op: "=", value: args[1]}}
	for _, a := range args[2:] {
		c, err := parseCondition(a)
		ts.Check(err)
		conditions = append(conditions, c)
	}
	check := func() error {
		items, err := load(ts.MkAbs(args[0]))
		if err != nil {
			return err
		}
		var others []string
		for _, it := range items {
			if !slices.ContainsFunc(conditions, func(c condition) bool { return !c.holds(it) }) {
				return nil
			}
			if it[kind] == args[1] {
				others = append(others, "  "+it.String())
			}
		}
		return fmt.Errorf("%s has no %s that matches, but these:\n%s", args[0], args[1], strings.Join(others, "\n"))
	}
	if !neg {
		eventually(ts, check)
	} else if check() == nil {
		ts.Fatalf("%s has a %s that matches", args[0], args[1])
	}
}

// condition is a condition on one entry of an item.
type condition struct {
	name, op, value string
	number          float64
	pattern         *regexp.Regexp
}

func parseCondition(s string) (c condition, err error) {
	if name, ok := strings.CutPrefix(s, "!"); ok {
		return condition{name: name, op: "!"}, nil
	}
	i := strings.IndexAny(s, "=~<>")
	if i < 1 {
		return c, fmt.Errorf("%q is not a condition: write name=value, name~regexp, name<number, name>number or !name", s)
	}
	c = condition{name: s[:i], op: s[i : i+1], value: s[i+1:]}
	switch c.op {
	case "~":
		c.pattern, err = regexp.Compile(c.value)
	case "<", ">":
		c.number, err = strconv.ParseFloat(c.value, 64)
	}
	return c, err
}

func (c condition) holds(it item) bool {
	got, ok := it[c.name]
	if !ok || c.op == "!" {
		return !ok && c.op == "!"
	}
	switch c.op {
	case "~":
		return c.pattern.MatchString(got)
	case "<", ">":
		n, err := strconv.ParseFloat(got, 64)
		return err == nil && (n < c.number) == (c.op == "<") && n != c.number
	}
	return got == c.value
}

func (it item) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(it)) {
		fmt.Fprintf(&b, "%s=%s ", k, it[k])
	}
	return b.String()
}

func (it item) add(prefix string, m pcommon.Map) {
	for k, v := range m.All() {
		it[prefix+k] = v.AsString()
	}
}

func (it item) addOrigin(resource pcommon.Resource, scope pcommon.InstrumentationScope) {
	it.add("resource.", resource.Attributes())
	it["scope"] = scope.Name() + " " + scope.Version()
	host := it["server.address"]
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	it["endpoint"] = host + ":" + it["server.port"]
}

// lines returns the complete lines of a file that is being written.
func lines(path string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all := bytes.Split(data, []byte("\n"))
	return all[:len(all)-1], nil
}

func metricsIn(path string, each func(pmetric.ResourceMetrics, pmetric.ScopeMetrics, pmetric.Metric)) error {
	batches, err := lines(path)
	for _, line := range batches {
		md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
		if err != nil {
			return err
		}
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					each(rm, sm, m)
				}
			}
		}
	}
	return err
}

func points(path string) (items []item, err error) {
	err = metricsIn(path, func(rm pmetric.ResourceMetrics, sm pmetric.ScopeMetrics, m pmetric.Metric) {
		add := func(attributes pcommon.Map, value string) {
			it := item{"metric": m.Name(), "unit": m.Unit(), "value": value}
			it.add("", attributes)
			it.addOrigin(rm.Resource(), sm.Scope())
			items = append(items, it)
		}
		numbers := func(ps pmetric.NumberDataPointSlice) {
			for _, p := range ps.All() {
				if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
					add(p.Attributes(), strconv.FormatInt(p.IntValue(), 10))
				} else {
					add(p.Attributes(), strconv.FormatFloat(p.DoubleValue(), 'g', -1, 64))
				}
			}
		}
		switch m.Type() {
		case pmetric.MetricTypeGauge:
			numbers(m.Gauge().DataPoints())
		case pmetric.MetricTypeSum:
			numbers(m.Sum().DataPoints())
		case pmetric.MetricTypeHistogram:
			for _, p := range m.Histogram().DataPoints().All() {
				add(p.Attributes(), strconv.FormatUint(p.Count(), 10))
			}
		}
	})
	return items, err
}

// counters waits until there are cumulative series and each of them has started as often as wanted. A series must start with 1
// and must not decrease. When it starts again, its start time must not be before its last point. Otherwise rate() would return
// wrong values.
func counters(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: counters FILE NUMBER")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	eventually(ts, func() error {
		type series struct {
			start, last pcommon.Timestamp
			count       uint64
			starts      int
		}
		all := make(map[string]*series)
		var wrong []error
		err := metricsIn(ts.MkAbs(args[0]), func(_ pmetric.ResourceMetrics, _ pmetric.ScopeMetrics, m pmetric.Metric) {
			add := func(attributes pcommon.Map, start, at pcommon.Timestamp, count uint64) {
				name := fmt.Sprint(m.Name(), " ", attributes.AsRaw()) // fmt sorts the keys of maps
				s := all[name]
				if s == nil {
					s = &series{}
					all[name] = s
				}
				if start != s.start {
					if start < s.last || count != 1 {
						wrong = append(wrong, fmt.Errorf("%s starts at %s with %d, and its last point is at %s", name, start, count, s.last))
					}
					s.start, s.count = start, 0
					s.starts++
				}
				if at <= start || count < s.count {
					wrong = append(wrong, fmt.Errorf("%s, which started at %s, is %d at %s after %d", name, start, count, at, s.count))
				}
				s.last, s.count = at, count
			}
			switch m.Type() {
			case pmetric.MetricTypeSum:
				for _, p := range m.Sum().DataPoints().All() {
					add(p.Attributes(), p.StartTimestamp(), p.Timestamp(), uint64(p.IntValue()))
				}
			case pmetric.MetricTypeHistogram:
				for _, p := range m.Histogram().DataPoints().All() {
					add(p.Attributes(), p.StartTimestamp(), p.Timestamp(), p.Count())
				}
			}
		})
		if len(wrong) > 0 {
			ts.Fatalf("%v", errors.Join(wrong...))
		}
		for name, s := range all {
			if s.starts != want {
				err = errors.Join(err, fmt.Errorf("%s started %d times", name, s.starts))
			}
		}
		if len(all) == 0 && err == nil {
			err = errors.New("there are no cumulative series")
		}
		return err
	})
}

// traceSpan is a span with its resource and scope.
type traceSpan struct {
	ptrace.Span
	resource pcommon.Resource
	scope    pcommon.InstrumentationScope
}

func (s traceSpan) endpoint() string { return s.item("")["endpoint"] }

func (s traceSpan) item(parent string) item {
	it := item{
		"span": s.Name(), "status": s.Status().Code().String(), "kind": s.Kind().String(),
		"seconds": fmt.Sprint(s.EndTimestamp().AsTime().Sub(s.StartTimestamp().AsTime()).Seconds()),
	}
	if parent != "" {
		it["parent"] = parent
	}
	if m := s.Status().Message(); m != "" {
		it["message"] = m
	}
	for _, e := range s.Events().All() {
		it["event"] += fmt.Sprint(e.Name(), " ", e.Attributes().AsRaw())
	}
	it.add("", s.Attributes())
	it.addOrigin(s.resource, s.scope)
	return it
}

func spansIn(path string) ([]traceSpan, error) {
	batches, err := lines(path)
	var all []traceSpan
	for _, line := range batches {
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
		if err != nil {
			return nil, err
		}
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					all = append(all, traceSpan{s, rs.Resource(), ss.Scope()})
				}
			}
		}
	}
	return all, err
}

func spans(path string) ([]item, error) {
	all, err := spansIn(path)
	names := make(map[pcommon.SpanID]string, len(all))
	for _, s := range all {
		names[s.SpanID()] = s.Name()
	}
	items := make([]item, len(all))
	for i, s := range all {
		items[i] = s.item(names[s.ParentSpanID()])
	}
	return items, err
}

// shards waits until as many endpoints as wanted were probed twice, and checks that each is in only one of the files.
func shards(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: shards NUMBER FILE...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	eventually(ts, func() error {
		fileOf := make(map[string]string)
		probes := make(map[string]int)
		for _, file := range args[1:] {
			all, err := points(ts.MkAbs(file))
			if err != nil {
				return err
			}
			for _, p := range all {
				if p["metric"] != "tls.probe.success" {
					continue
				}
				e := p["endpoint"]
				if fileOf[e] != "" && fileOf[e] != file {
					ts.Fatalf("%s is probed by two collectors: see %s and %s", e, fileOf[e], file)
				}
				fileOf[e] = file
				probes[e]++
			}
		}
		for e, n := range probes {
			if n < 2 {
				return fmt.Errorf("%s was probed %d times", e, n)
			}
		}
		if len(fileOf) != want {
			return fmt.Errorf("%d of %d endpoints are probed", len(fileOf), want)
		}
		return nil
	})
}

func events(path string) (items []item, err error) {
	batches, err := lines(path)
	for _, line := range batches {
		ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
		if err != nil {
			return nil, err
		}
		for _, rl := range ld.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, r := range sl.LogRecords().All() {
					it := item{"event": r.EventName(), "severity": r.SeverityText(), "body": r.Body().AsString()}
					if id := r.TraceID(); !id.IsEmpty() {
						it["trace"], it["span"] = id.String(), r.SpanID().String()
					}
					it.add("", r.Attributes())
					it.addOrigin(rl.Resource(), sl.Scope())
					items = append(items, it)
				}
			}
		}
	}
	return items, err
}

func tree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: tree FILE ENDPOINT [CHILD...]")
	}
	eventually(ts, func() error {
		all, err := spansIn(ts.MkAbs(args[0]))
		if err != nil {
			return err
		}
		traces := make(map[pcommon.TraceID][]traceSpan)
		for _, s := range all {
			if s.endpoint() == args[1] {
				traces[s.TraceID()] = append(traces[s.TraceID()], s)
			}
		}
		if len(traces) == 0 {
			return fmt.Errorf("%s has no trace of %s", args[0], args[1])
		}
		for _, trace := range traces {
			if err := checkTrace(trace, args[2:]); err != nil {
				return fmt.Errorf("%s: %w", args[1], err)
			}
		}
		return nil
	})
}

// checkTrace returns an error if the spans of a trace are not a root tls.connect and the given children. The children must
// follow each other within the time of the root. If none are given, any are accepted.
func checkTrace(trace []traceSpan, children []string) error {
	root := trace[0]
	if root.Name() != "tls.connect" || !root.ParentSpanID().IsEmpty() || root.TraceID().IsEmpty() || root.SpanID().IsEmpty() {
		return fmt.Errorf("the first span is %s, not a root tls.connect", root.Name())
	}
	var names []string
	last := root.StartTimestamp()
	spans := slices.SortedFunc(slices.Values(trace[1:]), func(a, b traceSpan) int {
		return cmp.Compare(a.StartTimestamp(), b.StartTimestamp())
	})
	for _, s := range spans {
		names = append(names, s.Name())
		switch {
		case s.ParentSpanID() != root.SpanID() || s.SpanID() == root.SpanID():
			return fmt.Errorf("%s is not a child of tls.connect", s.Name())
		case s.StartTimestamp() < last || s.EndTimestamp() <= s.StartTimestamp() || s.EndTimestamp() > root.EndTimestamp():
			return fmt.Errorf("%s, from %s to %s, is not within the rest of tls.connect, from %s to %s", s.Name(),
				s.StartTimestamp(), s.EndTimestamp(), last, root.EndTimestamp())
		}
		last = s.EndTimestamp()
	}
	if len(children) > 0 && !slices.Equal(names, children) {
		return fmt.Errorf("the children of tls.connect are %q, want %q", names, children)
	}
	return nil
}

func exemplars(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: exemplars METRICS TRACES")
	}
	eventually(ts, func() error {
		type ids struct {
			trace pcommon.TraceID
			span  pcommon.SpanID
		}
		handshakes := make(map[ids]string)
		all, err := spansIn(ts.MkAbs(args[1]))
		for _, s := range all {
			if s.Name() == "tls.handshake" {
				handshakes[ids{s.TraceID(), s.SpanID()}] = s.endpoint()
			}
		}
		found := 0
		errMetrics := metricsIn(ts.MkAbs(args[0]), func(rm pmetric.ResourceMetrics, sm pmetric.ScopeMetrics, m pmetric.Metric) {
			if m.Type() != pmetric.MetricTypeHistogram {
				return
			}
			for _, p := range m.Histogram().DataPoints().All() {
				it := item{}
				it.add("", p.Attributes())
				it.addOrigin(rm.Resource(), sm.Scope())
				for _, e := range p.Exemplars().All() {
					found++
					if handshakes[ids{e.TraceID(), e.SpanID()}] != it["endpoint"] {
						err = errors.Join(err, fmt.Errorf("an exemplar of %s does not refer to a handshake of it", it["endpoint"]))
					}
				}
			}
		})
		if err = errors.Join(err, errMetrics); err == nil && found == 0 {
			err = errors.New("there are no exemplars")
		}
		return err
	})
}
