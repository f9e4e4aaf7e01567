package buckettest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"html"
	"io"
	"iter"
	"maps"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// wrongDriver is a way to be wrong and the checks that must find it.
type wrongDriver struct {
	name          string
	versionedOnly bool // wrong only where versions are kept
	wrap          func(bucket.Bucket) bucket.Bucket
	must          []string
}

// wrongDrivers cover every check: see TestChecks_EachFindsAWrongDriver.
func wrongDrivers() []wrongDriver {
	return slices.Concat(wrongConditions(), wrongObjects(), wrongKeys(), wrongLists(), wrongVersions(), wrongContexts())
}

func wrongConditions() []wrongDriver {
	return []wrongDriver{
		{
			name: "Q2 checks, then acts", wrap: checkThenAct,
			must: []string{
				"contention/create", "contention/create-after-delete", "contention/compare-and-swap",
				"contention/compare-and-delete", "contention/replace-against-delete", "contention/delete-against-create",
			},
		},
		{
			name: "Q1 ignores If-None-Match",
			wrap: putting(func(_ string, data []byte, opts *bucket.PutOptions) []byte {
				if opts.If.Absent() {
					opts.If = bucket.Condition{}
				}
				return data
			}),
			must: []string{"put/if-absent-taken", "put/if-absent-after-delete", "contention/create", "contention/create-after-delete", "contention/delete-against-create"},
		},
		{
			name: "Q1 ignores If-Match on Put",
			wrap: putting(func(_ string, data []byte, opts *bucket.PutOptions) []byte {
				if opts.If.ETag() != "" {
					opts.If = bucket.Condition{}
				}
				return data
			}),
			must: []string{
				"put/if-match-wrong", "put/if-match-stale", "put/if-match-absent", "put/if-match-after-delete",
				"contention/compare-and-swap", "contention/replace-against-delete",
			},
		},
		{
			name: "Q5 ignores If-Match on Delete",
			wrap: deleting(func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
				opts.If = bucket.Condition{}
				return b.Delete(ctx, key, opts)
			}),
			must: []string{
				"delete/if-match-wrong", "delete/if-match-stale", "delete/if-match-absent", "delete/if-match-after-delete", "delete/if-absent-refused",
				"version/delete-with-condition", "contention/compare-and-delete", "contention/replace-against-delete", "contention/delete-against-create",
			},
		},
		{
			name: "Q3 takes a delete marker for an object", versionedOnly: true,
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
					versions, _ := collect(b.ListVersions(ctx, bucket.ListOptions{Prefix: key}))
					if opts.If.Absent() && slices.ContainsFunc(versions, func(o bucket.Object) bool { return o.Key == key }) {
						return bucket.Object{}, refusal(b, "put", key)
					}
					return b.Put(ctx, key, body, opts)
				}}
			},
			must: []string{"put/if-absent-after-delete", "contention/create-after-delete"},
		},
		{
			name: "Q4 inverts conditions",
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
					obj, err := b.Head(ctx, key, bucket.ReadOptions{})
					if !opts.If.IsZero() && opts.If.Check(err == nil, obj.ETag) == nil {
						return bucket.Object{}, refusal(b, "put", key)
					}
					opts.If = bucket.Condition{}
					return b.Put(ctx, key, body, opts)
				}}
			},
			must: []string{"put/if-absent-free", "put/if-absent-taken", "put/if-match-right", "put/if-match-wrong", "contention/create", "contention/compare-and-swap"},
		},
		{
			name: "refuses every conditional delete",
			wrap: deleting(func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
				if !opts.If.IsZero() {
					return bucket.Deleted{}, refusal(b, "delete", key)
				}
				return b.Delete(ctx, key, opts)
			}),
			must: []string{"delete/if-match-right", "contention/compare-and-delete"},
		},
	}
}

func refusal(b bucket.Bucket, op, key string) error {
	return &statelatch.StoreError{Kind: statelatch.ErrPreconditionFailed, Op: op, Bucket: b.Name(), Key: key}
}

