package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

// altering stores other bytes than it was sent, and says so, as a driver does.
type altering struct {
	bucket.Bucket
	puts int
}

func (a *altering) Put(ctx context.Context, key string, body io.ReadSeeker, opts bucket.PutOptions) (bucket.Object, error) {
	a.puts++
	data, err := io.ReadAll(body)
	if err != nil {
		return bucket.Object{}, err
	}
	if _, err := a.Bucket.Put(ctx, key, bytes.NewReader(append(data, ' ')), opts); err != nil {
		return bucket.Object{}, err
	}
	return bucket.Object{}, &statelatch.StoreError{Kind: statelatch.ErrAmbiguous, Op: "put", Bucket: a.Name(), Key: key, Err: statelatch.ErrAltered}
}

// An event that was damaged on its way is not taken for somebody else's, after which another one would be damaged.
func TestBucketLog_Append_Altered(t *testing.T) {
	t.Parallel()
	b := &altering{Bucket: membucket.New("b", membucket.Options{})}
	l, err := NewBucketLog(b, "audit")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), Event{Action: Run, Outcome: Released}); !errors.Is(err, statelatch.ErrAltered) {
		t.Errorf("got %v, want ErrAltered", err)
	}
	if b.puts != 1 {
		t.Errorf("%d writes, want one", b.puts)
	}
}
