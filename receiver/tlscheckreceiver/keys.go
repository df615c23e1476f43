package tlscheckreceiver

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// unknownKeys returns an error that names each key of a block which is none of struct type t's, with its path and the
// keys that are. The collector would refuse them too, but with the names of Go types. The values are not told, as they
// may be secrets.
func unknownKeys(block map[string]any, t reflect.Type, path string) error {
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
			return unknownKeys(v, t, path)
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
	return nil // a scalar, or of the wrong type, which decoding tells
}

var known sync.Map // reflect.Type to what keysOf returns, as there may be many thousand targets

func knownKeys(t reflect.Type) map[string]reflect.Type {
	keys, ok := known.Load(t)
	if !ok {
		keys, _ = known.LoadOrStore(t, keysOf(t))
	}
	return keys.(map[string]reflect.Type)
}

// keysOf returns the keys that configure a struct, with the types of their values.
func keysOf(t reflect.Type) map[string]reflect.Type {
	if t == reflect.TypeFor[ClientTLS]() {
		t = t.Field(0).Type // which hides its struct: see there
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