func wrongObjects() []wrongDriver {
	return []wrongDriver{
		{
			name: "reads the second half in a second request",
			wrap: opening(func(ctx context.Context, b bucket.Bucket, key string, obj bucket.Object, r io.ReadCloser) io.Reader {
				second := later(func() io.Reader {
					_, r, err := b.Get(ctx, key, bucket.ReadOptions{})
					if err != nil {
						return strings.NewReader("")
					}
					_, _ = io.CopyN(io.Discard, r, obj.Size/2)
					return r
				})
				return io.MultiReader(io.LimitReader(r, obj.Size/2), &second)
			}),
			must: []string{"get/overwritten-while-read", "get/deleted-while-read"},
		},
		{
			name: "writes the first half first",
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
					data, err := rewound(body)
					if err == nil && len(data) >= tornSize {
						half := append(bytes.Clone(data[:len(data)/2]), make([]byte, len(data)-len(data)/2)...)
						if _, err := b.Put(ctx, key, bytes.NewReader(half), opts); err != nil {
							return bucket.Object{}, err
						}
						runtime.Gosched()
					}
					return b.Put(ctx, key, body, opts)
				}}
			},
			must: []string{"contention/torn-reads"},
		},
		{
			name: "truncates large bodies",
			wrap: putting(func(_ string, data []byte, _ *bucket.PutOptions) []byte { return data[:min(len(data), 5<<20)] }),
			must: []string{"put/large-body"},
		},
		{
			name: "ends a body early without an error",
			wrap: opening(func(_ context.Context, _ bucket.Bucket, _ string, obj bucket.Object, r io.ReadCloser) io.Reader {
				return io.LimitReader(r, obj.Size-1)
			}),
			must: []string{"put/round-trip", "put/large-body"},
		},
		{
			name: "hands out all where the beginning is asked for",
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, get: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
					opts.First = 0
					return b.Get(ctx, key, opts)
				}}
			},
			must: []string{"get/first"},
		},
		{
			name: "tells the size of the part for that of the object",
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, get: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
					obj, r, err := b.Get(ctx, key, opts)
					if opts.First > 0 {
						obj.Size = min(obj.Size, opts.First)
					}
					return obj, r, err
				}}
			},
			must: []string{"get/first"},
		},
		{
			name: "stores text instead of bytes",
			wrap: putting(func(_ string, data []byte, _ *bucket.PutOptions) []byte { return bytes.ToValidUTF8(data, nil) }),
			must: []string{"put/round-trip"},
		},
		{
			name: "adds a line end to an empty body",
			wrap: putting(func(_ string, data []byte, _ *bucket.PutOptions) []byte { return []byte(cmp.Or(string(data), "\n")) }),
			must: []string{"put/empty-body"},
		},
		{
			name: "stores a body from its offset",
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
					data, err := io.ReadAll(body)
					if err != nil {
						return b.Put(ctx, key, body, opts)
					}
					return b.Put(ctx, key, bytes.NewReader(data), opts)
				}}
			},
			must: []string{"put/whole-body"},
		},
		{
			name: "stores what it could read of a body",
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
					data, bodyErr := rewound(body)
					obj, err := b.Put(ctx, key, bytes.NewReader(data), opts)
					if err == nil && bodyErr != nil {
						return bucket.Object{}, &statelatch.StoreError{Kind: statelatch.ErrBroken, Op: "put", Bucket: b.Name(), Key: key, Err: bodyErr}
					}
					return obj, err
				}}
			},
			must: []string{"put/broken-body"},
		},
		{
			name: "never overwrites",
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
					if obj, err := b.Head(ctx, key, bucket.ReadOptions{}); err == nil {
						return obj, nil
					}
					return b.Put(ctx, key, body, opts)
				}}
			},
			must: []string{"put/overwrite"},
		},
		{
			name: "strips the quotes of an ETag in listings",
			wrap: listed(func(o *bucket.Object) { o.ETag = strings.Trim(o.ETag, `"`) }),
			must: []string{"put/etag", "list/fields"},
		},
		{
			name: "weakens the ETag on reading",
			wrap: reading(func(o *bucket.Object) { o.ETag = "W/" + o.ETag }),
			must: []string{"put/etag", "put/round-trip"},
		},
		{
			name: "forgets the content type",
			wrap: reading(func(o *bucket.Object) { o.ContentType = "binary/octet-stream" }),
			must: []string{"put/content-type"},
		},
		{
			name: "forgets the metadata",
			wrap: reading(func(o *bucket.Object) { o.Metadata = nil }),
			must: []string{"put/metadata", "put/metadata-replaced"},
		},
		{
			name: "forgets the metadata of a part",
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, get: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
					obj, r, err := b.Get(ctx, key, opts)
					if opts.First > 0 {
						obj.Metadata = nil
					}
					return obj, r, err
				}}
			},
			must: []string{"put/metadata", "put/metadata-replaced"},
		},
		{
			name: "adds to the metadata of the last version",
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
					if last, err := b.Head(ctx, key, bucket.ReadOptions{}); err == nil {
						merged := maps.Clone(last.Metadata)
						maps.Copy(merged, opts.Metadata)
						if opts.Metadata = merged; bucket.CheckMetadata(merged) != nil {
							opts.Metadata = nil
						}
					}
					return b.Put(ctx, key, body, opts)
				}}
			},
			must: []string{"put/metadata-replaced"},
		},
		{
			name: "mends metadata that it cannot store",
			wrap: putting(func(_ string, data []byte, opts *bucket.PutOptions) []byte {
				if bucket.CheckMetadata(opts.Metadata) != nil {
					opts.Metadata = nil
				}
				return data
			}),
			must: []string{"put/metadata-refused"},
		},
		{
			name: "tells no Date",
			wrap: reading(func(o *bucket.Object) { o.Date = time.Time{} }),
			must: []string{"put/times"},
		},
		{
			name: "tells times of two clocks",
			wrap: reading(func(o *bucket.Object) { o.LastModified = o.LastModified.Add(time.Hour) }),
			must: []string{"put/times"},
		},
		{
			name: "answers 403 for an absent key",
			wrap: failing(func(e *statelatch.StoreError) error {
				e.Kind = statelatch.ErrDenied
				return e
			}),
			must: []string{"get/absent"},
		},
		{
			name: "returns errors of its own type",
			wrap: failing(func(e *statelatch.StoreError) error { return fmt.Errorf("driver: %w", e.Kind) }),
			must: []string{"get/absent", "put/if-absent-taken"},
		},
		{
			name: "returns errors of two kinds",
			wrap: failing(func(e *statelatch.StoreError) error {
				e.Err = statelatch.ErrBroken
				return e
			}),
			must: []string{"get/absent", "put/if-absent-taken"},
		},
		{
			name: "names no key in errors",
			wrap: failing(func(e *statelatch.StoreError) error {
				e.Key = ""
				return e
			}),
			must: []string{"get/absent", "put/if-absent-taken"},
		},
		{
			name: "deletes nothing",
			wrap: deleting(func(context.Context, bucket.Bucket, string, bucket.DeleteOptions) (bucket.Deleted, error) {
				return bucket.Deleted{}, nil
			}),
			must: []string{"delete/present", "delete/if-match-right", "list/after-delete"},
		},
		{
			name: "fails to delete an absent key",
			wrap: deleting(func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
				if _, err := b.Head(ctx, key, bucket.ReadOptions{}); err != nil {
					return bucket.Deleted{}, err
				}
				return b.Delete(ctx, key, opts)
			}),
			must: []string{"delete/absent"},
		},
	}
}

