package s3bucket

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	smithytime "github.com/aws/smithy-go/time"

	"github.com/statelatch/statelatch/bucket"
)

// listed is a page of a listing, as its XML has it. The SDK would read it, too, at ten times the cost, drop which
// entries are delete markers among versions, and take anything else, such as a proxy's page, for an empty listing:
// "nothing is locked".
type listed struct {
	root      string // the name of the outermost element
	entries   []bucket.Object
	truncated bool
	token     string // of the next page
	encoded   bool   // keys are URL-encoded
	// The next page of versions begins behind these two.
	keyMarker, versionMarker string
}

// parseListing reads a whole answer.
func parseListing(doc []byte) (*listed, error) {
	x := xmlScanner{doc: doc}
	l := &listed{}
	if !utf8.Valid(doc) {
		return nil, errors.New("the listing cannot be read: it is not UTF-8")
	}
	root, err := x.open()
	if err != nil {
		return nil, fmt.Errorf("the listing cannot be read: %w", err)
	}
	l.root = string(root)
	l.entries = make([]bucket.Object, 0, bytes.Count(doc, []byte("</Key>")))
	err = x.children(func(name []byte) error {
		switch {
		case is(name, "Contents"), is(name, "Version"):
			return l.entry(&x, bucket.Object{})
		case is(name, "DeleteMarker"):
			return l.entry(&x, bucket.Object{DeleteMarker: true})
		case is(name, "CommonPrefixes"):
			return l.entry(&x, bucket.Object{IsPrefix: true})
		case is(name, "IsTruncated"):
			return x.flag(&l.truncated)
		case is(name, "NextContinuationToken"):
			return x.text(&l.token)
		case is(name, "NextKeyMarker"):
			return x.text(&l.keyMarker)
		case is(name, "NextVersionIdMarker"):
			return x.text(&l.versionMarker)
		case is(name, "EncodingType"):
			var encoding string
			err := x.text(&encoding)
			l.encoded = encoding == "url"
			return err
		}
		return x.skip()
	})
	if err == nil {
		err = x.end()
	}
	if err == nil {
		err = l.decodeKeys()
	}
	if err != nil {
		return nil, fmt.Errorf("the listing cannot be read: %w", err)
	}
	return l, nil
}

// entry reads an object, a version, a delete marker or a common prefix.
func (l *listed) entry(x *xmlScanner, o bucket.Object) error {
	err := x.children(func(name []byte) error {
		switch {
		case is(name, "Key"), o.IsPrefix && is(name, "Prefix"):
			return x.text(&o.Key)
		case is(name, "ETag"):
			return x.text(&o.ETag)
		case is(name, "VersionId"):
			return x.text(&o.VersionID)
		case is(name, "IsLatest"):
			return x.flag(&o.IsLatest)
		case is(name, "Size"):
			raw, err := x.raw()
			if len(raw) > 0 && err == nil {
				o.Size, err = strconv.ParseInt(string(raw), 10, 64)
			}
			return err
		case is(name, "LastModified"):
			raw, err := x.raw()
			if len(raw) == 0 || err != nil {
				return err
			}
			if o.LastModified, err = time.Parse(time.RFC3339, string(raw)); err != nil {
				o.LastModified, err = smithytime.ParseDateTime(string(raw)) // stores' other ways to write it
			}
			o.LastModified = o.LastModified.UTC()
			return err
		}
		return x.skip()
	})
	l.entries = append(l.entries, o)
	return err
}

// decodeKeys undoes the URL encoding that is asked for because XML cannot carry every key. A store that ignores the
// request says so by naming no encoding.
func (l *listed) decodeKeys() error {
	if !l.encoded {
		return nil
	}
	decode := func(key *string) error {
		plain, err := url.QueryUnescape(*key)
		if err != nil {
			return fmt.Errorf("it holds a key that is not URL-encoded: %w", err)
		}
		*key = plain
		return nil
	}
	for i := range l.entries {
		if err := decode(&l.entries[i].Key); err != nil {
			return err
		}
	}
	return decode(&l.keyMarker)
}

