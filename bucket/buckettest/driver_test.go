package buckettest

import (
	"bytes"
	"context"
	"io"
	"iter"
	"runtime"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// driver is a bucket of which single methods are replaced by wrong ones.
type driver struct {
	bucket.Bucket
	head     func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error)
	get      func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error)
	put      func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error)
	remove   func(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error)
	list     lister
	versions lister
}

type lister = func(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error]

func (d *driver) Head(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
	if d.head == nil {
		return d.Bucket.Head(ctx, key, opts)
	}
	return d.head(ctx, key, opts)
}

func (d *driver) Get(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	if d.get == nil {
		return d.Bucket.Get(ctx, key, opts)
	}
	return d.get(ctx, key, opts)
}

func (d *driver) Put(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
	if d.put == nil {
		return d.Bucket.Put(ctx, key, body, opts)
	}
	return d.put(ctx, key, body, opts)
}

func (d *driver) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	if d.remove == nil {
		return d.Bucket.Delete(ctx, key, opts)
	}
	return d.remove(ctx, key, opts)
}

func (d *driver) List(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	if d.list == nil {
		return d.Bucket.List(ctx, opts)
	}
	return d.list(ctx, opts)
}

func (d *driver) ListVersions(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	if d.versions == nil {
		return d.Bucket.ListVersions(ctx, opts)
	}
	return d.versions(ctx, opts)
}

// checkThenAct looks first, decides by itself, and then acts without a condition (Q2).
func checkThenAct(b bucket.Bucket) bucket.Bucket {
	look := func(ctx context.Context, op, key string, c bucket.Condition) error {
		obj, err := b.Head(ctx, key, bucket.ReadOptions{})
		kind := c.Check(err == nil, obj.ETag)
		runtime.Gosched()
		if kind == nil {
			return nil
		}
		return &statelatch.StoreError{Kind: kind, Op: op, Bucket: b.Name(), Key: key}
	}
	return &driver{
		Bucket: b,
		put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
			if !opts.If.IsZero() && ctx.Err() == nil {
				if err := look(ctx, "put", key, opts.If); err != nil {
					return bucket.Object{}, err
				}
				opts.If = bucket.Condition{}
			}
			return b.Put(ctx, key, body, opts)
		},
		remove: func(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
			if opts.If.ETag() != "" && opts.VersionID == "" && ctx.Err() == nil {
				if err := look(ctx, "delete", key, opts.If); err != nil {
					return bucket.Deleted{}, err
				}
				opts.If = bucket.Condition{}
			}
			return b.Delete(ctx, key, opts)
		},
	}
}

// putting replaces the terms or the body of each Put.
func putting(change func(key string, data []byte, opts *bucket.PutOptions) []byte) func(bucket.Bucket) bucket.Bucket {
	return func(b bucket.Bucket) bucket.Bucket {
		return &driver{Bucket: b, put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
			data, err := rewound(body)
			if err != nil {
				return b.Put(ctx, key, body, opts)
			}
			return b.Put(ctx, key, bytes.NewReader(change(key, data, &opts)), opts)
		}}
	}
}

func rewound(body io.ReadSeeker) ([]byte, error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(body)
}

// deleting replaces each Delete.
func deleting(remove func(ctx context.Context, b bucket.Bucket, key string, opts bucket.DeleteOptions) (bucket.Deleted, error)) func(bucket.Bucket) bucket.Bucket {
	return func(b bucket.Bucket) bucket.Bucket {
		return &driver{Bucket: b, remove: func(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
			return remove(ctx, b, key, opts)
		}}
	}
}

// listing changes the terms and the result of each listing; either may be nil.
func listing(terms func(*bucket.ListOptions), result func(bucket.ListOptions, []bucket.Object) []bucket.Object) func(bucket.Bucket) bucket.Bucket {
	return func(b bucket.Bucket) bucket.Bucket {
		wrap := func(inner lister) lister {
			return func(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
				if terms != nil {
					terms(&opts)
				}
				objects, err := collect(inner(ctx, opts))
				if result != nil {
					objects = result(opts, objects)
				}
				return func(yield func(bucket.Object, error) bool) {
					for _, o := range objects {
						if !yield(o, nil) {
							return
						}
					}
					if err != nil {
						yield(bucket.Object{}, err)
					}
				}
			}
		}
		return &driver{Bucket: b, list: wrap(b.List), versions: wrap(b.ListVersions)}
	}
}

