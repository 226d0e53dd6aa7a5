package limits

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Unsafe stands before the name of a limit that is raised past its hard cap.
const Unsafe = "unsafe_"

// Errors of Put, wrapped with the key and what was wrong.
var (
	ErrUnknown = errors.New("no such limit")
	ErrValue   = errors.New("not a value for this limit")
	ErrCap     = errors.New("past the hard cap")
)

// Row is one limit as the operator sees it.
type Row struct {
	Key     string `json:"key"` // "smtp.message_size"
	Value   string `json:"value"`
	Default string `json:"default"`
	Cap     string `json:"cap"`
	Why     string `json:"why"`
}

// Table lists every limit with its current value, in the order of the configuration.
func (s *Set) Table() []Row {
	var rows []Row
	def := Default()
	eachField(reflect.ValueOf(s).Elem(), func(key string, f reflect.StructField, v reflect.Value) {
		rows = append(rows, Row{Key: key, Value: format(v), Cap: f.Tag.Get("cap"),
			Why: f.Tag.Get("why")})
	})
	i := 0
	eachField(reflect.ValueOf(&def).Elem(), func(_ string, _ reflect.StructField, v reflect.Value) {
		rows[i].Default = format(v)
		i++
	})
	return rows
}

func eachField(set reflect.Value, fn func(key string, f reflect.StructField, v reflect.Value)) {
	for i := range set.NumField() {
		section, group := set.Type().Field(i).Tag.Get("toml"), set.Field(i)
		for j := range group.NumField() {
			f := group.Type().Field(j)
			fn(section+"."+f.Tag.Get("toml"), f, group.Field(j))
		}
	}
}

func format(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return formatDuration(x)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

// formatDuration leaves the zero units away that Duration.String writes: "5m", not "5m0s".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Put sets the limit named key ("smtp.message_size") from a configuration value: a number, or text
// with a unit ("50 MiB", "5m", "14d"). Past the hard cap it wants [Unsafe] before the last part of
// the name. The error wraps ErrUnknown, ErrValue or ErrCap and is a clause about the key.
func (s *Set) Put(key string, value any) error {
	section, name, _ := strings.Cut(key, ".")
	bare, unsafe := strings.CutPrefix(name, Unsafe)
	err := fmt.Errorf("%w: %s", ErrUnknown, key)
	eachField(reflect.ValueOf(s).Elem(), func(k string, f reflect.StructField, v reflect.Value) {
		if k == section+"."+bare {
			err = put(v, f.Tag.Get("cap"), value, unsafe)
		}
	})
	if errors.Is(err, ErrCap) {
		return fmt.Errorf("%w; if it must be, write %s.%s%s", err, section, Unsafe, bare)
	}
	return err
}

// put parses value into the type of v and compares it with the cap.
func put(v reflect.Value, limit string, value any, unsafe bool) error {
	n, err := parse(v.Type(), value)
	if err != nil {
		return err
	}
	most, err := parse(v.Type(), limit)
	if err != nil {
		return fmt.Errorf("hard cap %q: %w", limit, err)
	}
	least := 0.0
	if v.Type() != reflect.TypeFor[time.Duration]() && v.Kind() != reflect.Float64 {
		least = 1
	}
	switch {
	case n < least:
		return fmt.Errorf("%w: %v is below %v", ErrValue, value, least)
	case n > most && !unsafe:
		return fmt.Errorf("%w: %v is above %s", ErrCap, value, limit)
	case overflows(v, n):
		return fmt.Errorf("%w: %v is too large", ErrValue, value)
	}
	switch {
	case v.CanInt():
		v.SetInt(int64(n))
	case v.CanUint():
		v.SetUint(uint64(n))
	default:
		v.SetFloat(n)
	}
	return nil
}

// overflows reports whether n cannot be kept exactly enough in v.
func overflows(v reflect.Value, n float64) bool {
	switch {
	case v.CanInt():
		return n > math.MaxInt64/2 || v.OverflowInt(int64(n))
	case v.CanUint():
		return n > math.MaxInt64/2 || v.OverflowUint(uint64(n))
	}
	return math.IsInf(n, 0) || math.IsNaN(n)
}

// parse turns a configuration value into the number a field of type t holds. float64 keeps every
// integer up to 2^53, which is more than any limit.
func parse(t reflect.Type, value any) (float64, error) {
	switch x := value.(type) {
	case string:
		if t == reflect.TypeFor[time.Duration]() {
			return parseDuration(x)
		}
		return parseSize(x, t.Kind() == reflect.Float64)
	case int64:
		if t == reflect.TypeFor[time.Duration]() && x != 0 {
			return 0, fmt.Errorf("%w: a time needs a unit, as in %q", ErrValue, fmt.Sprint(x)+"s")
		}
		return float64(x), nil
	case float64:
		if t.Kind() == reflect.Float64 {
			return x, nil
		}
	}
	return 0, fmt.Errorf("%w: %v", ErrValue, value)
}

// parseDuration is time.ParseDuration with days.
func parseDuration(s string) (float64, error) {
	s = strings.ReplaceAll(s, " ", "")
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: %q is no time", ErrValue, s)
		}
		return n * float64(24*time.Hour), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no time (as in 90s, 5m, 4h, 14d)", ErrValue, s)
	}
	return float64(d), nil
}

var sizes = []struct {
	suffix string
	factor float64
}{
	{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"TiB", GiB * KiB},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// ParseSize reads a whole number of bytes, with an optional unit: "5 GiB".
func ParseSize(s string) (int64, error) {
	n, err := parseSize(s, false)
	if err == nil && math.Abs(n) > math.MaxInt64/2 {
		err = fmt.Errorf("%w: %q is too large", ErrValue, s)
	}
	return int64(n), err
}

// parseSize reads a number with an optional unit of bytes.
func parseSize(s string, fraction bool) (float64, error) {
	number, factor := strings.ReplaceAll(s, "_", ""), 1.0
	for _, u := range sizes {
		if n, ok := strings.CutSuffix(number, u.suffix); ok {
			number, factor = n, u.factor
			break
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !fraction && n*factor != math.Trunc(n*factor) {
		return 0, fmt.Errorf("%w: %q is no size or count (as in 100, 64 KiB, 50 MiB)", ErrValue, s)
	}
	return n * factor, nil
}
