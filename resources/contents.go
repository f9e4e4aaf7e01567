package resources

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Contents is what is in a state whose attributes stay in its body: of each object it knows where they are, and whether
// they are those of another. It is for states of any size.
type Contents struct {
	File // its objects have no attributes

	body  io.ReadSeeker
	start int64
}

// stand is where an instance stands in a body: its offsets behind the start of the body, a comma and blanks before it
// included. Those of its resource, if instance is not 0: its number from 1.
type stand struct {
	from, to int64
	instance int
	sum      [sha256.Size]byte // of the attributes
}

// Index reads a state as [Parse] does, but leaves the attributes in body, which must stay as it is for as long as the
// Contents are used.
func Index(body io.ReadSeeker) (*Contents, error) {
	start, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	p := parser{index: true, keep: func(Object) bool { return false }}
	f, err := p.parse(body)
	return &Contents{File: f, body: body, start: start}, err
}

// sum is equal for equal attributes, as long as they are written in the same order.
func (i instanceV4) sum() [sha256.Size]byte {
	var compact bytes.Buffer
	if raw := i.raw(); len(raw) > 0 {
		_ = json.Compact(&compact, raw) // it was decoded
	}
	return sha256.Sum256(compact.Bytes())
}

// load is o with its attributes.
func (c *Contents) load(o Object) (Object, error) {
	if o.stands.to == 0 {
		return o, nil
	}
	if _, err := c.body.Seek(c.start+o.stands.from, io.SeekStart); err != nil {
		return o, fmt.Errorf("read state: %w", err)
	}
	raw := make([]byte, o.stands.to-o.stands.from)
	if _, err := io.ReadFull(c.body, raw); err != nil {
		return o, fmt.Errorf("read state: %w", err)
	}
	raw = bytes.TrimLeft(raw, ", \t\r\n")
	var i instanceV4
	var err error
	if n := o.stands.instance; n == 0 {
		err = decode(raw, &i)
	} else {
		var res resourceV4
		if err = decode(raw, &res); err == nil && n > len(res.Instances) {
			err = io.ErrUnexpectedEOF
		} else if err == nil {
			i = res.Instances[n-1]
		}
	}
	if err == nil {
		err = o.read(i, o.module)
	}
	if err != nil {
		return o, malformed(err)
	}
	return o, nil
}

func decode(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(into)
}

// Compare is [Compare] of c, the older, with the newer state. It holds the attributes of two objects at a time, and
// what is different.
func (c *Contents) Compare(newer *Contents) (Diff, error) {
	d, err := compare(c.File, newer.File, c.load, newer.load)
	if err != nil {
		err = errors.Join(errors.New("compare states"), err)
	}
	return d, err
}