func wrongKeys() []wrongDriver {
	replacing := func(old, replacement string) func(string) string {
		return func(s string) string { return strings.ReplaceAll(s, old, replacement) }
	}
	unescaped := func(key string) string {
		if plain, err := url.PathUnescape(key); err == nil {
			return plain
		}
		return key
	}
	return []wrongDriver{
		{name: "trims keys", wrap: mangling(strings.TrimSpace), must: []string{"key/space"}},
		{name: "keeps ASCII keys", wrap: mangling(func(key string) string { return fmt.Sprintf("%+q", key) }), must: []string{"key/unicode"}},
		{name: "takes a plus for a space", wrap: mangling(replacing("+", " ")), must: []string{"key/plus"}},
		{name: "decodes keys twice", wrap: mangling(unescaped), must: []string{"key/percent"}},
		{name: "encodes a lone percent sign in listings", wrap: naming(replacing("%/", "%25/")), must: []string{"key/bare-percent"}},
		{name: "replaces colons", wrap: mangling(replacing(":", "_")), must: []string{"key/colon"}},
		{name: "encodes equals signs in listings", wrap: naming(replacing("=", "%3D")), must: []string{"key/equals"}},
		{name: "cuts a key at its query", wrap: mangling(func(key string) string { return strings.Split(key, "?")[0] }), must: []string{"key/query"}},
		{name: "escapes XML twice in listings", wrap: naming(html.EscapeString), must: []string{"key/xml"}},
		{name: "encodes brackets in listings", wrap: naming(replacing("(", "%28")), must: []string{"key/punctuation"}},
		{
			name: "hides dot files in listings",
			wrap: listing(nil, func(_ bucket.ListOptions, objects []bucket.Object) []bucket.Object {
				return slices.DeleteFunc(objects, func(o bucket.Object) bool { return strings.Contains(o.Key, "/.") })
			}),
			must: []string{"key/dots"},
		},
		{name: "cuts long keys", wrap: mangling(func(key string) string { return key[:min(len(key), 1000)] }), must: []string{"key/longest"}},
		{name: "ignores case", wrap: mangling(strings.ToLower), must: []string{"key/case"}},
		{
			name: "deletes what is below a key",
			wrap: deleting(func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
				below, _ := collect(b.List(ctx, bucket.ListOptions{Prefix: key + "/"}))
				for _, o := range below {
					_, _ = b.Delete(ctx, o.Key, bucket.DeleteOptions{})
				}
				return b.Delete(ctx, key, opts)
			}),
			must: []string{"key/prefix-of-another"},
		},
	}
}

