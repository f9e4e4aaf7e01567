package buckettest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

func listChecks() []Check {
	return []Check{
		{Name: "list/empty", Func: listEmpty},
		{Name: "list/fields", Func: listFields},
		{Name: "list/order", Func: listOrder},
		{Name: "list/prefix", Func: listPrefix},
		{Name: "list/delimiter", Func: listDelimiter},
		{Name: "list/paging", Func: listPaging},
		{Name: "list/start-after", Func: listStartAfter},
		{Name: "list/after-delete", Func: listAfterDelete},
		{Name: "list/versions", Func: listVersions},
	}
}

// prefixMark distinguishes a common prefix from a key in the lines of a listing.
const prefixMark = " (prefix)"

// lists expects a listing of exactly these keys, in byte order; common prefixes carry prefixMark.
func (p *Probe) lists(ctx context.Context, opts bucket.ListOptions, want ...string) error {
	objects, err := collect(p.Bucket.List(ctx, opts))
	if err != nil {
		return fmt.Errorf("list %+v: got %w, want success", opts, err)
	}
	var got []string
	for _, o := range objects {
		line := o.Key
		if o.IsPrefix {
			line += prefixMark
		}
		got = append(got, line)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("list %+v: got %q, want %q", opts, got, want)
	}
	return nil
}

func (p *Probe) keys(names ...string) []string {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = p.key(name)
	}
	return keys
}

func listEmpty(ctx context.Context, p *Probe) error {
	return p.lists(ctx, bucket.ListOptions{Prefix: p.Prefix})
}

func listFields(ctx context.Context, p *Probe) error {
	key := p.key("object")
	put, err := p.put(ctx, key, "12345", bucket.Condition{})
	if err != nil {
		return err
	}
	objects, err := collect(p.Bucket.List(ctx, bucket.ListOptions{Prefix: key}))
	if err != nil {
		return err
	}
	if len(objects) != 1 {
		return fmt.Errorf("list: got %d objects, want 1", len(objects))
	}
	o := objects[0]
	if o.Key != key || o.ETag != put.ETag || o.Size != 5 || o.LastModified.IsZero() || o.IsPrefix || o.DeleteMarker {
		return fmt.Errorf("list: got %+v, want key %q, ETag %s, 5 bytes and a Last-Modified", o, key, put.ETag)
	}
	if !o.Date.IsZero() {
		return fmt.Errorf("list: got Date %v, want none in a listing", o.Date)
	}
	return nil
}

// listOrder: by bytes of UTF-8, not by locale and not by UTF-16 (which puts the lock before the tilde).
// No key is below another one here: key/prefix-of-another is about that.
func listOrder(ctx context.Context, p *Probe) error {
	keys := p.keys("b", "aa", "B", "a/b", "a-b", "a0", "a.b", "é", "z", "\uff5e", "\U0001f512", "日本")
	if err := p.putAll(ctx, keys...); err != nil {
		return err
	}
	return p.lists(ctx, bucket.ListOptions{Prefix: p.Prefix}, keys...)
}

func listPrefix(ctx context.Context, p *Probe) error {
	if err := p.putAll(ctx, p.keys("a", "ab", "ab-", "abc/d", "abc/e", "abcd", "b", "ca")...); err != nil {
		return err
	}
	if err := p.lists(ctx, bucket.ListOptions{Prefix: p.key("ab")},
		p.keys("ab", "ab-", "abc/d", "abc/e", "abcd")...); err != nil {
		return err
	}
	return p.lists(ctx, bucket.ListOptions{Prefix: p.key("abc/")}, p.keys("abc/d", "abc/e")...)
}

