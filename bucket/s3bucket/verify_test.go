package s3bucket

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// alteredBody is testBody with one byte changed.
const alteredBody = `{"version":5}`

func b64(sum []byte) string { return base64.StdEncoding.EncodeToString(sum) }

// md5ETag is what S3 says of a body that it stores as it is.
func md5ETag(body string) string {
	sum := md5.Sum([]byte(body))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func sha256Of(body string) string {
	sum := sha256.Sum256([]byte(body))
	return b64(sum[:])
}

// claims are headers that say what testBody is, each in its way.
func claims() map[string]map[string]string {
	one := sha1.Sum([]byte(testBody))
	nvme := crc64.New(crc64.MakeTable(nvmePolynomial))
	castagnoli := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	ieee := crc32.NewIEEE()
	for _, h := range []io.Writer{nvme, castagnoli, ieee} {
		_, _ = io.WriteString(h, testBody)
	}
	return map[string]map[string]string{
		"MD5":                       {"ETag": md5ETag(testBody)},
		"MD5, the store encrypts":   {"ETag": md5ETag(testBody), "X-Amz-Server-Side-Encryption": "AES256"},
		"MD5 beside a composite":    {"ETag": md5ETag(testBody), "X-Amz-Checksum-Crc32": b64(ieee.Sum(nil)) + "-1"},
		"MD5 beside an unknown one": {"ETag": md5ETag(testBody), "X-Amz-Checksum-Xxhash64": "AAAAAAAAAAA="},
		"SHA256":                    {"ETag": `"x"`, "X-Amz-Checksum-Sha256": sha256Of(testBody), "X-Amz-Server-Side-Encryption": "aws:kms"},
		"SHA1":                      {"ETag": `"x"`, "X-Amz-Checksum-Sha1": b64(one[:])},
		"CRC64NVME of parts": {
			"ETag": `"0123456789abcdef0123456789abcdef-2"`, "X-Amz-Checksum-Crc64nvme": b64(nvme.Sum(nil)), "X-Amz-Checksum-Type": "FULL_OBJECT",
		},
		"CRC32C": {"ETag": `"x"`, "X-Amz-Checksum-Crc32c": b64(castagnoli.Sum(nil))},
		"CRC32":  {"ETag": `"x"`, "X-Amz-Checksum-Crc32": b64(ieee.Sum(nil))},
	}
}

// No reader may take bytes that were changed on the way for the object's, however it reads them.
func TestBucket_Get_Altered(t *testing.T) {
	t.Parallel()
	readers := map[string]func(r io.Reader, size int64) ([]byte, error){
		"all": func(r io.Reader, _ int64) ([]byte, error) { return io.ReadAll(r) },
		"by its size": func(r io.Reader, size int64) ([]byte, error) {
			data := make([]byte, size)
			n, err := io.ReadFull(r, data)
			return data[:n], err
		},
		"no more than its size": func(r io.Reader, size int64) ([]byte, error) { return io.ReadAll(io.LimitReader(r, size)) },
		"byte by byte": func(r io.Reader, _ int64) (data []byte, err error) {
			for one := make([]byte, 1); err == nil; {
				var n int
				n, err = r.Read(one)
				data = append(data, one[:n]...)
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return data, err
		},
	}
	for claim, header := range claims() {
		for how, read := range readers {
			for framing, chunked := range map[string]bool{"length": false, "chunks": true} {
				if chunked && strings.Contains(how, "size") {
					continue
				}
				for sent, want := range map[string]error{testBody: nil, alteredBody: statelatch.ErrAltered} {
					handler := answer(http.StatusOK, header, sent)
					if chunked {
						handler = chunks(header, sent)
					}
					s := newStore(t, handler)
					obj, body, err := open(t, s.config()).Get(t.Context(), testKey, bucket.ReadOptions{})
					if err != nil {
						t.Fatal(err)
					}
					data, err := read(body, obj.Size)
					_ = body.Close()
					if !errors.Is(err, want) || want != nil && !errors.Is(err, statelatch.ErrBroken) {
						t.Errorf("%s, read %s, with %s: got %q, %v, want %v", claim, how, framing, data, err, want)
					}
					if want != nil && len(data) == len(alteredBody) {
						t.Errorf("%s, read %s, with %s: all the wrong bytes were handed out", claim, how, framing)
					}
				}
			}
		}
	}
}

// chunks sends a body without its length.
func chunks(header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, body)
	}
}

