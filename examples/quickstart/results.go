package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
)

// results is the backend that the collector sends its traces to, as JSON over OTLP/HTTP. It writes the result of each
// probe.
type results struct{ w io.Writer }

// traces is what results reads of an export request:
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
type traces struct {
	ResourceSpans []struct{ ScopeSpans []struct{ Spans []span } }
}

type span struct {
	Name       string
	Attributes []struct {
		Key   string
		Value map[string]any // such as {"intValue": "443"}
	}
	Events []struct{ Name string }
	Status struct {
		Code    int
		Message string
	}
}

func (r results) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	var t traces
	if err := json.NewDecoder(request.Body).Decode(&t); err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	for _, resource := range t.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				fmt.Fprint(r.w, s.result())
			}
		}
	}
	response.Header().Set("Content-Type", "application/json")
	fmt.Fprint(response, "{}")
}

var sentenceEnd = regexp.MustCompile(`\. ([A-Z])`)

// result is empty for all but one span of each probe: the root where the probe failed, the handshake where it did not.
func (s span) result() string {
	const failed = 2 // STATUS_CODE_ERROR
	attributes := make(map[string]any)
	for _, a := range s.Attributes {
		for _, v := range a.Value {
			attributes[a.Key] = v
		}
	}
	endpoint := net.JoinHostPort(fmt.Sprint(attributes["server.address"]), fmt.Sprint(attributes["server.port"]))
	switch {
	case s.Name == "tls.connect" && s.Status.Code == failed:
		return fmt.Sprintf("FAILED  %-24s %v\n        %s\n", endpoint, attributes["error.type"],
			sentenceEnd.ReplaceAllString(s.Status.Message, ".\n        $1"))
	case s.Name == "tls.handshake" && s.Status.Code != failed:
		word := "OK"
		if len(s.Events) > 0 { // tls.cert.expiring_soon
			word = "SOON"
		}
		asks := ""
		if _, configured := attributes["tls.client_cert.days_until_expiry"]; attributes["tls.client_certificate.requested"] == true && !configured {
			asks = ", asks for a client certificate"
		}
		return fmt.Sprintf("%-7s %-24s %v, %v, %v days left%s\n", word, endpoint, attributes["tls.protocol"],
			attributes["tls.cipher"], attributes["tls.cert.days_until_expiry"], asks)
	}
	return ""
}