func wrongLists() []wrongDriver {
	return []wrongDriver{
		{
			name: "ignores the prefix",
			wrap: listing(func(opts *bucket.ListOptions) { opts.Prefix = "" }, nil),
			must: []string{"list/empty", "list/prefix", "version/list-prefix"},
		},
		{
			name: "ignores the delimiter",
			wrap: listing(func(opts *bucket.ListOptions) { opts.Delimiter = "" }, nil),
			must: []string{"list/delimiter", "list/paging"},
		},
		{
			name: "ignores where to start",
			wrap: listing(func(opts *bucket.ListOptions) { opts.StartAfter = "" }, nil),
			must: []string{"list/start-after"},
		},
		{
			name: "sorts as UTF-16",
			wrap: listing(nil, func(_ bucket.ListOptions, objects []bucket.Object) []bucket.Object {
				slices.SortStableFunc(objects, func(a, b bucket.Object) int {
					return slices.Compare(utf16.Encode([]rune(a.Key)), utf16.Encode([]rune(b.Key)))
				})
				return objects
			}),
			must: []string{"list/order"},
		},
		{
			name: "lists the first page only",
			wrap: listing(nil, func(opts bucket.ListOptions, objects []bucket.Object) []bucket.Object {
				return objects[:min(len(objects), cmp.Or(opts.PageSize, 1000))]
			}),
			must: []string{"list/paging", "version/list-paging"},
		},
		{
			name: "lists the last object of a page twice",
			wrap: listing(nil, func(opts bucket.ListOptions, objects []bucket.Object) []bucket.Object {
				if n := opts.PageSize; n > 0 && n < len(objects) {
					return slices.Insert(objects, n, objects[n-1])
				}
				return objects
			}),
			must: []string{"list/paging", "version/list-paging"},
		},
		{
			name: "tells no size in listings",
			wrap: listed(func(o *bucket.Object) { o.Size = 0 }),
			must: []string{"list/fields", "version/list-order"},
		},
		{
			name: "lists no version as the latest", versionedOnly: true,
			wrap: listed(func(o *bucket.Object) { o.IsLatest = false }),
			must: []string{"list/versions", "version/list-order"},
		},
		{
			name: "lists deleted objects", versionedOnly: true,
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{Bucket: b, list: func(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
					return func(yield func(bucket.Object, error) bool) {
						for o, err := range b.ListVersions(ctx, opts) {
							if !o.DeleteMarker && !yield(o, err) {
								return
							}
						}
					}
				}}
			},
			must: []string{"list/after-delete"},
		},
	}
}

