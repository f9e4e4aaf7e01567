package boltstore

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/minio/sio"

	"github.com/statelatch/statelatch/s3/s3model"
)

// maxInline is the largest body kept in the database, in bytes. Above it a file and its
// two syncs cost less than copying the body through the database's pages.
const maxInline = 64 << 10

var bufferPool = sync.Pool{New: func() any {
	b := make([]byte, maxInline+1)
	return &b
}}

// sealedPool has buffers for small bodies on their way into the database, of any capacity.
var sealedPool = sync.Pool{New: func() any { return new([]byte) }}

// stage is a body that was written but that nothing names yet.
type stage struct {
	body body    // without Inline, which the transaction gives
	data *[]byte // of a small body that is not empty, encrypted; of sealedPool
	md5  [16]byte
}

// writeBody stores what r delivers where nothing names it yet: up to maxInline bytes in
// memory, more in a file that is durable when it returns. secret is nil for plain
// text. finish, which may be nil, is called at the end of r; its error and those of r
// are returned as they are, and leave nothing behind.
func (s *Store) writeBody(
	ctx context.Context, r io.Reader, secret []byte, bind binding, finish func() (s3model.Checksum, error),
) (*stage, s3model.Checksum, error) {
	var none s3model.Checksum
	g := &stage{body: body{Part: bind.part}}
	var key []byte
	if secret != nil {
		g.body.Salt = randomBytes(saltSize)
		var err error
		if key, err = bodyKey(secret, g.body.Salt, bind); err != nil {
			return nil, none, failure(err)
		}
	}
	if finish == nil {
		finish = func() (s3model.Checksum, error) { return none, nil }
	}

	pooled := bufferPool.Get().(*[]byte)
	defer bufferPool.Put(pooled)
	buf := *pooled
	n, _, err := fill(ctx, r, buf)
	if err != nil {
		return nil, none, err
	}
	if n > maxInline {
		return s.writeFile(ctx, g, r, buf, key, finish)
	}
	sum, err := finish()
	if err != nil {
		return nil, none, err
	}
	if key == nil && n > 0 { // what is in the database is never in the clear
		g.body.Salt = randomBytes(saltSize)
		if key, err = bodyKey(s.masterKey, g.body.Salt, bind); err != nil {
			return nil, none, failure(err)
		}
	}
	g.body.Size = int64(n)
	g.md5 = md5.Sum(buf[:n])
	if n == 0 {
		return g, sum, nil
	}
	g.data = sealedPool.Get().(*[]byte)
	if *g.data, err = sealPackage((*g.data)[:0], buf[:n], key); err != nil {
		return nil, none, failure(fmt.Errorf("encrypt body: %w", err))
	}
	return g, sum, nil
}

// fill reads until buf is full or r ends. Unlike io.ReadFull it keeps the
// io.ErrUnexpectedEOF of a body that broke off apart from the end of a short one.
func fill(ctx context.Context, r io.Reader, buf []byte) (n int, end bool, err error) {
	for n < len(buf) {
		if err := ctx.Err(); err != nil {
			return n, false, err
		}
		m, err := r.Read(buf[n:])
		n += m
		if err == io.EOF { // exactly: a wrapped one is a failure, not the end
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// writeFile streams a body of which buf is the beginning into a file.
func (s *Store) writeFile(
	ctx context.Context, g *stage, r io.Reader, buf, key []byte, finish func() (s3model.Checksum, error),
) (_ *stage, sum s3model.Checksum, err error) {
	file, name, err := s.files.create()
	if err != nil {
		return nil, sum, failure(err)
	}
	defer func() {
		if err != nil {
			_ = file.Close() // closed already if the sync failed
			s.files.remove(name)
		}
	}()
	var out io.Writer = fileWriter{disk: s.disk, file: file}
	end := func() error { return nil }
	if key != nil {
		sealed, err := sio.EncryptWriter(out, cipherConfig(key, 0))
		if err != nil {
			return nil, sum, failure(fmt.Errorf("encrypt body: %w", err))
		}
		out, end = sealed, sealed.Close
	}
	hash := md5.New()
	for n, last := len(buf), false; n > 0; {
		hash.Write(buf[:n])
		if _, err := out.Write(buf[:n]); err != nil {
			return nil, sum, failure(fmt.Errorf("write body file: %w", err))
		}
		g.body.Size += int64(n)
		if last {
			break
		}
		if n, last, err = fill(ctx, r, buf); err != nil {
			return nil, sum, err
		}
	}
	if sum, err = finish(); err != nil {
		return nil, sum, err
	}
	if err := end(); err != nil {
		return nil, sum, failure(fmt.Errorf("write body file: %w", err))
	}
	if err := s.files.finish(file); err != nil {
		return nil, sum, failure(err)
	}
	hash.Sum(g.md5[:0])
	g.body.File = name
	return g, sum, nil
}

// fileWriter writes to a body file. It has no Close, which a cipher would call; only finish may close the file.
type fileWriter struct {
	disk disk
	file *os.File
}

func (w fileWriter) Write(p []byte) (int, error) { return w.disk.write(w.file, p) }

// attach makes the body part of the transaction.
func (g *stage) attach(t *txn, bucket, key string) (body, error) {
	b := g.body
	if b.File != "" {
		return b, t.putRaw(fileTable, []byte(b.File), join(bucket, key))
	}
	if g.data == nil {
		return b, nil
	}
	n, err := t.Bucket(bodyTable).NextSequence()
	if err != nil {
		return b, fmt.Errorf("number body: %w", err)
	}
	b.Inline = n
	return b, t.putRaw(bodyTable, number(n), *g.data)
}

// committed gives back what no transaction needs any more.
func (g *stage) committed() {
	if g.data != nil {
		sealedPool.Put(g.data)
		g.data = nil
	}
}

// abandon removes what was written after the transaction failed with err. With an
// unknown outcome the body stays: the next open knows whether it is named.
func (s *Store) abandon(g *stage, err error) {
	if g.body.File != "" && !errors.Is(err, errUnknown) {
		s.files.remove(g.body.File)
	}
}
