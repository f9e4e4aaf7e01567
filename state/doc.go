package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/statelatch/statelatch"
)

// Doc is a state as a program edits it: the members of its top level, in their order and with their bytes, so that what
// is not set stays as the engine wrote it. Its zero value has none. It is not safe for concurrent use.
type Doc struct{ members []member }

type member struct {
	name  string
	value json.RawMessage
}

// ParseDoc reads a state that is not encrypted. Errors match statelatch.ErrInvalid, for one that is encrypted
// statelatch.ErrUnsupported.
func ParseDoc(body []byte) (*Doc, error) {
	d := &Doc{}
	if err := d.parse(body); err != nil {
		return nil, fmt.Errorf("%w state: %w", statelatch.ErrInvalid, err)
	}
	if d.at("encryption_version") >= 0 {
		return nil, fmt.Errorf("%w: OpenTofu encrypted the state, so it cannot be edited", statelatch.ErrUnsupported)
	}
	return d, nil
}

func (d *Doc) parse(body []byte) error {
	if !json.Valid(body) {
		return json.Unmarshal(body, new(json.RawMessage)) // which says where
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return errors.New("it is no JSON object")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		m := member{name: name.(string)} //nolint:forcetypeassert // valid JSON has nothing else here
		if err := dec.Decode(&m.value); err != nil {
			return err
		}
		if d.at(m.name) >= 0 {
			return fmt.Errorf("it has %q twice", m.name)
		}
		d.members = append(d.members, m)
	}
	return nil
}

func (d *Doc) at(name string) int {
	return slices.IndexFunc(d.members, func(m member) bool { return m.name == name })
}

// Get reads a member of the top level, such as "outputs", into a value as json.Unmarshal does. A member that is not
// there leaves it as it is. Errors match statelatch.ErrInvalid.
func (d *Doc) Get(name string, into any) error {
	i := d.at(name)
	if i < 0 {
		return nil
	}
	if err := json.Unmarshal(d.members[i].value, into); err != nil {
		return fmt.Errorf("%w state: %q: %w", statelatch.ErrInvalid, name, err)
	}
	return nil
}

// Set replaces a member of the top level, or adds it at the end. Serial and lineage belong to who writes the state:
// setting them is refused. Errors match statelatch.ErrInvalid.
func (d *Doc) Set(name string, value any) error {
	if name == "serial" || name == "lineage" {
		return fmt.Errorf("%w member %q of a state: it is set when the state is written", statelatch.ErrInvalid, name)
	}
	return d.set(name, value)
}

func (d *Doc) set(name string, value any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("  ", "  ")
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("%w state: %q: %w", statelatch.ErrInvalid, name, err)
	}
	m := member{name, bytes.TrimSpace(text.Bytes())}
	if i := d.at(name); i >= 0 {
		d.members[i] = m
	} else {
		d.members = append(d.members, m)
	}
	return nil
}

// Bytes are the state, indented as the engines do.
func (d *Doc) Bytes() []byte {
	var text bytes.Buffer
	text.WriteByte('{')
	for i, m := range d.members {
		if i > 0 {
			text.WriteByte(',')
		}
		name, _ := json.Marshal(m.name) // a string
		fmt.Fprintf(&text, "\n  %s: %s", name, m.value)
	}
	text.WriteString("\n}\n")
	return text.Bytes()
}

// Update changes the state under the session: edit gets a copy of the base, or an empty state if there is none, and
// what it leaves is written with the next serial. Lineage, order of the members and whatever edit does not set stay.
// An edit that changes nothing writes nothing.
//
// Where somebody writes the state without the lock meanwhile, Update reads it again and calls edit again, three times
// in all. Its errors are those of Store.Begin and Session.Write, and edit's own, as it is; then nothing is written. The
// state is held in memory.
func Update(ctx context.Context, s *Store, t Tenure, edit func(*Doc) error, opts WriteOptions) (Version, error) {
	for try := 1; ; try++ {
		written, err := updateOnce(ctx, s, t, edit, opts)
		if try == updateTries || !errors.Is(err, statelatch.ErrPreconditionFailed) {
			return written, err
		}
	}
}

const updateTries = 3

func updateOnce(
	ctx context.Context, s *Store, t Tenure, edit func(*Doc) error, opts WriteOptions,
) (v Version, err error) {
	session, err := s.begin(ctx, t, s.newSpool())
	if err != nil {
		return Version{}, err
	}
	defer func() {
		if closed := session.Close(); err == nil {
			err = closed
		}
	}()
	content, err := io.ReadAll(session.old)
	if err != nil {
		return Version{}, err
	}
	base := session.Base()
	if len(content) == 0 {
		empty, _ := emptyState(0)
		content = []byte(empty)
	}
	d, err := ParseDoc(content)
	if err != nil {
		return Version{}, err
	}
	before := d.Bytes()
	if err := edit(d); err != nil {
		return Version{}, err
	}
	if bytes.Equal(before, d.Bytes()) {
		return base, nil
	}
	if err := d.set("serial", base.Header.Serial+1); err != nil {
		return Version{}, err
	}
	return session.Write(ctx, bytes.NewReader(d.Bytes()), opts)
}
