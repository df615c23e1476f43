package targetconfig

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/config/configtls"

	"github.com/otel-tlscheck/otelcol-tlscheck/internal/clienttls"
)

// UnknownKeys returns an error for each key of a block that the struct type t does not have, or nil. path is the prefix of
// the keys. The error lists the keys that t has. The collector would refuse unknown keys too, but its errors name Go types.
// The error does not quote values, as these may be secrets.
func UnknownKeys(block map[string]any, t reflect.Type, path string) error {
	known := knownKeys(t)
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(block)) {
		field, ok := known[key]
		if !ok {
			errs = append(errs, fmt.Errorf("%s%s: is not known; use one of %s", path, key, strings.Join(slices.Sorted(maps.Keys(known)), ", ")))
			continue
		}
		errs = append(errs, unknownKeysIn(block[key], field, path+key+"::"))
	}
	return errors.Join(errs...)
}

func unknownKeysIn(value any, t reflect.Type, path string) error {
	switch v := value.(type) {
	case map[string]any:
		if t.Kind() == reflect.Struct {
			return UnknownKeys(v, t, path)
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return nil
		}
		var errs []error
		for i, element := range v {
			errs = append(errs, unknownKeysIn(element, t.Elem(), fmt.Sprintf("%s%d::", path, i)))
		}
		return errors.Join(errs...)
	}
	return nil // a scalar, or a value of the wrong type, which decoding reports
}

// keysByType caches what keysOf returns, by reflect.Type, as there may be thousands of targets.
var keysByType sync.Map

func knownKeys(t reflect.Type) map[string]reflect.Type {
	keys, ok := keysByType.Load(t)
	if !ok {
		keys, _ = keysByType.LoadOrStore(t, keysOf(t))
	}
	return keys.(map[string]reflect.Type)
}

// keysOf returns the configuration keys of a struct type, with the types of their values.
func keysOf(t reflect.Type) map[string]reflect.Type {
	if t == reflect.TypeFor[clienttls.Config]() {
		t = reflect.TypeFor[configtls.ClientConfig]() // which is in its unexported field
	}
	keys := make(map[string]reflect.Type)
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("mapstructure"), ",")
		if options == "squash" {
			maps.Copy(keys, keysOf(f.Type))
		} else if name != "" {
			keys[name] = f.Type
		}
	}
	return keys
}
