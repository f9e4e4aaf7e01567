package buckettest

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// maxKeyBytes is S3's limit.
const maxKeyBytes = 1024

// oddKeys are names that clients and stores like to mangle on the way through URLs, signatures, XML and files.
var oddKeys = []struct{ name, key string }{
	{"space", " a  b /c d "},
	{"unicode", "zustände/日本/🔒é"},
	{"plus", "a+b/c++"},
	{"percent", "100%25/%2F%41"},
	{"bare-percent", "100%/50%zz"},
	{"colon", "env:/prod/a:b"},
	{"equals", "a=b/c=d="},
	{"query", "a?b&c#d;e"},
	{"xml", "<a>&amp;\"b\"'"},
	{"punctuation", "-_.!~*'(),$@"},
	{"dots", "a..b/c.../.d"},
}

func keyChecks() []Check {
	var checks []Check
	for _, k := range oddKeys {
		checks = append(checks, Check{Name: "key/" + k.name, Func: func(ctx context.Context, p *Probe) error {
			return keyRoundTrip(ctx, p, p.key(k.key))
		}})
	}
	return append(checks,
		Check{Name: "key/longest", Func: keyLongest},
		Check{Name: "key/prefix-of-another", Func: keyPrefixOfAnother},
		Check{Name: "key/case", Func: keyCase},
	)
}

// keyRoundTrip: the key is taken byte for byte by every operation.
func keyRoundTrip(ctx context.Context, p *Probe, key string) error {
	obj, err := p.put(ctx, key, key, bucket.Condition{})
	if err != nil {
		return err
	}
	if err := p.holds(ctx, key, "", key, obj.ETag); err != nil {
		return err
	}
	for _, decode := range []func(string) (string, error){url.PathUnescape, url.QueryUnescape} {
		// A key decoded once too often would show up under its decoded name.
		if other, err := decode(key); err == nil && other != key {
			if err := p.absent(ctx, other, ""); err != nil {
				return err
			}
		}
	}
	if err := p.lists(ctx, bucket.ListOptions{Prefix: p.Prefix}, key); err != nil {
		return err
	}
	if err := p.lists(ctx, bucket.ListOptions{Prefix: key}, key); err != nil {
		return err
	}
	if _, err := p.remove(ctx, key, ""); err != nil {
		return err
	}
	return p.absent(ctx, key, "")
}

func keyLongest(ctx context.Context, p *Probe) error {
	// Segments stay short enough for stores that keep each as a file name.
	key := p.Prefix
	for len(key) < maxKeyBytes {
		key += strings.Repeat("k", min(99, maxKeyBytes-len(key)))
		if len(key) < maxKeyBytes-1 {
			key += "/"
		}
	}
	return keyRoundTrip(ctx, p, key)
}

// keyPrefixOfAnother: a key may continue another one, also behind a slash (files and directories cannot).
func keyPrefixOfAnother(ctx context.Context, p *Probe) error {
	keys := []string{p.key("a"), p.key("a" + statelatch.LockKeySuffix), p.key("a/b"), p.key("a/b/c"), p.key("ab")}
	if err := p.putAll(ctx, keys...); err != nil {
		return err
	}
	if err := p.lists(ctx, bucket.ListOptions{Prefix: p.Prefix}, keys...); err != nil {
		return err
	}
	if _, err := p.remove(ctx, p.key("a"), ""); err != nil {
		return err
	}
	if err := p.absent(ctx, p.key("a"), ""); err != nil {
		return err
	}
	for _, key := range keys[1:] {
		_, got, err := p.get(ctx, key, "")
		if err != nil {
			return fmt.Errorf("get %q after its neighbour was deleted: got %w, want its own content", key, err)
		}
		if got != key {
			return fmt.Errorf("get %q after its neighbour was deleted: got %s, want its own content", key, brief(got))
		}
	}
	return nil
}

func keyCase(ctx context.Context, p *Probe) error {
	if err := p.putAll(ctx, p.key("Case")); err != nil {
		return err
	}
	return p.absent(ctx, p.key("case"), "")
}
