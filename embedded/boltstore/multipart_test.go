package boltstore

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/statelatch/statelatch/s3/s3model"
)

// upload begins an upload of key "k" and returns its ID.
func upload(tb testing.TB, s *Store, req s3model.PutRequest) string {
	tb.Helper()
	req.Bucket, req.Key = "b", "k"
	id, _, err := s.CreateUpload(tb.Context(), req)
	if err != nil {
		tb.Fatalf("CreateUpload: %v", err)
	}
	return id
}

func putPart(tb testing.TB, s *Store, id string, number int, content []byte, sum s3model.Checksum) s3model.Part {
	tb.Helper()
	p, err := s.PutPart(tb.Context(), s3model.PartRequest{
		Bucket: "b", Key: "k", UploadID: id, Number: number, Finish: func() (s3model.Checksum, error) { return sum, nil },
	}, bytes.NewReader(content))
	if err != nil {
		tb.Fatalf("PutPart %d: %v", number, err)
	}
	return p
}

func complete(tb testing.TB, s *Store, id string, parts ...s3model.Part) (s3model.Object, error) {
	tb.Helper()
	return s.CompleteUpload(tb.Context(), s3model.CompleteRequest{Bucket: "b", Key: "k", UploadID: id, Parts: parts, Size: -1})
}

func TestStore_Multipart_ReadsAcrossParts(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]s3model.Encryption{"plain": {}, "SSE-S3": {SSES3: true}, "SSE-C": {CustomerKey: customerKey}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, clock := newStore(t, s3model.Enabled)
			started := clock.Now()
			id := upload(t, s, s3model.PutRequest{Encryption: e, Metadata: map[string]string{"content-type": "a/b"}, Tags: map[string]string{"t": "1"}})
			clock.Advance(1e9)
			sizes := []int{minPartSize, minPartSize + 12345, 1000}
			var whole []byte
			var parts []s3model.Part
			// Out of order, with numbers that leave gaps, one part replaced and one unused.
			for _, i := range []int{2, 0, 1} {
				req := s3model.PartRequest{Bucket: "b", Key: "k", UploadID: id, Number: 10 * (i + 1), Encryption: e}
				req.Encryption.SSES3 = false
				for _, content := range [][]byte{[]byte("replaced"), pattern(sizes[i], uint64(i))} {
					if _, err := s.PutPart(t.Context(), req, bytes.NewReader(content)); err != nil {
						t.Fatal(err)
					}
				}
				req.Number = 11 + i
				if _, err := s.PutPart(t.Context(), req, bytes.NewReader(pattern(100000, 7))); err != nil {
					t.Fatal(err)
				}
			}
			for i, n := range sizes {
				whole = append(whole, pattern(n, uint64(i))...)
			}
			up, all, err := s.ListParts(t.Context(), "b", "k", id)
			if err != nil || len(all) != 6 || !up.Started.Equal(started) || up.Encryption.SSES3 != e.SSES3 {
				t.Fatalf("ListParts: got %+v %+v, %v", up, all, err)
			}
			for i := range sizes {
				for _, p := range all {
					if p.Number == 10*(i+1) {
						parts = append(parts, p)
					}
				}
			}
			if len(parts) != 3 {
				t.Fatalf("parts: got %+v", all)
			}
			o, err := s.CompleteUpload(t.Context(), s3model.CompleteRequest{
				Bucket: "b", Key: "k", UploadID: id, Parts: parts, Encryption: s3model.Encryption{CustomerKey: e.CustomerKey}, Size: int64(len(whole)),
			})
			if err != nil {
				t.Fatalf("CompleteUpload: %v", err)
			}
			if !strings.HasSuffix(o.ETag, "-3") || len(o.ETag) != 34 || o.Size != int64(len(whole)) || o.Metadata["content-type"] != "a/b" ||
				o.TagCount != 1 || !o.LastModified.Equal(started) || fmt.Sprint(o.Parts) != fmt.Sprint(sizes) {
				t.Errorf("object: got %+v", o)
			}
			_, r, err := s.Get(t.Context(), s3model.ReadRequest{Bucket: "b", Key: "k", Encryption: s3model.Encryption{CustomerKey: e.CustomerKey}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(iotest.HalfReader(r))
			if err != nil || !bytes.Equal(got, whole) {
				t.Fatalf("read %d bytes, equal %t, %v", len(got), bytes.Equal(got, whole), err)
			}
			for _, from := range []int{0, sizes[0] - 5, sizes[0], sizes[0] + sizes[1] - 1, len(whole) - 1} {
				if _, err := r.Seek(int64(from), io.SeekStart); err != nil {
					t.Fatal(err)
				}
				piece := make([]byte, min(100000, len(whole)-from))
				if _, err := io.ReadFull(r, piece); err != nil || !bytes.Equal(piece, whole[from:from+len(piece)]) {
					t.Errorf("range from %d: wrong bytes, or %v", from, err)
				}
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if n, m := bodyFileCount(t, s), smallBodyCount(t, s); n != 2 || m != 1 {
				t.Errorf("got %d files and %d small bodies, want 2 and 1: unused parts must go", n, m)
			}
			again, err := complete(t, s, id, parts...)
			if err != nil || again.VersionID != o.VersionID || again.ETag != o.ETag || again.Encryption.SSES3 != o.Encryption.SSES3 {
				t.Errorf("completed again: got %+v, %v, want the same object", again, err)
			}
			if _, err := complete(t, s, id, parts[:1]...); code(err) != "NoSuchUpload" {
				t.Errorf("completed again with other parts: got %v, want NoSuchUpload", err)
			}
			newer := put(t, s, "k", "newer")
			if again, err := complete(t, s, id, parts...); err != nil || again.VersionID != o.VersionID || again.IsLatest {
				t.Errorf("completed again below a newer version: got %+v, %v, want the same object", again, err)
			}
			remove(t, s, "k", newer.VersionID)
			remove(t, s, "k", o.VersionID)
			if _, err := complete(t, s, id, parts...); code(err) != "NoSuchUpload" {
				t.Errorf("completed again when the version is gone: got %v, want NoSuchUpload", err)
			}
			if n, m := bodyFileCount(t, s), smallBodyCount(t, s); n != 0 || m != 0 {
				t.Errorf("after the delete: got %d files and %d small bodies, want none", n, m)
			}
		})
	}
}

