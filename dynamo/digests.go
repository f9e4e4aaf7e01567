package dynamo

import (
	"context"
	"iter"
	"strings"

	"github.com/statelatch/statelatch"
)

// DigestKeys yields the key of the state that each digest item of a bucket is for, in no order. It is a scan; see
// [Table.LockIDs].
func (t *Table) DigestKeys(ctx context.Context, bucket string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		prefix := bucket + "/"
		for id, err := range t.LockIDs(ctx, prefix) {
			if err != nil {
				yield("", err)
				return
			}
			if key, ok := strings.CutSuffix(strings.TrimPrefix(id, prefix), statelatch.DigestIDSuffix); ok && key != "" &&
				!yield(key, nil) {
				return
			}
		}
	}
}
