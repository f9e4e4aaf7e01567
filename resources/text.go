package resources

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/statelatch/statelatch"
)

// Text is a value tree on one line, for people. Beyond limit bytes it is cut, and its size is told; 0 means no limit.
func Text(v any, limit int) string {
	if s, ok := v.(Secret); ok {
		return s.String()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "?" // a value tree always encodes
	}
	return cut(statelatch.Printable(string(bytes.TrimSpace(b.Bytes()))), 0, limit)
}

// cut is limit bytes of text from a place on, with marks where something is missing.
func cut(text string, from, limit int) string {
	if limit <= 0 || len(text) <= limit {
		return text
	}
	end := min(from+limit, len(text))
	for from > 0 && !utf8.RuneStart(text[from]) {
		from--
	}
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	s := text[from:end]
	if from > 0 {
		s = "..." + s
	}
	if end < len(text) {
		s += "..."
	}
	return s + " (" + strconv.Itoa(len(text)) + " bytes)"
}

// TextPair is [Text] of two values that differ. Where they begin alike for long, both are shown from shortly before
// they differ.
func TextPair(a, b any, limit int) (string, string) {
	x, y := Text(a, 0), Text(b, 0)
	same := 0
	for same < min(len(x), len(y)) && x[same] == y[same] {
		same++
	}
	from := 0
	if same > limit/2 {
		from = same - limit/4
	}
	return cut(x, from, limit), cut(y, from, limit)
}

// Leaves yields the values of a tree that have no others below them, with their paths, in order.
func Leaves(v any) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) { leaves("", v, yield) }
}

func leaves(path string, v any, yield func(string, any) bool) bool {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if !leaves(member(path, k), v[k], yield) {
				return false
			}
		}
		if len(v) > 0 {
			return true
		}
	case []any:
		for i, e := range v {
			if !leaves(element(path, i), e, yield) {
				return false
			}
		}
		if len(v) > 0 {
			return true
		}
	}
	return yield(path, v)
}