// What says nothing about the whole is not held against it.
func TestBucket_Get_NothingToCompare(t *testing.T) {
	t.Parallel()
	other := md5ETag("other")
	for name, header := range map[string]map[string]string{
		"opaque ETag":         {"ETag": `"e1"`},
		"parts":               {"ETag": `"0123456789abcdef0123456789abcdef-2"`},
		"KMS":                 {"ETag": other, "X-Amz-Server-Side-Encryption": "aws:kms"},
		"KMS twice":           {"ETag": other, "X-Amz-Server-Side-Encryption": "aws:kms:dsse"},
		"customer's key":      {"ETag": other, "X-Amz-Server-Side-Encryption-Customer-Algorithm": "AES256"},
		"IBM's key":           {"ETag": other, "Ibm-Sse-Kp-Enabled": "true"},
		"Google's key":        {"ETag": other, "X-Goog-Encryption-Kms-Key-Name": "projects/p"},
		"Huawei's key":        {"ETag": other, "X-Obs-Server-Side-Encryption": "kms"},
		"composite by suffix": {"ETag": `"e1"`, "X-Amz-Checksum-Sha256": sha256Of("other") + "-2"},
		"composite by type":   {"ETag": `"e1"`, "X-Amz-Checksum-Sha256": sha256Of("other"), "X-Amz-Checksum-Type": "COMPOSITE"},
		"not base64":          {"ETag": `"e1"`, "X-Amz-Checksum-Sha256": "none"},
	} {
		s := newStore(t, answer(http.StatusOK, header, testBody))
		b := open(t, s.config())
		_, data, err := bucket.ReadAll(t.Context(), b, testKey, 1<<10)
		if err != nil || string(data) != testBody {
			t.Errorf("%s: got %q, %v, want the body", name, data, err)
		}
	}
	if sum := (&Bucket{name: "bkt--euc1-az1--x-s3"}).md5Of(nil, other); sum != nil {
		t.Errorf("the ETag of a directory bucket is taken for the MD5 %x", sum)
	}
}

// The whole checksum is asked for, and nothing else that would change the bytes; a store that refuses to be asked (B24,
// as Backblaze B2 does) is read without, and not asked again.
func TestBucket_Get_B24_ChecksumMode(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusOK, map[string]string{"ETag": `"e1"`}, testBody))
	read := func(b *Bucket) {
		t.Helper()
		if _, _, err := bucket.ReadAll(t.Context(), b, testKey, 1<<10); err != nil {
			t.Fatal(err)
		}
	}
	read(open(t, s.config()))
	checkHeaders(t, s.only(t).header, map[string]string{"X-Amz-Checksum-Mode": "ENABLED", "Range": "", "Accept-Encoding": "identity"})

	skipping := s.config()
	skipping.SkipS3Checksum = true
	read(open(t, skipping))
	checkHeaders(t, s.requests()[1].header, map[string]string{"X-Amz-Checksum-Mode": ""})

	for code, status := range map[string]int{"InvalidArgument": http.StatusBadRequest, "NotImplemented": http.StatusNotImplemented} {
		refusing := newStore(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Amz-Checksum-Mode") != "" {
				answer(status, nil, s3Error(code, "Unsupported header 'x-amz-checksum-mode' received for this API call."))(w, r)
				return
			}
			answer(http.StatusOK, map[string]string{"ETag": `"e1"`}, testBody)(w, r)
		})
		b := open(t, refusing.config())
		read(b)
		read(b)
		if n := len(refusing.requests()); n != 3 {
			t.Errorf("%s: %d requests for two reads, want one more", code, n)
		}
	}
}

// A part of an object is not the object.
func TestBucket_Get_UnaskedRange(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusPartialContent, map[string]string{"ETag": `"e1"`, "Content-Range": "bytes 0-12/99"}, testBody))
	_, _, err := bucket.ReadAll(t.Context(), open(t, s.config()), testKey, 1<<10)
	if !errors.Is(err, statelatch.ErrBroken) {
		t.Errorf("got %v, want ErrBroken", err)
	}
}

