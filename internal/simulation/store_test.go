package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// ref is the state that everybody fights for.
var ref = statelatch.Ref{Bucket: "bucket", Key: "terraform.tfstate"}

// register is a state as the oracles see it: a set of updates, in the order in which they were made.
type register struct {
	Serial  uint64 `json:"serial"`
	Lineage string `json:"lineage"`
	Outputs struct {
		Updates struct {
			Value []string `json:"value"`
		} `json:"updates"`
	} `json:"outputs"`
}

// parseRegister reads a state. Neither an absent one nor one of zero bytes has updates.
func parseRegister(body []byte) (r register, err error) {
	if len(body) > 0 {
		err = json.Unmarshal(body, &r)
	}
	return r, err
}

func (r register) updates() []string { return r.Outputs.Updates.Value }

func (r register) content() string { return strings.Join(r.updates(), " ") }

// with is the state that an engine would write after one more update.
func (r register) with(update, lineage string) []byte {
	if r.Lineage == "" {
		r.Lineage = lineage
	}
	value, _ := json.Marshal(append(slices.Clone(r.updates()), update))
	head, _ := json.Marshal(map[string]any{"lineage": r.Lineage, "serial": r.Serial + 1, "terraform_version": "1.11.0", "version": 4})
	return slices.Concat(head[:len(head)-1], []byte(`,"outputs":{"updates":{"type":["list","string"],"value":`), value, []byte("}}}\n"))
}

// wire is the bucket as one process reaches it.
type wire struct{ p *process }

var _ bucket.Bucket = wire{}

func (b wire) Name() string { return ref.Bucket }

func (b wire) Head(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, error) {
	return send(ctx, b.p, message{op: "head", key: key}, func() (bucket.Object, error) {
		return b.p.w.bucket.Head(context.Background(), key, opts)
	})
}

func (b wire) Get(ctx context.Context, key string, opts bucket.ReadOptions) (bucket.Object, io.ReadCloser, error) {
	type object struct {
		bucket.Object
		body []byte
	}
	got, err := send(ctx, b.p, message{op: "get", key: key}, func() (object, error) {
		obj, r, err := b.p.w.bucket.Get(context.Background(), key, opts)
		if err != nil {
			return object{}, err
		}
		body, err := io.ReadAll(r)
		return object{obj, body}, err
	})
	if err != nil {
		return bucket.Object{}, nil, err
	}
	return got.Object, io.NopCloser(bytes.NewReader(got.body)), nil
}

func (b wire) Put(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
	content, err := readWhole(body)
	if err != nil {
		return bucket.Object{}, err
	}
	m := message{op: "put", key: key, cond: opts.If, write: true}
	b.p.w.judgeSending(b.p, m)
	return send(ctx, b.p, m, func() (bucket.Object, error) {
		obj, err := b.p.w.bucket.Put(context.Background(), key, bytes.NewReader(content), opts)
		if err == nil {
			b.p.w.judgePut(key, content)
		}
		return obj, err
	})
}

func (b wire) Delete(ctx context.Context, key string, opts bucket.DeleteOptions) (bucket.Deleted, error) {
	m := message{op: "delete", key: key, cond: opts.If, write: true}
	b.p.w.judgeSending(b.p, m)
	return send(ctx, b.p, m, func() (bucket.Deleted, error) {
		deleted, err := b.p.w.bucket.Delete(context.Background(), key, opts)
		if err == nil {
			b.p.w.judgeDelete(b.p, key)
		}
		return deleted, err
	})
}

func (b wire) List(context.Context, bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	panic("simulation: neither protocol lists")
}

func (b wire) ListVersions(context.Context, bucket.ListOptions) iter.Seq2[bucket.Object, error] {
	panic("simulation: neither protocol lists")
}

func readWhole(body io.ReadSeeker) ([]byte, error) {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(body)
}
