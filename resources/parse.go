package resources

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
)

// resourceV4 and instanceV4 are the wire format, as far as it is used.
type resourceV4 struct {
	Module    string       `json:"module"`
	Mode      string       `json:"mode"`
	Type      string       `json:"type"`
	Name      string       `json:"name"`
	Provider  string       `json:"provider"`
	Instances []instanceV4 `json:"instances"`
}

type instanceV4 struct {
	IndexKey       any             `json:"index_key"`
	Status         string          `json:"status"`
	Deposed        string          `json:"deposed"`
	Provider       string          `json:"provider"` // OpenTofu: where instances differ in it
	Attributes     json.RawMessage `json:"attributes"`
	AttributesFlat json.RawMessage `json:"attributes_flat"` // as Terraform 0.11 left them, until the next refresh
	Sensitive      json.RawMessage `json:"sensitive_attributes"`
}

type outputV4 struct {
	Value     any  `json:"value"`
	Sensitive bool `json:"sensitive"`
}

// Parse reads a state body. Bodies in the formats 1 to 3, of Terraform before 0.12, and malformed ones are refused with
// ErrInvalid.
//
// A value is a [Secret] if the state says so (the outputs' "sensitive", an instance's "sensitive_attributes"), and
// beyond that by these heuristics: the state marks it elsewhere in the same instance, or a part of its text; its name,
// or one above it, is that of a secret; its text looks like one, or has one in it, in JSON, base64 or gzip, too
// (package internal/secretlike); or its resource type is named after a secret and it is that resource's payload
// (random_password's result, kubernetes_secret's data). Booleans, empty strings and words of settings are shown
// nevertheless, and of numbers those whose name does not end with such a word: password_length.
func Parse(r io.Reader) (File, error) { return ParseSome(r, nil) }

// ParseSome is Parse of a state of any size, where attributes are kept of the objects alone that keep says; nil: of
// all. A body that can be read twice is not held in memory: no more than its outputs, what is kept, and one instance at
// a time.
func ParseSome(r io.Reader, keep func(Object) bool) (File, error) {
	return (&parser{keep: keep}).parse(r)
}

func (p *parser) parse(r io.Reader) (File, error) {
	body, ok := r.(io.ReadSeeker)
	if !ok {
		all, err := io.ReadAll(r)
		if err != nil {
			return File{}, fmt.Errorf("read state: %w", err)
		}
		body = bytes.NewReader(all)
	}
	start, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return File{}, fmt.Errorf("read state: %w", err)
	}
	if p.Header, err = statelatch.ReadStateHeader(body); err != nil {
		return File{}, err
	}
	end, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return File{}, fmt.Errorf("read state: %w", err)
	}
	p.Size = end - start
	switch {
	case p.Header.Empty || p.Header.Encrypted():
		return p.File, nil
	case p.Header.Version < formatVersion:
		return File{}, fmt.Errorf("%w state: it has format %d, of Terraform before 0.12, and only format %d is read here; "+
			"an apply of a newer engine upgrades it", statelatch.ErrInvalid, p.Header.Version, formatVersion)
	case p.Header.Version > formatVersion:
		return File{}, fmt.Errorf("%w state: it has format %d; this version of statelatch knows format %d",
			statelatch.ErrInvalid, p.Header.Version, formatVersion)
	}
	for {
		if _, err := body.Seek(start, io.SeekStart); err != nil {
			return File{}, fmt.Errorf("read state: %w", err)
		}
		err := p.state(body)
		if errors.Is(err, errOrder) { // keys were sorted, by jq for one
			p.whole = true
			continue
		}
		return p.File, err
	}
}

// errOrder says that the instances of a resource come before what they are of.
var errOrder = errors.New("instances come first")

type parser struct {
	File
	keep  func(Object) bool
	index bool // where each object stands is kept of it, and a sum
	whole bool // a resource at a time is held in memory
	words map[string]string
	*json.Decoder
}

// word is s as it was met first: most objects have few types and providers.
func (p *parser) word(s string) string {
	if known, ok := p.words[s]; ok {
		return known
	}
	if p.words == nil {
		p.words = map[string]string{}
	}
	p.words[s] = s
	return s
}

func (p *parser) state(r io.Reader) error {
	p.Outputs, p.Objects = nil, nil
	p.Decoder = json.NewDecoder(r)
	p.UseNumber()
	err := p.members("", func(key string) error {
		switch {
		case strings.EqualFold(key, "outputs"):
			return p.outputs()
		case strings.EqualFold(key, "resources"):
			p.Objects = nil
			return p.elements("resources", p.resource)
		}
		return p.skip()
	})
	switch {
	case errors.Is(err, errOrder):
		return err
	case err != nil:
		return malformed(err)
	}
	if _, err := p.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w state: there is something behind its end (at byte %d)", statelatch.ErrInvalid, p.InputOffset())
	}
	slices.SortStableFunc(p.Objects, compareObjects)
	return nil
}