// listDelimiter is how the engines find workspaces.
func listDelimiter(ctx context.Context, p *Probe) error {
	if err := p.putAll(ctx, p.keys("b", "env:/dev/x/state", "env:/dev/y", "env:/prod", "a", "z/1")...); err != nil {
		return err
	}
	for prefix, want := range map[string][]string{
		"":         {"a", "b", "env:/" + prefixMark, "z/" + prefixMark},
		"env:/":    {"env:/dev/" + prefixMark, "env:/prod"},
		"env:/dev": {"env:/dev/" + prefixMark},
	} {
		if err := p.lists(ctx, bucket.ListOptions{Prefix: p.key(prefix), Delimiter: "/"}, p.keys(want...)...); err != nil {
			return err
		}
	}
	return nil
}

func listPaging(ctx context.Context, p *Probe) error {
	names := []string{"a", "b/1", "b/2", "b/3", "c", "d/1", "e"}
	if err := p.putAll(ctx, p.keys(names...)...); err != nil {
		return err
	}
	rolled := []string{"a", "b/" + prefixMark, "c", "d/" + prefixMark, "e"}
	for _, size := range []int{1, 2, 3, len(names), 1000} {
		opts := bucket.ListOptions{Prefix: p.Prefix, PageSize: size}
		if err := p.lists(ctx, opts, p.keys(names...)...); err != nil {
			return err
		}
		opts.Delimiter = "/"
		if err := p.lists(ctx, opts, p.keys(rolled...)...); err != nil {
			return err
		}
	}
	for o, err := range p.Bucket.List(ctx, bucket.ListOptions{Prefix: p.Prefix, PageSize: 2}) {
		if err != nil {
			return err
		}
		if o.Key == p.key("b/2") {
			break // in the middle of a listing: the iterator must stop without a word
		}
	}
	return nil
}

// listStartAfter is how a listing is cut into parts that are read side by side.
func listStartAfter(ctx context.Context, p *Probe) error {
	names := []string{"a", "b/1", "b/2", "c~"}
	if err := p.putAll(ctx, p.keys(names...)...); err != nil {
		return err
	}
	for after, want := range map[string][]string{
		"a": names[1:], "a0": names[1:], "b/": names[1:], "b/1": names[2:],
		"c~": nil, "d": nil,
	} {
		for _, size := range []int{1, 1000} {
			opts := bucket.ListOptions{Prefix: p.Prefix, StartAfter: p.key(after), PageSize: size}
			if err := p.lists(ctx, opts, p.keys(want...)...); err != nil {
				return err
			}
			if !p.Versioned {
				continue
			}
			versions, err := collect(p.Bucket.ListVersions(ctx, opts))
			if err != nil || len(versions) != len(want) {
				return fmt.Errorf("list versions %+v: got %d, %w, want %d", opts, len(versions), err, len(want))
			}
		}
	}
	return nil
}

func listAfterDelete(ctx context.Context, p *Probe) error {
	if err := p.putAll(ctx, p.keys("a", "b", "c")...); err != nil {
		return err
	}
	if _, err := p.remove(ctx, p.key("b"), ""); err != nil {
		return err
	}
	return p.lists(ctx, bucket.ListOptions{Prefix: p.Prefix}, p.keys("a", "c")...)
}

// listVersions: one object is one version; a store that keeps none may refuse.
func listVersions(ctx context.Context, p *Probe) error {
	obj, err := p.put(ctx, p.key("object"), "object", bucket.Condition{})
	if err != nil {
		return err
	}
	objects, err := collect(p.Bucket.ListVersions(ctx, bucket.ListOptions{Prefix: p.Prefix}))
	if !p.Versioned && errors.Is(err, statelatch.ErrUnsupported) {
		return p.want(err, "list versions", "", statelatch.ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("list versions: got %w, want success", err)
	}
	if len(objects) != 1 || objects[0].Key != obj.Key || objects[0].ETag != obj.ETag || !objects[0].IsLatest ||
		objects[0].DeleteMarker {
		return fmt.Errorf("list versions: got %+v, want one latest version of %q with ETag %s", objects, obj.Key, obj.ETag)
	}
	if strings.TrimSpace(objects[0].VersionID) == "" && p.Versioned {
		return fmt.Errorf("list versions: got no version ID, want one")
	}
	return nil
}
