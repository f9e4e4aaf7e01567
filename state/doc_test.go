package state_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/state"
)

// What is not set keeps its bytes and its place.
func TestDoc_KeepsTheRest(t *testing.T) {
	t.Parallel()
	const before = `{"version": 4, "serial": 7,
  "odd\u0020name": {"b": 1.0e3, "a": [ 1,2 ]}, "lineage": "l", "outputs": {}}`
	d, err := state.ParseDoc([]byte(before))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Set("outputs", map[string]int{"x": 1}), d.Set("new", "<&>")); err != nil {
		t.Fatal(err)
	}
	const want = `{
  "version": 4,
  "serial": 7,
  "odd name": {"b": 1.0e3, "a": [ 1,2 ]},
  "lineage": "l",
  "outputs": {
    "x": 1
  },
  "new": "\u003c\u0026\u003e"
}
`
	if got := string(d.Bytes()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	n := 3
	if err := d.Get("absent", &n); err != nil || n != 3 {
		t.Errorf("got %d, %v for a member that is not there", n, err)
	}
	if err := d.Get("lineage", &n); !errors.Is(err, statelatch.ErrInvalid) {
		t.Errorf("got %v for a text as a number, want %v", err, statelatch.ErrInvalid)
	}
	for _, name := range []string{"serial", "lineage"} {
		if err := d.Set(name, 1); !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, statelatch.ErrInvalid)
		}
	}
}

func TestParseDoc_Refuses(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]error{
		``: statelatch.ErrInvalid, `[]`: statelatch.ErrInvalid, `{"a":1} x`: statelatch.ErrInvalid, `{"a":1,"a":2}`: statelatch.ErrInvalid,
		`{"a":` + strings.Repeat("[", 100_000):                                                   statelatch.ErrInvalid,
		`{"serial":1,"lineage":"l","meta":{},"encrypted_data":"eA==","encryption_version":"v0"}`: statelatch.ErrUnsupported,
	} {
		if _, err := state.ParseDoc([]byte(body)); !errors.Is(err, want) {
			t.Errorf("%.40s: got %v, want %v", body, err, want)
		}
	}
}

// What is edited is what the session is based on, so it is read once.
func TestUpdate_ReadsOnce(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.seed(t, body(7, "l", "a"))
	before := len(r.bucket.Requests())
	edit := func(d *state.Doc) error { return d.Set("outputs", map[string]int{"x": 1}) }
	v, err := state.Update(t.Context(), r.Store, holding(), edit, opts())
	if err != nil || v.Header.Serial != 8 {
		t.Fatalf("serial %d, %v", v.Header.Serial, err)
	}
	wantRequests(t, r, before, "get", "put If-Match")
	if !strings.Contains(r.stored(t), `"x": 1`) {
		t.Errorf("stored is %s", r.stored(t))
	}
}

// Without a state the edit gets an empty one.
func TestUpdate_Creates(t *testing.T) {
	t.Parallel()
	r := newRig()
	edit := func(d *state.Doc) error { return d.Set("outputs", map[string]int{"x": 1}) }
	v, err := state.Update(t.Context(), r.Store, holding(), edit, opts())
	if err != nil || v.Header.Serial != 1 {
		t.Errorf("serial %d, %v", v.Header.Serial, err)
	}
}