// members reads an object, or null. do reads the value of a key.
func (p *parser) members(name string, do func(key string) error) error {
	return p.nested(name, '{', func() error {
		key, err := p.Token()
		if err != nil {
			return err
		}
		return do(key.(string)) // Token sees to it
	})
}

// elements reads a list, or null. do reads an element.
func (p *parser) elements(name string, do func() error) error { return p.nested(name, '[', do) }

func (p *parser) nested(name string, open json.Delim, do func() error) error {
	token, err := p.Token()
	switch {
	case err != nil:
		return err
	case token == nil:
		return nil
	case token != open:
		return &json.UnmarshalTypeError{Field: name, Offset: p.InputOffset()}
	}
	for p.More() {
		if err := do(); err != nil {
			return err
		}
	}
	_, err = p.Token()
	return err
}

// skip passes over a value.
func (p *parser) skip() error {
	for depth := 0; ; {
		token, err := p.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

func (p *parser) outputs() error {
	var all map[string]outputV4
	if err := p.Decode(&all); err != nil {
		return err
	}
	p.Outputs = nil
	for name, o := range all {
		p.Outputs = append(p.Outputs, Output{
			Name: name, Sensitive: o.Sensitive,
			Value: guardOutput(name, o.Sensitive, o.Value),
		})
	}
	slices.SortFunc(p.Outputs, func(a, b Output) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func (p *parser) resource() error {
	var res resourceV4
	at := stand{from: p.InputOffset()}
	if p.whole {
		if err := p.Decode(&res); err != nil {
			return err
		}
		at.to = p.InputOffset()
		for n, i := range res.Instances {
			at.instance = n + 1
			if err := p.add(res, i, at); err != nil {
				return err
			}
		}
		return nil
	}
	listed := false
	return p.members("resources", func(key string) error {
		var text *string
		switch strings.ToLower(key) {
		case "module":
			text = &res.Module
		case "mode":
			text = &res.Mode
		case "type":
			text = &res.Type
		case "name":
			text = &res.Name
		case "provider":
			text = &res.Provider
		case "instances":
			if res.Type == "" || listed {
				return errOrder
			}
			listed = true
			return p.elements("resources.instances", func() error {
				var i instanceV4
				at := stand{from: p.InputOffset()}
				if err := p.Decode(&i); err != nil {
					return err
				}
				at.to = p.InputOffset()
				return p.add(res, i, at)
			})
		default:
			return p.skip()
		}
		if listed {
			return errOrder
		}
		return p.Decode(text)
	})
}

// add takes in one instance, which stands at a place in the body.
func (p *parser) add(res resourceV4, i instanceV4, at stand) error {
	o := Object{
		Mode: p.word(res.Mode), Type: p.word(res.Type), Name: res.Name, Provider: p.word(cmp.Or(i.Provider, res.Provider)),
		Deposed: i.Deposed, Tainted: i.Status == "tainted", index: i.IndexKey,
	}
	o.locate(res.Module)
	kept := p.keep == nil || p.keep(o)
	if _, named := i.IndexKey.(string); kept || named { // its key may be one of its secrets
		if err := o.read(i, res.Module); err != nil {
			return err
		}
	}
	if !kept {
		o.Attributes = nil
	}
	if p.index {
		o.stands = at
		o.stands.sum = i.sum()
	}
	p.Objects = append(p.Objects, o)
	return nil
}

// raw are the attributes.
func (i instanceV4) raw() json.RawMessage {
	if (len(i.Attributes) == 0 || string(i.Attributes) == "null") && len(i.AttributesFlat) > 0 {
		return i.AttributesFlat
	}
	return i.Attributes
}

// read takes the attributes in, and makes secrets of what is one.
func (o *Object) read(i instanceV4, module string) error {
	if raw := i.raw(); len(raw) > 0 {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&o.Attributes); err != nil {
			return err
		}
	}
	o.Attributes = guard(o.Type, o.Attributes, i.Sensitive)
	o.locate(module)
	return nil
}

// malformed hides what encoding/json quotes from the body: it may be a secret.
func malformed(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("%w state: not JSON (at byte %d)", statelatch.ErrInvalid, syntax.Offset)
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%w state: %s has a value of the wrong kind (at byte %d)", statelatch.ErrInvalid, kind.Field,
			kind.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w state: it ends too early", statelatch.ErrInvalid)
	}
	return fmt.Errorf("read state: %w", err)
}
