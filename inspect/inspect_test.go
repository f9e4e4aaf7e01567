package inspect_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/inspect"
	"github.com/statelatch/statelatch/resources"
	"github.com/statelatch/statelatch/state"
)

var ref = statelatch.Ref{Bucket: "b", Key: "app/terraform.tfstate"}

// stored is a store with these versions of the state, the last one current.
func stored(t *testing.T, versions ...string) *state.Store {
	t.Helper()
	b := membucket.New("b", membucket.Options{Versioned: true})
	for _, v := range versions {
		if _, err := b.Put(t.Context(), ref.Key, strings.NewReader(v), bucket.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return &state.Store{Bucket: b}
}

const (
	first = `{"version":4,"terraform_version":"1.11.4","serial":1,"lineage":"l",
		"outputs":{"url":{"value":"http://a","type":"string"},"key":{"value":"hunter2","type":"string","sensitive":true}},
		"resources":[{"mode":"managed","type":"aws_instance","name":"web","provider":"p","instances":[{"index_key":0,"attributes":{"id":"i-1","password":"hunter2"}}]},
		{"mode":"data","type":"aws_ami","name":"base","provider":"p","instances":[{"attributes":{"id":"ami-1"}}]}]}`
	second = `{"version":4,"terraform_version":"1.11.4","serial":2,"lineage":"l",
		"outputs":{"url":{"value":"http://b","type":"string"},"key":{"value":"hunter2","type":"string","sensitive":true}},
		"resources":[{"mode":"managed","type":"aws_instance","name":"web","provider":"p","instances":[{"index_key":0,"attributes":{"id":"i-1","password":"hunter3"}}]}]}`
	encrypted = `{"serial":3,"lineage":"l","meta":{"key_provider.x":"e30="},"encrypted_data":"aGk=","encryption_version":"v0"}`
)

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRead(t *testing.T) {
	t.Parallel()
	s := stored(t, first, second)
	c, err := inspect.Read(t.Context(), s, ref, "")
	if err != nil || c.Header.Serial != 2 || !c.Current || len(c.Objects) != 1 {
		t.Fatalf("got %+v, %v, want the current state", c, err)
	}
	if c, err = inspect.Read(t.Context(), s, ref, "1", "aws_instance.web"); err != nil || c.Current || len(c.Objects) != 2 {
		t.Fatalf("got %+v, %v, want the first one", c, err)
	}
	c.Select(false, "aws_instance.web")
	if got := text(t, c.Shown(true)); strings.Contains(got, "hunter2") || !strings.Contains(got, `"id":"i-1"`) ||
		!strings.Contains(got, `"types":{"aws_instance":1,"data.aws_ami":1}`) || strings.Contains(got, "base") {
		t.Errorf("got %s, want the instance without its secrets", got)
	}
	c.Select(true, "aws_instance.web")
	if got := text(t, c.Shown(true)); strings.Count(got, "hunter2") != 2 {
		t.Errorf("got %s, want its secrets, too", got)
	}
	for what, tc := range map[string]struct {
		store     *state.Store
		selector  string
		addresses []string
		kind      error
	}{
		"nothing at the address": {s, "", []string{"aws_instance.db"}, statelatch.ErrNotFound},
		"no such version":        {s, "77", nil, statelatch.ErrNotFound},
		"no state":               {stored(t), "", nil, statelatch.ErrNotFound},
		"zero bytes":             {stored(t, ""), "", nil, statelatch.ErrNotFound},
		"attributes, encrypted":  {stored(t, encrypted), "", []string{"a.b"}, nil},
	} {
		_, err := inspect.Read(t.Context(), tc.store, ref, tc.selector, tc.addresses...)
		if err == nil || tc.kind != nil && !errors.Is(err, tc.kind) {
			t.Errorf("%s: got %v, want %v", what, err, tc.kind)
		}
	}
	var broken *inspect.ContentError
	if _, err := inspect.Read(t.Context(), stored(t, "oops"), ref, ""); !errors.As(err, &broken) || broken.Ref != ref {
		t.Errorf("no JSON: got %v", err)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	s := stored(t, first, second)
	d, err := inspect.Compare(t.Context(), s, ref, "1", "")
	if err != nil || d.From.Header.Serial != 1 || d.To.Header.Serial != 2 || d.Count[resources.Changed] != 1 ||
		d.Count[resources.Removed] != 1 || len(d.Outputs) != 1 {
		t.Fatalf("got %+v, %v", d, err)
	}
	if got := text(t, d.Compared()); strings.Contains(got, "hunter") || !strings.Contains(got, `"sensitive":true`) ||
		!strings.Contains(got, `"outputs":[{"path":"url","old":"http://a","new":"http://b"}]`) {
		t.Errorf("got %s, want what differs, without secrets", got)
	}
	if d, err = inspect.Compare(t.Context(), s, ref, "2", "2"); err != nil || !d.Compared().Equal {
		t.Errorf("itself: got %+v, %v", d, err)
	}
	if _, err := inspect.Compare(t.Context(), stored(t, first, encrypted), ref, "1", "current"); err == nil ||
		!strings.Contains(err.Error(), "without its key it cannot be compared") {
		t.Errorf("encrypted: got %v", err)
	}
}
