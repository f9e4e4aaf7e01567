package endpoint

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	maxDocument = 1 << 20 // bytes of a request document
	// 10000 parts with a SHA-256 each are almost 2 MiB.
	maxCompleteDocument = 4 << 20
	maxElements         = 100_000
	maxDepth            = 12
)

// node is an element of a request document.
type node struct {
	name     string
	text     []byte
	children []*node
}

// parseXML parses a whole document. It is strict where encoding/xml is not: one root
// of the given name, no DTD, S3's namespace or none, no text beside elements,
// nothing behind the root.
func parseXML(doc []byte, root string) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(doc))
	var stack []*node
	var top *node
	elements := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, malformedXML("it cannot be parsed")
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name.Space != "" && t.Name.Space != xmlNamespace {
				return nil, malformedXML("it uses another namespace")
			}
			if elements++; elements > maxElements {
				return nil, malformedXML("it has too many elements")
			}
			n := &node{name: t.Name.Local}
			switch {
			case len(stack) > 0:
				parent := stack[len(stack)-1]
				parent.children = append(parent.children, n)
			case top != nil:
				return nil, malformedXML("it has more than one root element")
			default:
				top = n
			}
			if stack = append(stack, n); len(stack) > maxDepth {
				return nil, malformedXML("it is nested too deeply")
			}
		case xml.EndElement:
			n := stack[len(stack)-1]
			if len(n.children) > 0 {
				if len(bytes.TrimSpace(n.text)) > 0 {
					return nil, malformedXML("there is text beside the elements in " + n.name)
				}
				n.text = nil
			}
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if len(stack) > 0 {
				n := stack[len(stack)-1]
				n.text = append(n.text, t...)
			} else if len(bytes.TrimSpace(t)) > 0 {
				return nil, malformedXML("there is text outside the root element")
			}
		case xml.Directive:
			return nil, malformedXML("it has a DTD")
		}
	}
	if top == nil || len(stack) > 0 {
		return nil, malformedXML("it has no complete root element")
	}
	if top.name != root {
		return nil, malformedXML("its root is not " + root)
	}
	return top, nil
}

// field says what to do with one kind of child element.
type field struct {
	many bool
	set  func(*node) error
}

// fields are the child elements that an element may have.
type fields map[string]field

// decode hands every child to its field. Unknown children, and repeated ones
// where one is allowed, are errors: what is not understood must not seem accepted.
func (n *node) decode(f fields) error {
	if len(n.children) == 0 && len(bytes.TrimSpace(n.text)) > 0 {
		return malformedXML(n.name + " has text where elements were expected")
	}
	seen := map[string]bool{}
	for _, child := range n.children {
		want, ok := f[child.name]
		if !ok {
			return malformedXML("unexpected element " + child.name + " in " + n.name)
		}
		if seen[child.name] && !want.many {
			return malformedXML("element " + child.name + " is repeated in " + n.name)
		}
		seen[child.name] = true
		if err := want.set(child); err != nil {
			return err
		}
	}
	return nil
}

// value is the text of an element without children, as it is: keys may begin and end with blanks.
func (n *node) value() (string, error) {
	if len(n.children) > 0 {
		return "", malformedXML(n.name + " has elements where text was expected")
	}
	return string(n.text), nil
}

func one(set func(*node) error) field  { return field{set: set} }
func many(set func(*node) error) field { return field{set: set, many: true} }

// text keeps a value with its blanks; word trims it.
func text(dst *string) field {
	return one(func(n *node) (err error) {
		*dst, err = n.value()
		return err
	})
}

func word(dst *string) field {
	return one(func(n *node) error {
		s, err := n.value()
		*dst = strings.TrimSpace(s)
		return err
	})
}

func number[T int | int64](dst *T) field {
	return one(func(n *node) error {
		s, err := n.value()
		if err != nil {
			return err
		}
		v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil || int64(T(v)) != v {
			return malformedXML(n.name + " is not a number")
		}
		*dst = T(v)
		return nil
	})
}

func boolean(dst *bool) field {
	return one(func(n *node) error {
		s, err := n.value()
		if err != nil {
			return err
		}
		switch strings.ToLower(strings.TrimSpace(s)) {
		case "true":
			*dst = true
		case "false":
			*dst = false
		default:
			return malformedXML(n.name + " is neither true nor false")
		}
		return nil
	})
}

func date(dst *time.Time) field {
	return one(func(n *node) error {
		s, err := n.value()
		if err != nil {
			return err
		}
		s = strings.TrimSpace(s)
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t, err = time.Parse(time.DateOnly, s)
		}
		if t = t.UTC(); err != nil || t.Year() > 9999 { // a zone can reach beyond the last year
			return malformedXML(n.name + " is not an ISO 8601 date")
		}
		*dst = t
		return nil
	})
}

// unsupported refuses an element that S3 has and this store does not.
func unsupported(what string) field {
	return many(func(*node) error { return notImplemented(what + " is not supported by this store.") })
}
