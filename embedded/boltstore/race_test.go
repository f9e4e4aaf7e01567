package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	racers     = 64
	raceRounds = 15
)

// race lets all racers go at once and counts those that were not refused. A refusal must
// be one of those given.
func race(t *testing.T, refusals string, op func(i int) error) (winners int) {
	t.Helper()
	var won atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		wg.Go(func() {
			<-start
			err := op(i)
			if err == nil {
				won.Add(1)
			} else if !strings.Contains(refusals, code(err)) {
				t.Errorf("loser %d: got %v, want one of %s", i, err, refusals)
			}
		})
	}
	close(start)
	wg.Wait()
	return int(won.Load())
}

func TestStore_Races_OneWinner(t *testing.T) {
	t.Parallel()
	for _, v := range []s3model.Versioning{s3model.Unversioned, s3model.Enabled, s3model.Suspended} {
		t.Run("versioning="+string(v), func(t *testing.T) {
			t.Parallel()
			s, _ := newStore(t, v)
			ctx := t.Context()
			head := func() (s3model.Object, error) {
				return s.Head(ctx, s3model.ReadRequest{Bucket: "b", Key: "k"})
			}
			replace := func(i int, c s3model.Condition) error {
				_, err := s.Put(ctx, s3model.PutRequest{Bucket: "b", Key: "k", If: c}, strings.NewReader(fmt.Sprintf("%d of %d", i, racers)))
				return err
			}
			del := func(c s3model.Condition) error {
				_, err := s.Delete(ctx, s3model.DeleteRequest{Bucket: "b", Key: "k", If: c})
				return err
			}
			for round := range raceRounds {
				if n := race(t, "PreconditionFailed", func(i int) error { return replace(i, s3model.Condition{IfAbsent: true}) }); n != 1 {
					t.Fatalf("round %d: %d creators won", round, n)
				}
				o, err := head()
				if err != nil {
					t.Fatal(err)
				}
				if n := race(t, "PreconditionFailed", func(i int) error { return replace(racers+i, s3model.Condition{IfMatch: o.ETag}) }); n != 1 {
					t.Fatalf("round %d: %d replacers won", round, n)
				}
				if o, err = head(); err != nil {
					t.Fatal(err)
				}
				n := race(t, "PreconditionFailed NoSuchKey", func(i int) error {
					if i%2 == 0 {
						return del(s3model.Condition{IfMatch: o.ETag})
					}
					return replace(2*racers+i, s3model.Condition{IfMatch: o.ETag})
				})
				if n != 1 {
					t.Fatalf("round %d: %d won replace against delete", round, n)
				}
				if o, err = head(); err == nil {
					if n := race(t, "PreconditionFailed NoSuchKey", func(int) error { return del(s3model.Condition{IfMatch: o.ETag}) }); n != 1 {
						t.Fatalf("round %d: %d deleters won", round, n)
					}
				}
				if _, err := head(); code(err) != "NoSuchKey" {
					t.Fatalf("round %d: the key is still there: %v", round, err)
				}
			}
		})
	}
}

func TestStore_Races_CompleteUpload(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled)
	for round := range 3 {
		key := fmt.Sprint(round)
		ids := make([]string, racers)
		parts := make([]s3model.Part, racers)
		for i := range ids {
			id, _, err := s.CreateUpload(t.Context(), s3model.PutRequest{Bucket: "b", Key: key})
			if err != nil {
				t.Fatal(err)
			}
			ids[i] = id
			parts[i], err = s.PutPart(t.Context(), s3model.PartRequest{Bucket: "b", Key: key, UploadID: id, Number: 1}, strings.NewReader("part"))
			if err != nil {
				t.Fatal(err)
			}
		}
		n := race(t, "PreconditionFailed", func(i int) error {
			_, err := s.CompleteUpload(t.Context(), s3model.CompleteRequest{
				Bucket: "b", Key: key, UploadID: ids[i], Parts: parts[i : i+1], Size: -1, If: s3model.Condition{IfAbsent: true},
			})
			return err
		})
		if n != 1 {
			t.Fatalf("round %d: %d completions won", round, n)
		}
	}
}

// Readers see a whole version or none, while writers replace, delete and sweep it, with
// bodies in files and in the database.
func TestStore_Races_NoTornRead(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	var whole atomic.Int64
	for range 8 {
		readers.Go(func() {
			for ctx.Err() == nil {
				o, r, err := s.Get(context.WithoutCancel(ctx), s3model.ReadRequest{Bucket: "b", Key: "k"})
				if errors.Is(err, s3model.ErrNoSuchKey) {
					continue
				}
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				content, err := io.ReadAll(r)
				if err != nil || md5Hex(content) != o.ETag || int64(len(content)) != o.Size {
					t.Errorf("read %d bytes with MD5 %s of %+v: %v", len(content), md5Hex(content), o, err)
				}
				_ = r.Close()
				whole.Add(1)
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			for i := range 25 {
				size := 50000 + 10000*((w+i)%5) // on both sides of maxInline
				req := s3model.PutRequest{Bucket: "b", Key: "k", Encryption: s3model.Encryption{SSES3: i%2 == 0}}
				if _, err := s.Put(t.Context(), req, bytes.NewReader(pattern(size, uint64(w*1000+i)))); err != nil {
					t.Errorf("Put: %v", err)
				}
				if i%8 == 7 {
					remove(t, s, "k", "")
				}
			}
		})
	}
	writers.Wait()
	put(t, s, "k", "end")
	cancel()
	readers.Wait()
	if whole.Load() == 0 {
		t.Error("nothing was read")
	}
	if n := bodyFileCount(t, s); n != 0 {
		t.Errorf("%d body files are left", n)
	}
}