func wrongVersions() []wrongDriver {
	return []wrongDriver{
		{
			name: "reads the current version always", versionedOnly: true,
			wrap: func(b bucket.Bucket) bucket.Bucket {
				return &driver{
					Bucket: b,
					head: func(ctx context.Context, key string, _ bucket.ReadOptions) (bucket.Object, error) {
						return b.Head(ctx, key, bucket.ReadOptions{})
					},
					get: func(ctx context.Context, key string, _ bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
						return b.Get(ctx, key, bucket.ReadOptions{})
					},
				}
			},
			must: []string{"version/read", "version/read-deleted", "version/read-removed"},
		},
		{
			name: "deletes the current version always", versionedOnly: true,
			wrap: deleting(func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
				opts.VersionID = ""
				return b.Delete(ctx, key, opts)
			}),
			must: []string{"version/delete", "version/delete-marker", "version/read-removed"},
		},
		{
			name: "keeps no versions of what is deleted", versionedOnly: true,
			wrap: deleting(func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
				deleted, err := b.Delete(ctx, key, opts)
				versions, _ := collect(b.ListVersions(ctx, bucket.ListOptions{Prefix: key}))
				for _, o := range versions {
					if o.Key == key && !o.IsLatest && err == nil && opts.VersionID == "" {
						_, _ = b.Delete(ctx, key, bucket.DeleteOptions{VersionID: o.VersionID})
					}
				}
				return deleted, err
			}),
			must: []string{"version/read-deleted", "version/delete-marker", "version/list-order"},
		},
		{
			name: "lists the oldest version first", versionedOnly: true,
			wrap: listing(nil, func(_ bucket.ListOptions, objects []bucket.Object) []bucket.Object {
				slices.Reverse(objects)
				slices.SortStableFunc(objects, func(a, b bucket.Object) int { return strings.Compare(a.Key, b.Key) })
				return objects
			}),
			must: []string{"version/list-order", "version/list-paging"},
		},
	}
}

func wrongContexts() []wrongDriver {
	return []wrongDriver{
		{
			name: "does not hear that a context is done", wrap: ignoringContext,
			must: []string{"cancel/head", "cancel/get", "cancel/put", "cancel/delete", "cancel/list", "cancel/list-versions"},
		},
		{
			name: "does not tell why it stopped",
			wrap: failing(func(e *statelatch.StoreError) error {
				e.Err = nil
				return e
			}),
			must: []string{"cancel/head", "cancel/put"},
		},
		{
			name: "ends a body with its context as if it were complete",
			wrap: opening(func(ctx context.Context, _ bucket.Bucket, _ string, _ bucket.Object, r io.ReadCloser) io.Reader {
				return readerFunc(func(p []byte) (int, error) {
					if ctx.Err() != nil {
						return 0, io.EOF
					}
					return r.Read(p)
				})
			}),
			must: []string{"cancel/get-body"},
		},
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
