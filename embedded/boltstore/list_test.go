package boltstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/s3/s3model"
)

// naiveList says what a listing of sorted keys must be.
func naiveList(keys []string, prefix, delimiter, afterKey string) []string {
	var all []string
	for _, k := range keys {
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		entry := k
		if delimiter != "" {
			if i := strings.Index(k[len(prefix):], delimiter); i >= 0 {
				entry = k[:len(prefix)+i+len(delimiter)] + "<prefix>"
			}
		}
		if strings.TrimSuffix(entry, "<prefix>") <= afterKey && afterKey != "" || slices.Contains(all, entry) {
			continue
		}
		all = append(all, entry)
	}
	return all
}

func entries(p s3model.ListPage) []string {
	var all []string
	for _, o := range p.Objects {
		all = append(all, o.Key)
	}
	for _, c := range p.Prefixes {
		all = append(all, c+"<prefix>")
	}
	slices.SortFunc(all, func(a, b string) int {
		return strings.Compare(strings.TrimSuffix(a, "<prefix>"), strings.TrimSuffix(b, "<prefix>"))
	})
	return all
}

var listKeys = []string{
	"a", "a/", "a/1", "a/2", "a/b/1", "a/b/2", "a0", "ab", "b//x", "b/\x01", "b/\xff", "b/\xff\xff/x", "c\x01", "env:/prod/t.tfstate",
	"env:/prod/t.tfstate.tflock", "env:/stage/t.tfstate", "z\xff", "z\xff/1", "ä", "日本/語",
}

