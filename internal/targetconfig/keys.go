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

// UnknownKeys returns an error that names each key of a block that struct type t does not have, with its path and the keys
// that t has. The collector would refuse them too, but with the names of Go types. The values may be secrets, so the error
// does not have them.
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
	return nil // a scalar, or of the wrong type, which decoding reports
}

var keysByType sync.Map // reflect.Type to what keysOf returns, as there may be many thousand targets

func knownKeys(t reflect.Type) map[string]reflect.Type {
	keys, ok := keysByType.Load(t)
	if !ok {
		keys, _ = keysByType.LoadOrStore(t, keysOf(t))
	}
	return keys.(map[string]reflect.Type)
}

// keysOf returns the keys that configure a struct, with the types of their values.
func keysOf(t reflect.Type) map[string]reflect.Type {
	if t == reflect.TypeFor[clienttls.Config]() {
		t = reflect.TypeFor[configtls.ClientConfig]() // which it hides
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