// listed changes each object that a listing shows.
func listed(change func(*bucket.Object)) func(bucket.Bucket) bucket.Bucket {
	return listing(nil, func(_ bucket.ListOptions, objects []bucket.Object) []bucket.Object {
		for i := range objects {
			change(&objects[i])
		}
		return objects
	})
}

// naming changes the keys that a listing shows.
func naming(rename func(string) string) func(bucket.Bucket) bucket.Bucket {
	return listed(func(o *bucket.Object) { o.Key = rename(o.Key) })
}

// mangling changes keys on their way to the store, as clients do that encode too little or too often.
func mangling(mangle func(string) string) func(bucket.Bucket) bucket.Bucket {
	return func(b bucket.Bucket) bucket.Bucket {
		return &driver{
			Bucket: b,
			head: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
				obj, err := b.Head(ctx, mangle(key), opts)
				obj.Key = key
				return obj, err
			},
			get: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
				obj, r, err := b.Get(ctx, mangle(key), opts)
				obj.Key = key
				return obj, r, err
			},
			put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
				obj, err := b.Put(ctx, mangle(key), body, opts)
				obj.Key = key
				return obj, err
			},
			remove: func(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
				return b.Delete(ctx, mangle(key), opts)
			},
		}
	}
}

// reading changes what Head and Get say about an object.
func reading(change func(*bucket.Object)) func(bucket.Bucket) bucket.Bucket {
	return func(b bucket.Bucket) bucket.Bucket {
		return &driver{
			Bucket: b,
			head: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
				obj, err := b.Head(ctx, key, opts)
				change(&obj)
				return obj, err
			},
			get: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
				obj, r, err := b.Get(ctx, key, opts)
				change(&obj)
				return obj, r, err
			},
		}
	}
}

// opening replaces the body of each Get.
func opening(open func(ctx context.Context, b bucket.Bucket, key string, obj bucket.Object, r io.ReadCloser) io.Reader) func(bucket.Bucket) bucket.Bucket {
	return func(b bucket.Bucket) bucket.Bucket {
		return &driver{Bucket: b, get: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
			obj, r, err := b.Get(ctx, key, opts)
			if err != nil {
				return obj, nil, err
			}
			return obj, struct {
				io.Reader
				io.Closer
			}{open(ctx, b, key, obj, r), r}, nil
		}}
	}
}

// failing changes every error.
func failing(change func(*statelatch.StoreError) error) func(bucket.Bucket) bucket.Bucket {
	changed := func(err error) error {
		if e, ok := err.(*statelatch.StoreError); ok { //nolint:errorlint // membucket's own errors are not wrapped
			return change(e)
		}
		return err
	}
	return func(b bucket.Bucket) bucket.Bucket {
		return &driver{
			Bucket: b,
			head: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
				obj, err := b.Head(ctx, key, opts)
				return obj, changed(err)
			},
			put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
				obj, err := b.Put(ctx, key, body, opts)
				return obj, changed(err)
			},
		}
	}
}

// ignoringContext does not hear that a context is done.
func ignoringContext(b bucket.Bucket) bucket.Bucket {
	on := context.WithoutCancel
	return &driver{
		Bucket: b,
		head: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
			return b.Head(on(ctx), key, opts)
		},
		get: func(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
			return b.Get(on(ctx), key, opts)
		},
		put: func(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
			return b.Put(on(ctx), key, body, opts)
		},
		remove: func(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
			return b.Delete(on(ctx), key, opts)
		},
		list: func(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
			return b.List(on(ctx), opts)
		},
		versions: func(ctx context.Context, opts bucket.ListOptions) iter.Seq2[bucket.Object, error] {
			return b.ListVersions(on(ctx), opts)
		},
	}
}

// later is a reader that is opened when it is first read.
type later func() io.Reader

func (l *later) Read(p []byte) (int, error) {
	r := (*l)()
	*l = func() io.Reader { return r }
	return r.Read(p)
}

// What a client of a race may be told.
var (
	errRefused   = statelatch.ErrPreconditionFailed
	errUnknown   = statelatch.ErrAmbiguous
	errBusy      = statelatch.ErrConflict
	errForbidden = statelatch.ErrDenied
)

func refusalOf(kind error) error { return &statelatch.StoreError{Kind: kind} }