// is compares the name of an element as the SDK does.
func is(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// maxNesting is how deep elements may be in one another; S3's are three.
const maxNesting = 32

// xmlScanner reads elements with text in them, as stores write them: no document types, and no entities but XML's own.
// Prefixes of names are dropped, attributes passed over.
type xmlScanner struct {
	doc    []byte
	at     int
	opened []byte // the name of the element that was opened last
	closed bool   // it was empty: <Prefix/>
	depth  int
	buffer []byte
}

func (x *xmlScanner) bad(what string) error { return fmt.Errorf("%s (at byte %d)", what, x.at) }

// tag moves behind the next tag, passing over comments and what programs are told, and returns its name, what text was
// before it, and whether it ends an element.
func (x *xmlScanner) tag() (name, before []byte, ends bool, err error) {
	x.buffer = x.buffer[:0]
	plain := true // what is before is a piece of doc
	for {
		n := bytes.IndexByte(x.doc[x.at:], '<')
		if n < 0 {
			return nil, nil, false, x.bad("it ends too early")
		}
		piece := x.doc[x.at : x.at+n]
		x.at += n
		rest := x.doc[x.at:]
		special := len(rest) > 1 && (rest[1] == '!' || rest[1] == '?')
		if plain = plain && !special; plain {
			before = piece
		} else {
			x.buffer = append(x.buffer, piece...)
			before = x.buffer
		}
		switch {
		case bytes.HasPrefix(rest, []byte("<!--")):
			_, err = x.until(4, "-->")
		case bytes.HasPrefix(rest, []byte("<![CDATA[")):
			var text []byte
			text, err = x.until(9, "]]>")
			// Nothing in it is an entity.
			x.buffer = append(x.buffer, bytes.ReplaceAll(text, []byte("&"), []byte("&amp;"))...)
		case bytes.HasPrefix(rest, []byte("<?")):
			var told []byte
			told, err = x.until(2, "?>")
			if lower := bytes.ToLower(told); err == nil && bytes.HasPrefix(lower, []byte("xml ")) &&
				bytes.Contains(lower, []byte("encoding")) && !bytes.Contains(lower, []byte("utf-8")) {
				err = x.bad("its encoding is not UTF-8")
			}
		case special:
			err = x.bad("it has a document type")
		default:
			name, ends, err = x.name()
			return name, before, ends, err
		}
		if err != nil {
			return nil, nil, false, err
		}
	}
}

// until moves behind the next end, and returns what is before it.
func (x *xmlScanner) until(skip int, end string) ([]byte, error) {
	n := bytes.Index(x.doc[x.at+skip:], []byte(end))
	if n < 0 {
		return nil, x.bad("it ends too early")
	}
	text := x.doc[x.at+skip : x.at+skip+n]
	x.at += skip + n + len(end)
	return text, nil
}

// name reads the tag that x stands at.
func (x *xmlScanner) name() (name []byte, ends bool, err error) {
	n := bytes.IndexByte(x.doc[x.at:], '>')
	if n >= 0 && bytes.ContainsAny(x.doc[x.at:x.at+n], `"'`) {
		n = tagLen(x.doc[x.at:])
	}
	if n < 0 {
		return nil, false, x.bad("it ends too early")
	}
	inner := x.doc[x.at+1 : x.at+n]
	x.at += n + 1
	if ends = bytes.HasPrefix(inner, []byte("/")); ends {
		inner = inner[1:]
	} else if x.closed = bytes.HasSuffix(inner, []byte("/")); x.closed {
		inner = inner[:len(inner)-1]
	}
	if space := bytes.IndexAny(inner, " \t\r\n"); space >= 0 {
		inner = inner[:space]
	}
	if prefix := bytes.IndexByte(inner, ':'); prefix >= 0 {
		inner = inner[prefix+1:]
	}
	if len(inner) == 0 {
		return nil, false, x.bad("a tag has no name")
	}
	if !ends {
		x.opened = inner
	}
	return inner, ends, nil
}

// tagLen is where a tag with attributes ends, whose values may have the sign for that; -1: nowhere.
func tagLen(doc []byte) int {
	var quote byte
	for i, c := range doc {
		switch {
		case quote == 0 && c == '>':
			return i
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote:
			quote = 0
		}
	}
	return -1
}

// open moves into the outermost element.
func (x *xmlScanner) open() ([]byte, error) {
	name, before, ends, err := x.tag()
	switch {
	case err != nil:
		return nil, err
	case ends || len(bytes.TrimSpace(bytes.TrimPrefix(before, []byte("\ufeff")))) > 0:
		return nil, x.bad("it is no XML")
	}
	return name, nil
}

// end checks that nothing follows the outermost element.
func (x *xmlScanner) end() error {
	if rest := bytes.TrimSpace(x.doc[x.at:]); len(rest) > 0 && !bytes.HasPrefix(rest, []byte("<!--")) {
		return x.bad("something follows it")
	}
	return nil
}

// children calls do in each element of the one that was opened last, and moves behind that. Do must move behind its
// own.
func (x *xmlScanner) children(do func(name []byte) error) error {
	if x.closed {
		x.closed = false
		return nil
	}
	own := x.opened
	if x.depth++; x.depth > maxNesting {
		return x.bad("it is nested too deeply")
	}
	defer func() { x.depth-- }()
	for {
		name, _, ends, err := x.tag()
		switch {
		case err != nil:
			return err
		case ends:
			return x.ended(own, name)
		}
		if err := do(name); err != nil {
			return err
		}
	}
}

// ended checks that what ends is what was opened.
func (x *xmlScanner) ended(opened, name []byte) error {
	if !bytes.Equal(opened, name) {
		return x.bad("elements overlap")
	}
	return nil
}

// skip moves behind the element that was opened last.
func (x *xmlScanner) skip() error {
	return x.children(func([]byte) error { return x.skip() })
}

// content is the text of the element that was opened last, as it is written; x moves behind it.
func (x *xmlScanner) content() ([]byte, error) {
	if x.closed {
		x.closed = false
		return nil, nil
	}
	own := x.opened
	name, text, ends, err := x.tag()
	switch {
	case err != nil:
		return nil, err
	case !ends:
		return nil, x.bad("an element stands where a value is expected")
	}
	return text, x.ended(own, name)
}

// raw is a text that needs no entities.
func (x *xmlScanner) raw() ([]byte, error) {
	text, err := x.content()
	return bytes.TrimSpace(text), err
}

func (x *xmlScanner) flag(to *bool) error {
	raw, err := x.raw()
	if len(raw) > 0 && err == nil {
		*to, err = strconv.ParseBool(string(raw))
	}
	return err
}

// text reads the text of the element that was opened last.
func (x *xmlScanner) text(to *string) error {
	text, err := x.content()
	if err != nil || !bytes.ContainsAny(text, "&\r") {
		*to = string(text)
		return err
	}
	var b strings.Builder
	b.Grow(len(text))
	for len(text) > 0 {
		n := bytes.IndexAny(text, "&\r")
		if n < 0 {
			n = len(text)
		}
		b.Write(text[:n])
		if text = text[n:]; len(text) == 0 {
			break
		}
		if text[0] == '\r' { // as every reader of XML takes ends of lines
			b.WriteByte('\n')
			text = bytes.TrimPrefix(text[1:], []byte("\n"))
			continue
		}
		end := bytes.IndexByte(text, ';')
		if end < 0 {
			return x.bad("an entity has no end")
		}
		c, ok := entity(string(text[1:end]))
		if !ok {
			return x.bad("an entity is none of XML's")
		}
		b.WriteRune(c)
		text = text[end+1:]
	}
	*to = b.String()
	return nil
}

// entity is the character that an entity stands for.
func entity(name string) (rune, bool) {
	switch name {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "apos":
		return '\'', true
	case "quot":
		return '"', true
	}
	digits, numeric := strings.CutPrefix(name, "#")
	base := 10
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	return rune(n), numeric && err == nil && n > 0 && n <= utf8.MaxRune && utf8.ValidRune(rune(n))
}
