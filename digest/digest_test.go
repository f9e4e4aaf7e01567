package digest_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/digest"
	"github.com/statelatch/statelatch/state"
)

// digests is a table of digests.
type digests struct {
	mu    sync.Mutex
	items map[string]string
}

func (d *digests) Digest(_ context.Context, ref statelatch.Ref) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stored, ok := d.items[ref.Key]
	if !ok {
		return "", statelatch.ErrNotFound
	}
	return stored, nil
}

func (d *digests) SwapDigest(context.Context, statelatch.Ref, string, string) error {
	return errors.New("a check changes nothing")
}

func body(serial int, lineage, resources string) string {
	return fmt.Sprintf(`{"version":4,"terraform_version":"1.11.4","serial":%d,"lineage":%q,"outputs":{},"resources":[%s]}`, serial, lineage, resources)
}

const resource = `{"mode":"managed","type":"terraform_data","name":"x","provider":"provider[\"terraform.io/builtin/terraform\"]","instances":[]}`

// What a digest is of, and whether it may go, follows from the versions of its state.
func TestChecker_Check(t *testing.T) {
	t.Parallel()
	first, second, third := body(1, "l", resource), body(2, "l", resource), body(3, "l", resource)
	lost := body(2, "l", "")
	replaced := body(9, "other", resource)
	const absent = ""
	for name, tc := range map[string]struct {
		versions []string // oldest first; absent: a delete marker
		digest   string   // the body that it is of; "-": no item; otherwise as it is
		limit    int
		status   digest.Status
		serial   int // of BelongsTo; 0: none
		doubt    bool
		restore  bool
		unlooked bool
	}{
		"in step":                  {versions: []string{first, second}, digest: second, status: digest.InStep},
		"no item":                  {versions: []string{first}, digest: "-", status: digest.None},
		"a writer without it":      {versions: []string{first, second, third}, digest: first, status: digest.Stale, serial: 1},
		"rolled back":              {versions: []string{second, first}, digest: second, status: digest.Stale, serial: 2, doubt: true, restore: true},
		"an update was lost":       {versions: []string{first, second, lost}, digest: second, status: digest.Stale, serial: 2, doubt: true, restore: true},
		"another state":            {versions: []string{first, replaced}, digest: first, status: digest.Stale, serial: 1, doubt: true, restore: true},
		"of nothing that is known": {versions: []string{first, second}, digest: "x", status: digest.Stale, doubt: true},
		"of something further back": {
			versions: []string{first, second, third}, digest: first, limit: 2, status: digest.Stale, doubt: true, unlooked: true,
		},
		"deleted":              {versions: []string{first, absent}, digest: first, status: digest.Orphan, serial: 1, doubt: true, restore: true},
		"deleted with nothing": {versions: []string{body(1, "l", ""), absent}, digest: body(1, "l", ""), status: digest.Orphan, serial: 1},
		"never there":          {digest: "x", status: digest.Orphan},
		"no MD5":               {versions: []string{first}, digest: "?", status: digest.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := membucket.New("b", membucket.Options{Versioned: true})
			ref := statelatch.Ref{Bucket: "b", Key: "app/terraform.tfstate"}
			for _, v := range tc.versions {
				var err error
				if v == absent {
					_, err = b.Delete(t.Context(), ref.Key, bucket.DeleteOptions{})
				} else {
					_, err = b.Put(t.Context(), ref.Key, strings.NewReader(v), bucket.PutOptions{})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			table := &digests{items: map[string]string{}}
			switch tc.digest {
			case "-":
			case "?":
				table.items[ref.Key] = "no digest"
			default:
				sum := md5.Sum([]byte(tc.digest))
				table.items[ref.Key] = hex.EncodeToString(sum[:])
			}
			c := digest.Checker{Store: &state.Store{Bucket: b, Digests: table}, Versions: tc.limit}
			f, err := c.Check(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			serial := 0
			if f.BelongsTo != nil {
				serial = int(f.BelongsTo.Header.Serial)
			}
			if f.Status != tc.status || serial != tc.serial || (f.Doubt != "") != tc.doubt || (f.Restore != nil) != tc.restore || f.Unlooked != tc.unlooked {
				t.Errorf("got %s of serial %d, doubt %q, restore %v, unlooked %v: %s", f.Status, serial, f.Doubt, f.Restore != nil, f.Unlooked, f.Meaning)
			}
			if wrong := tc.status != digest.InStep && tc.status != digest.None; f.Wrong() != wrong || wrong && f.Meaning == "" {
				t.Errorf("wrong: %v, %q", f.Wrong(), f.Meaning)
			}
		})
	}
}

func TestChecker_CheckAll(t *testing.T) {
	t.Parallel()
	table := &digests{items: map[string]string{"b": "x", "a": "x", "c.tflock": "x"}}
	c := digest.Checker{Store: &state.Store{Bucket: membucket.New("bucket", membucket.Options{}), Digests: table}}
	told := 0
	found, err := c.CheckAll(t.Context(), "bucket", []string{"b", "a", "c.tflock"}, func(int) { told++ })
	if err != nil || told != 3 {
		t.Fatalf("got %v, told %d times", err, told)
	}
	var got []string
	for _, f := range found {
		got = append(got, f.Ref.Key+" "+string(f.Status))
	}
	if want := []string{"a malformed", "b malformed", "c.tflock foreign"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
