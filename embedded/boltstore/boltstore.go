// Package boltstore keeps the buckets and objects of the embedded S3 endpoint in a
// directory: one bbolt database for metadata and bodies up to 64 KiB, and a file of
// its own for every larger body.
//
// What it guarantees:
//
//   - A write that returned nil is durable. A large body is written and synced, then
//     its directory is synced, and only then does a transaction name it; the answer
//     waits for the sync of that transaction. Waiting writes share one transaction.
//   - A write that returned an error changed nothing, with one exception: if the disk
//     fails while the last page of a transaction is synced, nobody can know what
//     survives. The store then refuses every further write until it is opened again.
//   - Every condition is decided inside the transaction that acts on it, before that
//     transaction's first change on behalf of the request.
//   - A body is delivered whole or its reader fails; encrypted bodies are
//     authenticated, others are checked for their size.
//   - Nothing that was deleted can be read from the database without the key file: all of it is sealed,
//     but for names. Bodies above 64 KiB are encrypted only where S3 says so; their files are removed.
//   - Memory does not grow with the size of a body.
//
// What it does not: it serves one process per directory, it does not repair a
// damaged disk, and the bytes of an unencrypted body are not checked against their
// MD5 on every read.
package boltstore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/s3/s3model"
)

var _ s3model.Store = (*Store)(nil)

// Config says where the store is and what it uses. Only Dir is required.
type Config struct {
	// Dir is the data directory. It is created with mode 0700 if absent.
	Dir string
	// Clock tells the time that objects are stamped with and that lifecycle rules
	// compare with. Nil means time.Now.
	Clock func() time.Time
	// Logger receives what an operator should know: damage, leftovers, expiries.
	// Nil discards it. No key and no body is ever logged.
	Logger *slog.Logger
	// LifecycleInterval is the time between two applications of the lifecycle rules,
	// the first of which follows Open at once. Zero means one hour; a negative value
	// leaves it to explicit calls of [Store.Sweep].
	LifecycleInterval time.Duration

	// disk is nil outside of tests.
	disk disk
	// worthwhile is how many free bytes of the database are worth its compaction; zero means 64 MiB.
	worthwhile int64
}

// Store is an s3model.Store in a directory. Use [Open] to get one.
type Store struct {
	dir   string
	clock func() time.Time
	log   *slog.Logger
	disk  disk
	lock  *os.File // of the directory
	db    *bbolt.DB
	list  listing // of the free pages of db
	// worthwhile is that of Config, or its default.
	worthwhile int64
	masterKey  []byte
	box        *box
	files      *bodyFiles
	rows       rowCache

	queue     chan *update
	closeMu   sync.RWMutex // held for reading while something is put into queue
	closed    bool
	committed sync.WaitGroup        // the committer
	broken    atomic.Pointer[error] // why no write is accepted any more

	writes atomic.Int64 // that somebody waited for, which sweeps heed
	rest   func(ctx context.Context, d time.Duration)

	sweepMu   sync.Mutex
	stopSweep context.CancelFunc
	swept     sync.WaitGroup // the background sweeper
}

// Close waits for the writes that were accepted, stops the background work and
// releases the directory. Readers that are open stay valid. A second call does nothing.
func (s *Store) Close() error {
	s.stopSweep()
	s.closeMu.Lock()
	if s.closed {
		s.closeMu.Unlock()
		return nil
	}
	s.closed = true
	close(s.queue)
	s.closeMu.Unlock()
	s.committed.Wait()
	s.swept.Wait()
	s.listFree()
	if err := s.closeFiles(); err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// closeFiles releases the directory.
func (s *Store) closeFiles() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	if s.lock != nil {
		err = cmp.Or(err, s.lock.Close())
	}
	return err
}

// now is the time in UTC, without the monotonic reading, which is never stored.
func (s *Store) now() time.Time { return s.clock().UTC().Round(0) }

// runSweeps applies the lifecycle rules until ctx ends.
func (s *Store) runSweeps(ctx context.Context, interval time.Duration) {
	defer s.swept.Done()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("lifecycle rules were not applied to the end", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
