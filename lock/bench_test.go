package lock_test

import (
	"testing"

	"github.com/statelatch/statelatch/bucket/membucket"
	"github.com/statelatch/statelatch/lock"
)

func BenchmarkAcquireRelease(b *testing.B) {
	for name, req := range map[string]lock.Request{"plain": request(), "leased": leased(minute)} {
		b.Run(name, func(b *testing.B) {
			m := &lock.Manager{Bucket: membucket.New("b", membucket.Options{}), Tier: lock.TierFull}
			for b.Loop() {
				tenure, err := m.Acquire(b.Context(), ref, req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := tenure.Release(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