func TestStore_Multipart_Refusals(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	ctx := t.Context()
	id := upload(t, s, s3model.PutRequest{})
	small := putPart(t, s, id, 1, []byte("small"), s3model.Checksum{Algorithm: "CRC32", Value: "AAAAAA=="})
	last := putPart(t, s, id, 2, []byte("last"), s3model.Checksum{})
	with := func(p s3model.Part, change func(*s3model.Part)) s3model.Part { change(&p); return p }
	for name, tt := range map[string]struct {
		parts []s3model.Part
		want  string
	}{
		"no parts":       {nil, "InvalidRequest"},
		"too small":      {[]s3model.Part{small, last}, "EntityTooSmall"},
		"wrong order":    {[]s3model.Part{last, small}, "InvalidPartOrder"},
		"twice":          {[]s3model.Part{last, last}, "InvalidPartOrder"},
		"not uploaded":   {[]s3model.Part{{Number: 3, ETag: last.ETag}}, "InvalidPart"},
		"wrong ETag":     {[]s3model.Part{with(last, func(p *s3model.Part) { p.ETag = small.ETag })}, "InvalidPart"},
		"wrong checksum": {[]s3model.Part{with(small, func(p *s3model.Part) { p.Checksum.Value = "BBBBBB==" })}, "InvalidPart"},
	} {
		if _, err := complete(t, s, id, tt.parts...); code(err) != tt.want {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
	_, err := s.CompleteUpload(ctx, s3model.CompleteRequest{Bucket: "b", Key: "k", UploadID: id, Parts: []s3model.Part{last}, Size: 3})
	if code(err) != "InvalidRequest" {
		t.Errorf("wrong total size: got %v", err)
	}
	for _, number := range []int{0, -1, 10001} {
		_, err := s.PutPart(ctx, s3model.PartRequest{Bucket: "b", Key: "k", UploadID: id, Number: number}, strings.NewReader(""))
		if code(err) != "InvalidArgument" {
			t.Errorf("part number %d: got %v, want InvalidArgument", number, err)
		}
	}
	for _, other := range []struct{ key, id string }{{"k", strings.Repeat("0", 32)}, {"other", id}, {"k", "x"}, {"k", ""}} {
		if _, err := s.PutPart(ctx, s3model.PartRequest{Bucket: "b", Key: other.key, UploadID: other.id, Number: 1}, strings.NewReader("")); code(err) != "NoSuchUpload" {
			t.Errorf("PutPart to %v: got %v", other, err)
		}
		if err := s.AbortUpload(ctx, "b", other.key, other.id); code(err) != "NoSuchUpload" {
			t.Errorf("AbortUpload of %v: got %v", other, err)
		}
		if _, _, err := s.ListParts(ctx, "b", other.key, other.id); code(err) != "NoSuchUpload" {
			t.Errorf("ListParts of %v: got %v", other, err)
		}
	}

	// The conditions are decided at the completion; a refused upload can still be completed.
	put(t, s, "k", "present")
	req := s3model.CompleteRequest{Bucket: "b", Key: "k", UploadID: id, Parts: []s3model.Part{last}, Size: -1, If: s3model.Condition{IfAbsent: true}}
	if _, err := s.CompleteUpload(ctx, req); code(err) != "PreconditionFailed" {
		t.Errorf("IfAbsent: got %v", err)
	}
	req.If = s3model.Condition{IfMatch: md5Hex([]byte("present"))}
	if o, err := s.CompleteUpload(ctx, req); err != nil || o.ETag == "" {
		t.Errorf("IfMatch: got %v", err)
	}
	if got := get(t, s, "k", ""); got != "last" {
		t.Errorf("got %q, want last", got)
	}
}

func TestStore_Multipart_CustomerKey(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	id := upload(t, s, s3model.PutRequest{Encryption: s3model.Encryption{CustomerKey: customerKey}})
	for want, e := range map[string]s3model.Encryption{"OK": {CustomerKey: customerKey}, "InvalidRequest": {}, "AccessDenied": {CustomerKey: otherKey}} {
		_, err := s.PutPart(t.Context(), s3model.PartRequest{Bucket: "b", Key: "k", UploadID: id, Number: 1, Encryption: e}, strings.NewReader("x"))
		if code(err) != want {
			t.Errorf("PutPart: got %v, want %s", err, want)
		}
	}
	_, parts, err := s.ListParts(t.Context(), "b", "k", id)
	if err != nil {
		t.Fatal(err)
	}
	req := s3model.CompleteRequest{Bucket: "b", Key: "k", UploadID: id, Parts: parts, Size: -1, Encryption: s3model.Encryption{CustomerKey: otherKey}}
	if _, err := s.CompleteUpload(t.Context(), req); code(err) != "AccessDenied" {
		t.Errorf("completed with another key: got %v", err)
	}
	req.Encryption = s3model.Encryption{}
	if _, err := s.CompleteUpload(t.Context(), req); err != nil {
		t.Errorf("completed without a key: got %v, want nil as on S3", err)
	}
	if got := read(t, s, s3model.ReadRequest{Bucket: "b", Key: "k", Encryption: s3model.Encryption{CustomerKey: customerKey}}); got != "x" {
		t.Errorf("got %q", got)
	}
}

func TestStore_Uploads_ListAndAbort(t *testing.T) {
	t.Parallel()
	s, clock := newStore(t, s3model.Unversioned)
	var ids []string
	for _, key := range []string{"b/2", "a", "b/1", "b/1"} {
		id, _, err := s.CreateUpload(t.Context(), s3model.PutRequest{Bucket: "b", Key: key, ChecksumAlgorithm: "crc64nvme"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		clock.Advance(1e9)
	}
	all, err := s.ListUploads(t.Context(), "b", "b/")
	if err != nil || len(all) != 3 || all[0].ID != ids[2] || all[1].ID != ids[3] || all[2].ID != ids[0] {
		t.Errorf("ListUploads: got %+v, %v", all, err)
	}
	if all[0].ChecksumType != fullObject {
		t.Errorf("default checksum type of CRC64NVME: got %q", all[0].ChecksumType)
	}
	_, err = s.PutPart(t.Context(), s3model.PartRequest{Bucket: "b", Key: "a", UploadID: ids[1], Number: 1}, bytes.NewReader(pattern(100000, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AbortUpload(t.Context(), "b", "a", ids[1]); err != nil {
		t.Fatal(err)
	}
	if n := bodyFileCount(t, s); n != 0 {
		t.Errorf("got %d files after the abort, want 0", n)
	}
	if _, _, err := s.ListParts(t.Context(), "b", "a", ids[1]); code(err) != "NoSuchUpload" {
		t.Errorf("ListParts of an aborted upload: got %v", err)
	}
}

// A part that arrives between the abort of its upload and its commit must not stay.
func TestStore_PutPart_UploadAbortedMeanwhile(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	id := upload(t, s, s3model.PutRequest{})
	_, err := s.PutPart(t.Context(), s3model.PartRequest{Bucket: "b", Key: "k", UploadID: id, Number: 1, Finish: func() (s3model.Checksum, error) {
		return s3model.Checksum{}, s.AbortUpload(t.Context(), "b", "k", id)
	}}, bytes.NewReader(pattern(100000, 1)))
	if code(err) != "NoSuchUpload" {
		t.Errorf("PutPart: got %v, want NoSuchUpload", err)
	}
	if n := bodyFileCount(t, s); n != 0 {
		t.Errorf("got %d files, want 0", n)
	}
}

// A part may be replaced between the look at the parts and the commit, even by one with the
// same content: the body that was looked at is gone then.
func TestStore_CompleteUpload_PartReplacedMeanwhile(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	large := strings.Repeat("x", maxInline+1)
	for name, c := range map[string][2]string{
		"same small": {"x", "x"}, "same large": {large, large}, "other": {"x", "y"},
	} {
		first, second := c[0], c[1]
		id := upload(t, s, s3model.PutRequest{})
		p := putPart(t, s, id, 1, []byte(first), s3model.Checksum{})
		req := s3model.CompleteRequest{Bucket: "b", Key: "k", UploadID: id, Parts: []s3model.Part{p}, Size: -1}
		var a *assembly
		unused := func(txn *txn) error {
			_, _, err := a.unused(txn, id)
			return err
		}
		err := s.view(func(txn *txn) (err error) {
			if a, err = s.assemble(txn, req); err != nil {
				return err
			}
			return unused(txn)
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		putPart(t, s, id, 1, []byte(second), s3model.Checksum{})
		if err := s.view(unused); !errors.Is(err, error(errPartsChanged)) {
			t.Errorf("%s: got %v, want errPartsChanged", name, err)
		}
		if _, err := s.CompleteUpload(t.Context(), req); (err == nil) != (second == first) {
			t.Errorf("%s: CompleteUpload: got %v", name, err)
		}
	}
}

func TestAlgorithm_Combine_EqualsWhole(t *testing.T) {
	t.Parallel()
	content := pattern(100000, 1)
	cuts := []int{0, 1, 1, 777, 65536, 99999, 100000}
	for _, a := range algorithms {
		if a.width == 0 {
			continue
		}
		var sums [][]byte
		var sizes []int64
		from := 0
		for _, to := range cuts {
			h := a.new()
			h.Write(content[from:to])
			sums, sizes = append(sums, h.Sum(nil)), append(sizes, int64(to-from))
			from = to
		}
		h := a.new()
		h.Write(content)
		if got, want := a.combine(sums, sizes), h.Sum(nil); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", a.name, got, want)
		}
	}
	// Check values of the catalogue of CRC algorithms.
	for name, want := range map[string]string{"CRC32": "cbf43926", "CRC32C": "e3069283", "CRC64NVME": "ae8b14860a799888"} {
		a, err := findAlgorithm(name)
		if err != nil {
			t.Fatal(err)
		}
		h := a.new()
		_, _ = io.WriteString(h, "123456789")
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != want {
			t.Errorf("%s of 123456789: got %s, want %s", name, got, want)
		}
	}
}

func TestStore_Multipart_Checksums(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Unversioned)
	contents := [][]byte{pattern(minPartSize, 1), pattern(1234, 2)}
	b64 := func(h hash.Hash, pieces ...[]byte) string {
		for _, p := range pieces {
			h.Write(p)
		}
		return base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	for _, a := range algorithms {
		for _, kind := range []string{fullObject, composite} {
			for _, partSums := range []bool{true, false} { // without, the parts are read again
				if !partSums && a.name != "CRC32" && a.name != "SHA256" {
					continue // one of each sort is enough
				}
				t.Run(fmt.Sprintf("%s/%s/%t", a.name, kind, partSums), func(t *testing.T) {
					key := strings.ReplaceAll(t.Name(), "/", "-")
					id, _, err := s.CreateUpload(t.Context(), s3model.PutRequest{
						Bucket: "b", Key: key, ChecksumAlgorithm: a.name, ChecksumType: kind, Encryption: s3model.Encryption{SSES3: true},
					})
					if err != nil {
						t.Fatal(err)
					}
					var parts []s3model.Part
					composed := a.new()
					for i, c := range contents {
						var sum s3model.Checksum
						if partSums {
							sum = s3model.Checksum{Algorithm: a.name, Value: b64(a.new(), c), Type: fullObject}
						}
						p, err := s.PutPart(t.Context(), s3model.PartRequest{
							Bucket: "b", Key: key, UploadID: id, Number: i + 1, Finish: func() (s3model.Checksum, error) { return sum, nil },
						}, bytes.NewReader(c))
						if err != nil {
							t.Fatal(err)
						}
						parts = append(parts, s3model.Part{Number: p.Number, ETag: p.ETag, Checksum: s3model.Checksum{Algorithm: sum.Algorithm, Value: sum.Value}})
						h := a.new()
						h.Write(c)
						composed.Write(h.Sum(nil))
					}
					want := b64(a.new(), contents...)
					if kind == composite {
						want = b64(composed) + "-2"
					}
					req := s3model.CompleteRequest{Bucket: "b", Key: key, UploadID: id, Parts: parts, Size: -1}
					req.Checksum = s3model.Checksum{Algorithm: a.name, Value: b64(a.new(), []byte("x")), Type: kind}
					if _, err := s.CompleteUpload(t.Context(), req); code(err) != "BadDigest" {
						t.Errorf("wrong checksum: got %v, want BadDigest", err)
					}
					other := "CRC32"
					if a.name == other {
						other = "SHA1"
					}
					req.Checksum = s3model.Checksum{Algorithm: other, Value: want}
					if _, err := s.CompleteUpload(t.Context(), req); code(err) != "InvalidRequest" {
						t.Errorf("another algorithm: got %v, want InvalidRequest", err)
					}
					req.Checksum = s3model.Checksum{Algorithm: a.name, Value: want, Type: kind}
					o, err := s.CompleteUpload(t.Context(), req)
					if err != nil || o.Checksum != req.Checksum {
						t.Errorf("got %+v, %v, want %+v", o.Checksum, err, req.Checksum)
					}
				})
			}
		}
	}
	if _, _, err := s.CreateUpload(t.Context(), s3model.PutRequest{Bucket: "b", Key: "k", ChecksumAlgorithm: "MD2"}); code(err) != "InvalidRequest" {
		t.Errorf("unknown algorithm: got %v", err)
	}
}
