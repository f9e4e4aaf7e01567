// Package safejson writes JSON that is safe to show: in strings, what could drive a terminal or turn the direction of
// text is escaped, which to a reader of JSON is the same.
package safejson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Marshal is v as JSON on one line, without a line feed, and without the escapes that are for HTML alone. Errors are
// encoding/json's.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return Escape(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// Escape is valid JSON with the control and format characters beyond ASCII, and DEL, escaped. They are nowhere but in
// strings.
func Escape(valid []byte) []byte {
	if !bytes.ContainsFunc(valid, unsafe) {
		return valid
	}
	var b bytes.Buffer
	for len(valid) > 0 {
		r, size := utf8.DecodeRune(valid)
		switch high, low := utf16.EncodeRune(r); {
		case !unsafe(r):
			b.Write(valid[:size])
		case high == unicode.ReplacementChar:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
		valid = valid[size:]
	}
	return b.Bytes()
}

// unsafe reports whether r is one of them: C1, bidirectional controls, zero-width characters, tags, line and paragraph
// separators.
func unsafe(r rune) bool {
	return r >= 0x7f && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
