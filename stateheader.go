package statelatch

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// StateHeader is what a state body says about itself at its top level. Everything
// else in it is opaque.
type StateHeader struct {
	Version          uint64 // format version; 0 in an encrypted body
	TerraformVersion string // of the engine that wrote it; empty in an encrypted body
	Serial           uint64 // grows with every change of the state
	Lineage          string // random, the same in all versions of a state
	// EncryptionVersion is set for a body that OpenTofu encrypted: serial and lineage
	// are readable, the rest is not and must not be edited.
	EncryptionVersion string
	// Empty is set for an object of zero bytes, which the engines read as "no state yet".
	Empty bool
}

// Encrypted reports whether OpenTofu encrypted the body.
func (h StateHeader) Encrypted() bool { return h.EncryptionVersion != "" }

const (
	// maxHeaderString bounds the strings that are kept; the engines' are below 64 bytes.
	maxHeaderString = 1 << 10
	// maxStateDepth bounds nesting; the engines' own reader stops at 10,000.
	maxStateDepth = 10_000
)

// ReadStateHeader reads the header of a state body from r. It keeps no more than
// one buffer in memory, whatever the size of the body, and stops as soon as the header is
// complete, which for a plain state is near its start. It therefore does not prove that
// the rest is well-formed. Errors match [ErrInvalid], or are r's own.
func ReadStateHeader(r io.Reader) (StateHeader, error) {
	s := &jsonSkipper{r: bufio.NewReader(r)}
	h, err := s.header()
	var bad malformedState
	if errors.As(err, &bad) {
		return StateHeader{}, fmt.Errorf("%w state: %s (at byte %d)", ErrInvalid, string(bad), s.offset)
	}
	if err != nil {
		return StateHeader{}, fmt.Errorf("read state header: %w", err)
	}
	return h, nil
}

// malformedState says what is wrong with a body.
type malformedState string

func (m malformedState) Error() string { return string(m) }

// jsonSkipper walks over JSON without keeping it. It checks structure (nesting,
// quotes, separators), not the spelling of numbers and escapes in what it skips.
// encoding/json cannot do this: it holds each string whole, and an encrypted state is one string.
type jsonSkipper struct {
	r      *bufio.Reader
	offset int64
}

func (s *jsonSkipper) next() (byte, error) {
	c, err := s.r.ReadByte()
	if err == nil { // first: this runs for every byte
		s.offset++
		return c, nil
	}
	if errors.Is(err, io.EOF) {
		return 0, malformedState("it ends too early")
	}
	return c, err
}

func (s *jsonSkipper) back() {
	if s.r.UnreadByte() == nil {
		s.offset--
	}
}

// nextToken returns the next byte that is not white space.
func (s *jsonSkipper) nextToken() (byte, error) {
	for {
		c, err := s.next()
		if err != nil || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c, err
		}
	}
}

func (s *jsonSkipper) header() (StateHeader, error) {
	var h StateHeader
	if _, err := s.r.Peek(1); errors.Is(err, io.EOF) {
		h.Empty = true
		return h, nil
	}
	c, err := s.nextToken()
	if err != nil {
		return h, err
	}
	if c != '{' {
		return h, malformedState("not a JSON object")
	}
	seen := map[string]bool{}
	for first := true; ; first = false {
		c, err := s.nextToken()
		if err != nil {
			return h, err
		}
		if c == '}' && first {
			break
		}
		if c != '"' {
			return h, malformedState("a key is missing")
		}
		key, err := s.text()
		if err != nil {
			return h, err
		}
		if c, err = s.nextToken(); err != nil {
			return h, err
		} else if c != ':' {
			return h, malformedState("a colon is missing")
		}
		if err := s.field(&h, key, seen); err != nil {
			return h, err
		}
		if h.Version != 0 && seen["terraform_version"] && seen["serial"] && seen["lineage"] {
			return h, nil
		}
		if c, err = s.nextToken(); err != nil {
			return h, err
		}
		if c == '}' {
			break
		}
		if c != ',' {
			return h, malformedState("a comma is missing")
		}
	}
	if h.Version == 0 && !h.Encrypted() {
		return h, malformedState("it has neither a version nor an encryption_version, so it is not a state")
	}
	return h, nil
}

// field reads the value of a top-level key, keeping it if it belongs to the header.
func (s *jsonSkipper) field(h *StateHeader, key string, seen map[string]bool) error {
	var number *uint64
	var text *string
	switch key {
	case "version":
		number = &h.Version
	case "serial":
		number = &h.Serial
	case "terraform_version":
		text = &h.TerraformVersion
	case "lineage":
		text = &h.Lineage
	case "encryption_version":
		text = &h.EncryptionVersion
	default:
		return s.skipValue()
	}
	if seen[key] {
		return malformedState("the key " + key + " appears twice")
	}
	seen[key] = true
	c, err := s.nextToken()
	if err != nil {
		return err
	}
	if text != nil {
		if c != '"' {
			return malformedState("the value of " + key + " is not a string")
		}
		*text, err = s.text()
		return err
	}
	s.back()
	digits, err := s.scalar()
	if err != nil {
		return err
	}
	*number, err = strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return malformedState("the value of " + key + " is not a whole number")
	}
	return nil
}

// text reads the rest of a string after its opening quote and unquotes it.
func (s *jsonSkipper) text() (string, error) {
	raw := []byte{'"'}
	for {
		c, err := s.next()
		if err != nil {
			return "", err
		}
		raw = append(raw, c)
		if len(raw) > maxHeaderString {
			return "", malformedState("a key or header value is too long")
		}
		switch c {
		case '"':
			var v string
			if json.Unmarshal(raw, &v) != nil {
				return "", malformedState("a string is malformed")
			}
			return v, nil
		case '\\':
			if c, err = s.next(); err != nil {
				return "", err
			}
			raw = append(raw, c)
		}
	}
}

// scalar reads a number or literal.
func (s *jsonSkipper) scalar() (string, error) {
	var raw []byte
	for {
		c, err := s.next()
		if err != nil {
			return "", err
		}
		switch c {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			s.back()
			if len(raw) == 0 {
				return "", malformedState("a value is missing")
			}
			return string(raw), nil
		case '{', '[', '"', ':':
			return "", malformedState("a value is malformed")
		}
		if raw = append(raw, c); len(raw) > maxHeaderString {
			return "", malformedState("a number is too long")
		}
	}
}

// skipValue passes over one value of any kind and size.
func (s *jsonSkipper) skipValue() error {
	var open []byte
	for {
		c, err := s.nextToken()
		if err != nil {
			return err
		}
		switch c {
		case '{', '[':
			if open = append(open, c); len(open) > maxStateDepth {
				return malformedState("it is nested too deeply")
			}
			continue
		case '}', ']':
			// '{' and '}', '[' and ']' are two apart in ASCII.
			if len(open) == 0 || open[len(open)-1] != c-2 {
				return malformedState("brackets do not match")
			}
			open = open[:len(open)-1]
		case '"':
			if err := s.skipString(); err != nil {
				return err
			}
		case ',', ':':
			if len(open) == 0 {
				return malformedState("a value is missing")
			}
			continue
		default:
			s.back()
			if _, err := s.scalar(); err != nil {
				return err
			}
		}
		if len(open) == 0 {
			return nil
		}
	}
}

func (s *jsonSkipper) skipString() error {
	for {
		c, err := s.next()
		if err != nil {
			return err
		}
		switch c {
		case '"':
			return nil
		case '\\':
			if _, err := s.next(); err != nil {
				return err
			}
		}
	}
}