func TestStore_List_EqualsNaive(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	addBucket(t, s, "a", s3model.Unversioned) // neighbours, to be kept apart
	addBucket(t, s, "b2", s3model.Unversioned)
	for _, b := range []string{"a", "b2"} {
		if _, err := s.Put(t.Context(), s3model.PutRequest{Bucket: b, Key: "a/foreign"}, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
	}
	keys := slices.Clone(listKeys)
	slices.Sort(keys)
	for _, k := range keys {
		put(t, s, k, "old")
		put(t, s, k, "new")
		put(t, s, k+"-deleted", "x")
		remove(t, s, k+"-deleted", "")
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "b/", "b/\xff", "z\xff", "nothing", "env:/"} {
		for _, delimiter := range []string{"", "/", "b", "\xff"} {
			for _, start := range append([]string{"", "a/b/", "0", "zz", "b/"}, keys...) {
				want := naiveList(keys, prefix, delimiter, start)
				for _, limit := range []int{1, 2, 7, 1000} {
					var got []string
					req := s3model.ListRequest{Bucket: "b", Prefix: prefix, Delimiter: delimiter, After: start, Max: limit}
					for range len(keys) + 1 {
						page, err := s.List(t.Context(), req)
						if err != nil {
							t.Fatal(err)
						}
						if n := len(page.Objects) + len(page.Prefixes); n > limit || page.Truncated && n != limit {
							t.Fatalf("%+v: page of %d entries, truncated %t", req, n, page.Truncated)
						}
						if page.Truncated == (page.NextKey == "") {
							t.Fatalf("%+v: truncated %t with NextKey %q", req, page.Truncated, page.NextKey)
						}
						got = append(got, entries(page)...)
						if !page.Truncated {
							break
						}
						req.After = page.NextKey
					}
					if !slices.Equal(got, want) {
						t.Fatalf("prefix %q delimiter %q after %q max %d:\n got %q\nwant %q", prefix, delimiter, start, limit, got, want)
					}
				}
			}
		}
	}
	if page, err := s.List(t.Context(), s3model.ListRequest{Bucket: "b"}); err != nil || page.Truncated || len(page.Objects) != 0 {
		t.Errorf("Max 0: got %+v, %v, want nothing", page, err)
	}
}

func TestStore_ListVersions_PagesEqualWhole(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	keys := slices.Clone(listKeys)
	slices.Sort(keys)
	for i, k := range keys {
		put(t, s, k, "null")
		if i%4 == 0 {
			defer func() { remove(t, s, k, "") }()
		}
	}
	setVersioning(t, s, "b", s3model.Enabled)
	for i, k := range keys {
		for n := range i % 3 {
			put(t, s, k, fmt.Sprint(n))
		}
		if i%5 == 0 {
			remove(t, s, k, "")
		}
	}
	whole := func(prefix, delimiter string) (ids []string, prefixes []string) {
		page, err := s.ListVersions(t.Context(), s3model.ListRequest{Bucket: "b", Prefix: prefix, Delimiter: delimiter, Max: 10000})
		if err != nil || page.Truncated {
			t.Fatalf("ListVersions: %v, truncated %t", err, page.Truncated)
		}
		last := ""
		for i, o := range page.Objects {
			ids = append(ids, o.Key+" "+o.VersionID)
			if o.IsLatest != (i == 0 || o.Key != last) {
				t.Errorf("version %d of %q: IsLatest %t", i, o.Key, o.IsLatest)
			}
			last = o.Key
		}
		return ids, page.Prefixes
	}
	ids, _ := whole("", "")
	want := 0
	for i := range keys {
		want += 1 + i%3
		if i%5 == 0 {
			want++
		}
	}
	if len(ids) != want {
		t.Fatalf("got %d versions, want %d", len(ids), want)
	}
	for _, prefix := range []string{"", "a", "a/", "b/", "z\xff"} {
		for _, delimiter := range []string{"", "/"} {
			wantIDs, wantPrefixes := whole(prefix, delimiter)
			for _, limit := range []int{1, 2, 3, 5} {
				var gotIDs, gotPrefixes []string
				req := s3model.ListRequest{Bucket: "b", Prefix: prefix, Delimiter: delimiter, Max: limit}
				for range want + 1 {
					page, err := s.ListVersions(t.Context(), req)
					if err != nil {
						t.Fatal(err)
					}
					for _, o := range page.Objects {
						gotIDs = append(gotIDs, o.Key+" "+o.VersionID)
						if o.VersionID == "" {
							t.Errorf("%s: empty version ID", o.Key)
						}
					}
					gotPrefixes = append(gotPrefixes, page.Prefixes...)
					if !page.Truncated {
						break
					}
					req.KeyMarker, req.VersionIDMarker = page.NextKey, page.NextVersionID
				}
				if !slices.Equal(gotIDs, wantIDs) || !slices.Equal(gotPrefixes, wantPrefixes) {
					t.Fatalf("prefix %q delimiter %q max %d:\n got %q %q\nwant %q %q", prefix, delimiter, limit, gotIDs, gotPrefixes, wantIDs, wantPrefixes)
				}
			}
		}
	}
	// A key marker alone skips all versions of the key.
	for i, k := range keys[1:] {
		page, err := s.ListVersions(t.Context(), s3model.ListRequest{Bucket: "b", KeyMarker: keys[i], Max: 1})
		if err != nil || page.Objects[0].Key != k {
			t.Errorf("after the key %q: got %+v, %v, want %q", keys[i], page, err, k)
		}
	}
	if _, err := s.ListVersions(t.Context(), s3model.ListRequest{Bucket: "b", KeyMarker: "a", VersionIDMarker: "?", Max: 1}); code(err) != "InvalidArgument" {
		t.Errorf("bad version ID marker: got %v", err)
	}
}

// A page that ended with a version which is removed before the next one is asked for.
func TestStore_ListVersions_MarkerIsGone(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	for i := range 4 {
		put(t, s, "k", fmt.Sprint(i))
	}
	req := s3model.ListRequest{Bucket: "b", Max: 2}
	page, err := s.ListVersions(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, s, "k", page.NextVersionID)
	req.KeyMarker, req.VersionIDMarker = page.NextKey, page.NextVersionID
	page, err = s.ListVersions(t.Context(), req)
	if err != nil || len(page.Objects) != 2 || get(t, s, "k", page.Objects[0].VersionID) != "1" || page.Objects[0].IsLatest {
		t.Errorf("second page: got %+v, %v, want versions 1 and 0", page.Objects, err)
	}
}