// The first bytes are what was asked for, whatever a store makes of ranges. They are compared with what the store says
// of the whole only if they are the whole.
func TestBucket_Get_First(t *testing.T) {
	t.Parallel()
	const whole = testBody + testBody
	header := map[string]string{"ETag": md5ETag(whole)}
	with := func(contentRange string) map[string]string {
		return map[string]string{"ETag": header["ETag"], "Content-Range": contentRange}
	}
	n := int64(len(testBody))
	for name, tc := range map[string]struct {
		status int
		header map[string]string
		sent   string
		first  int64
		want   string
		kind   error
	}{
		"a part":          {http.StatusPartialContent, with("bytes 0-12/26"), testBody, n, testBody, nil},
		"the whole":       {http.StatusPartialContent, with("bytes 0-25/26"), whole, 100, whole, nil},
		"the whole, torn": {http.StatusPartialContent, with("bytes 0-12/13"), testBody, 100, "", statelatch.ErrAltered},
		"no ranges":       {http.StatusOK, header, whole, n, testBody, nil},
		"another part":    {http.StatusPartialContent, with("bytes 13-25/26"), testBody, n, "", statelatch.ErrBroken},
		"too short":       {http.StatusPartialContent, with("bytes 0-11/26"), testBody[:12], n, "", statelatch.ErrBroken},
		"another length":  {http.StatusPartialContent, with("bytes 0-12/26"), testBody[:12], n, "", statelatch.ErrBroken},
		"no size":         {http.StatusPartialContent, with("bytes 0-12/*"), testBody, n, "", statelatch.ErrBroken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, answer(tc.status, tc.header, tc.sent))
			obj, r, err := open(t, s.config()).Get(t.Context(), testKey, bucket.ReadOptions{First: tc.first})
			var got []byte
			if err == nil {
				got, err = io.ReadAll(r)
				_ = r.Close()
			}
			if !errors.Is(err, tc.kind) || tc.kind == nil && (string(got) != tc.want || obj.Size != int64(len(whole))) {
				t.Errorf("got %q of %d bytes, %v, want %q, %v", got, obj.Size, err, tc.want, tc.kind)
			}
			if got, want := s.only(t).header.Get("Range"), fmt.Sprintf("bytes=0-%d", tc.first-1); got != want {
				t.Errorf("Range: got %q, want %q", got, want)
			}
		})
	}
}

// An answer to a write is compared with what was sent.
func TestBucket_Put_Answer(t *testing.T) {
	t.Parallel()
	kms := map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms"}
	with := func(base map[string]string, key, value string) map[string]string {
		h := maps.Clone(base)
		if h == nil {
			h = make(map[string]string)
		}
		h[key] = value
		return h
	}
	for name, tc := range map[string]struct {
		header    map[string]string
		confirmed bool
		altered   bool
	}{
		"MD5":                       {map[string]string{"ETag": md5ETag(testBody)}, true, false},
		"MD5 in capitals":           {map[string]string{"ETag": strings.ToUpper(md5ETag(testBody))}, true, false},
		"MD5 of other bytes":        {map[string]string{"ETag": md5ETag(alteredBody)}, false, true},
		"opaque":                    {map[string]string{"ETag": `"e1"`}, false, false},
		"KMS":                       {with(kms, "ETag", md5ETag("other")), false, false},
		"checksum":                  {with(with(kms, "ETag", md5ETag("other")), "X-Amz-Checksum-Sha256", sha256Of(testBody)), true, false},
		"checksum of other bytes":   {with(with(kms, "ETag", `"e1"`), "X-Amz-Checksum-Sha256", sha256Of(alteredBody)), false, true},
		"checksum of its own kind":  {map[string]string{"ETag": md5ETag(testBody), "X-Amz-Checksum-Crc32": "AAAAAA=="}, true, false},
		"checksum over another MD5": {map[string]string{"ETag": md5ETag("other"), "X-Amz-Checksum-Sha256": sha256Of(testBody)}, true, false},
	} {
		s := newStore(t, answer(http.StatusOK, tc.header, ""))
		obj, err := open(t, s.config()).Put(t.Context(), testKey, bytes.NewReader([]byte(testBody)), bucket.PutOptions{If: bucket.IfAbsent})
		if errors.Is(err, statelatch.ErrAltered) != tc.altered || errors.Is(err, statelatch.ErrAmbiguous) != tc.altered || (err != nil) != tc.altered {
			t.Errorf("%s: got %v, want an altered body to be an ErrAmbiguous: %v", name, err, tc.altered)
		}
		if obj.Confirmed != tc.confirmed {
			t.Errorf("%s: confirmed %v, want %v", name, obj.Confirmed, tc.confirmed)
		}
	}
}
