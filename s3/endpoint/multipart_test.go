package endpoint

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const partSize = 5 << 20

// upload sends parts and completes them with what the SDK knows of their checksums.
func upload(tb testing.TB, f *fixture, create *s3.CreateMultipartUploadInput, parts [][]byte) (*s3.CompleteMultipartUploadOutput, error) {
	tb.Helper()
	up, err := f.CreateMultipartUpload(tb.Context(), create)
	if err != nil {
		return nil, err
	}
	var done []types.CompletedPart
	for i, data := range parts {
		out, err := f.UploadPart(tb.Context(), &s3.UploadPartInput{
			Bucket: create.Bucket, Key: create.Key, UploadId: up.UploadId, PartNumber: aws.Int32(int32(i + 1)),
			Body: bytes.NewReader(data), ChecksumAlgorithm: create.ChecksumAlgorithm,
			SSECustomerAlgorithm: create.SSECustomerAlgorithm, SSECustomerKey: create.SSECustomerKey, SSECustomerKeyMD5: create.SSECustomerKeyMD5,
		})
		if err != nil {
			return nil, err
		}
		done = append(done, types.CompletedPart{
			PartNumber: aws.Int32(int32(i + 1)), ETag: out.ETag,
			ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C, ChecksumCRC64NVME: out.ChecksumCRC64NVME,
			ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256,
		})
	}
	return f.CompleteMultipartUpload(tb.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: create.Bucket, Key: create.Key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done}, ChecksumType: create.ChecksumType,
	})
}

func TestMultipartUpload(t *testing.T) {
	t.Parallel()
	f := newTLSFixture(t)
	parts := [][]byte{bytes.Repeat([]byte("a"), partSize), bytes.Repeat([]byte("b"), partSize+1), []byte("end")}
	whole := string(bytes.Join(parts, nil))
	etags := md5.New()
	for _, p := range parts {
		sum := md5.Sum(p)
		etags.Write(sum[:])
	}
	wantETag := quoted(fmt.Sprintf("%x-3", etags.Sum(nil)))
	for _, tt := range []struct {
		algorithm types.ChecksumAlgorithm
		typ       types.ChecksumType
		composite bool
	}{
		{"CRC32", "", true},
		{"CRC32C", types.ChecksumTypeFullObject, false},
		{"CRC64NVME", "", false},
		{"SHA256", types.ChecksumTypeComposite, true},
	} {
		t.Run(string(tt.algorithm), func(t *testing.T) {
			t.Parallel()
			key := "state-" + string(tt.algorithm)
			out, err := upload(t, f, &s3.CreateMultipartUploadInput{
				Bucket: aws.String(testBucket), Key: &key, ChecksumAlgorithm: tt.algorithm, ChecksumType: tt.typ,
				ContentType: aws.String("text/x"), Tagging: aws.String("a=b"), ServerSideEncryption: "AES256",
			}, parts)
			if err != nil {
				t.Fatal(err)
			}
			sums := map[types.ChecksumAlgorithm]*string{
				"CRC32": out.ChecksumCRC32, "CRC32C": out.ChecksumCRC32C, "CRC64NVME": out.ChecksumCRC64NVME, "SHA256": out.ChecksumSHA256,
			}
			if sum := aws.ToString(sums[tt.algorithm]); sum == "" || strings.HasSuffix(sum, "-3") != tt.composite {
				t.Errorf("got checksum %q of type %s, want one of the right type", sum, out.ChecksumType)
			}
			if aws.ToString(out.ETag) != wantETag {
				t.Errorf("got ETag %s, want %s", *out.ETag, wantETag)
			}
			// The SDK compares the body with a checksum of the full object.
			got, err := f.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(testBucket), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
			if err != nil {
				t.Fatal(err)
			}
			if body := readAll(t, got.Body); body != whole || *got.ContentType != "text/x" || got.ServerSideEncryption != "AES256" || aws.ToInt32(got.TagCount) != 1 {
				t.Errorf("got %d bytes, want the object with its type, encryption and tag", len(body))
			}
			part, err := f.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(testBucket), Key: &key, PartNumber: aws.Int32(2)})
			if err != nil {
				t.Fatal(err)
			}
			if body := readAll(t, part.Body); body != string(parts[1]) || aws.ToInt32(part.PartsCount) != 3 {
				t.Errorf("got %d bytes of part 2 of %d, want %d of 3", len(body), aws.ToInt32(part.PartsCount), len(parts[1]))
			}
			_, err = f.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(testBucket), Key: &key, PartNumber: aws.Int32(4)})
			wantCode(t, err, "InvalidPartNumber", 416)
		})
	}
}

func TestMultipartUpload_Copied(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "src", strings.Repeat("x", partSize)+"0123456789")
	up, err := f.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(testBucket), Key: aws.String("dst"), ChecksumAlgorithm: "CRC32"})
	if err != nil {
		t.Fatal(err)
	}
	copyPart := func(number int32, span string) (*s3.UploadPartCopyOutput, error) {
		return f.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
			Bucket: aws.String(testBucket), Key: aws.String("dst"), UploadId: up.UploadId, PartNumber: &number,
			CopySource: aws.String(testBucket + "/src"), CopySourceRange: &span,
		})
	}
	first, err := copyPart(1, fmt.Sprintf("bytes=0-%d", partSize-1))
	wantCode(t, err, "", 0)
	second, err := copyPart(2, fmt.Sprintf("bytes=%d-%d", partSize+2, partSize+4))
	wantCode(t, err, "", 0)
	for _, span := range []string{"bytes=0-", "bytes=-5", "0-5", fmt.Sprintf("bytes=0-%d", partSize+10)} {
		_, err = copyPart(3, span)
		wantCode(t, err, "InvalidArgument", 400)
	}
	_, err = f.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: aws.String(testBucket), Key: aws.String("dst"), UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{
			{PartNumber: aws.Int32(1), ETag: first.CopyPartResult.ETag}, {PartNumber: aws.Int32(2), ETag: second.CopyPartResult.ETag},
		}},
	})
	wantCode(t, err, "", 0)
	if got := f.get(t, "dst"); got != strings.Repeat("x", partSize)+"234" {
		t.Errorf("got %d bytes, want the two pieces", len(got))
	}
}

func TestMultipartUpload_Refused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := aws.String("k")
	create := func() *string {
		up, err := f.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(testBucket), Key: key, ChecksumAlgorithm: "CRC32"})
		if err != nil {
			t.Fatal(err)
		}
		return up.UploadId
	}
	id := create()
	var parts []types.CompletedPart
	for i := range int32(3) {
		out, err := f.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String(testBucket), Key: key, UploadId: id, PartNumber: aws.Int32(i + 1), Body: strings.NewReader(strings.Repeat("x", partSize-int(i)))})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(i + 1), ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	}
	complete := func(edit func(*s3.CompleteMultipartUploadInput), parts ...types.CompletedPart) error {
		in := &s3.CompleteMultipartUploadInput{Bucket: aws.String(testBucket), Key: key, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}}
		if edit != nil {
			edit(in)
		}
		_, err := f.CompleteMultipartUpload(t.Context(), in)
		return err
	}
	wantCode(t, complete(nil, parts[1], parts[0]), "InvalidPartOrder", 400)
	wantCode(t, complete(nil, parts[0], parts[0]), "InvalidPartOrder", 400)
	wantCode(t, complete(nil, parts[0], types.CompletedPart{PartNumber: aws.Int32(9), ETag: parts[0].ETag}), "InvalidPart", 400)
	wantCode(t, complete(nil, types.CompletedPart{PartNumber: aws.Int32(1), ETag: aws.String(`"x"`)}), "InvalidPart", 400)
	wantCode(t, complete(nil, types.CompletedPart{PartNumber: aws.Int32(1), ETag: parts[0].ETag, ChecksumCRC32: parts[1].ChecksumCRC32}), "InvalidPart", 400)
	wantCode(t, complete(nil, parts[1], parts[2]), "EntityTooSmall", 400)
	wantCode(t, complete(nil), "MalformedXML", 400)
	wantCode(t, complete(func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(7) }, parts[0]), "InvalidRequest", 400)
	wantCode(t, complete(func(in *s3.CompleteMultipartUploadInput) { in.ChecksumCRC32 = aws.String("AAAAAA==-2") }, parts[0], parts[1]), "BadDigest", 400)
	wantCode(t, complete(func(in *s3.CompleteMultipartUploadInput) { in.ChecksumType = "FULL_OBJECT" }, parts[0]), "InvalidRequest", 400)
	wantCode(t, complete(func(in *s3.CompleteMultipartUploadInput) { in.IfMatch = aws.String(`"x"`) }, parts[0]), "NoSuchKey", 404)

	f.put(t, *key, "there before")
	wantCode(t, complete(func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") }, parts[0]), "PreconditionFailed", 412)
	if got := f.get(t, *key); got != "there before" {
		t.Errorf("got %q, want the object untouched", got)
	}
	_, err := f.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: aws.String(testBucket), Key: key, UploadId: id})
	wantCode(t, err, "", 0)
	wantCode(t, complete(nil, parts[0]), "NoSuchUpload", 404)
	_, err = f.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: aws.String(testBucket), Key: key, UploadId: id})
	wantCode(t, err, "NoSuchUpload", 404)
	_, err = f.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String(testBucket), Key: key, UploadId: aws.String("none"), PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
	wantCode(t, err, "NoSuchUpload", 404)

	for _, typ := range []string{"FULL_OBJECT", "nonsense"} {
		f.send(t, request{method: "POST", target: "/" + testBucket + "/k?uploads", header: map[string]string{"X-Amz-Checksum-Algorithm": "SHA256", "X-Amz-Checksum-Type": typ}}).want(t, 400, "InvalidRequest")
	}
	for _, number := range []string{"0", "10001", "x", ""} {
		f.send(t, request{method: "PUT", target: "/" + testBucket + "/k?uploadId=x&partNumber=" + number, body: "x"}).want(t, 400, "InvalidArgument")
	}
}

func TestListParts_Paging(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := aws.String("k")
	up, err := f.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(testBucket), Key: key, ChecksumAlgorithm: "CRC32"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int32{1, 3, 7} {
		if _, err := f.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String(testBucket), Key: key, UploadId: up.UploadId, PartNumber: &n, Body: strings.NewReader("x")}); err != nil {
			t.Fatal(err)
		}
	}
	var got []int32
	pages := s3.NewListPartsPaginator(f.Client, &s3.ListPartsInput{Bucket: aws.String(testBucket), Key: key, UploadId: up.UploadId, MaxParts: aws.Int32(2)})
	for pages.HasMorePages() && len(got) < 10 {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if page.ChecksumAlgorithm != "CRC32" || page.ChecksumType != "COMPOSITE" {
			t.Errorf("got checksum %s %s, want that of the upload", page.ChecksumAlgorithm, page.ChecksumType)
		}
		for _, p := range page.Parts {
			got = append(got, *p.PartNumber)
			if aws.ToString(p.ChecksumCRC32) == "" || *p.Size != 1 {
				t.Errorf("got part %+v, want its size and checksum", p)
			}
		}
	}
	if fmt.Sprint(got) != "[1 3 7]" {
		t.Errorf("got parts %v, want 1, 3 and 7", got)
	}
}

func TestListMultipartUploads(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, key := range []string{"a", "b/1", "b/2", "c", "c"} {
		if _, err := f.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(testBucket), Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ delimiter, prefix, want string }{
		{"", "", "a b/1 b/2 c c"},
		{"/", "", "a c c b/"},
		{"/", "b/", "b/1 b/2"},
		{"", "c", "c c"},
	} {
		for limit := int32(1); limit <= 6; limit++ {
			var keys, prefixes []string
			pages := s3.NewListMultipartUploadsPaginator(f.Client, &s3.ListMultipartUploadsInput{
				Bucket: aws.String(testBucket), Delimiter: &tt.delimiter, Prefix: &tt.prefix, MaxUploads: &limit,
			})
			for pages.HasMorePages() && len(keys)+len(prefixes) < 20 {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range page.Uploads {
					keys = append(keys, *u.Key)
				}
				for _, p := range page.CommonPrefixes {
					prefixes = append(prefixes, *p.Prefix)
				}
			}
			if got := strings.Join(append(keys, prefixes...), " "); got != tt.want {
				t.Errorf("delimiter %q prefix %q limit %d: got %q, want %q", tt.delimiter, tt.prefix, limit, got, tt.want)
			}
		}
	}
	a := f.send(t, request{method: http.MethodGet, target: "/" + testBucket + "?uploads&prefix=a%00"})
	if a.want(t, 200, ""); strings.Contains(a.body, "<Upload>") {
		t.Errorf("got %s, want no upload below a prefix that no key has", a.body)
	}
	f.send(t, request{method: http.MethodGet, target: "/" + testBucket + "?uploads&max-uploads=-1"}).want(t, 400, "InvalidArgument")
}

// Aborting page by page removes the upload that marks where to go on.
func TestListMultipartUploads_MarkerAborted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bucket, key := aws.String(testBucket), aws.String("k")
	for range 3 {
		if _, err := f.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	aborted := 0
	pages := s3.NewListMultipartUploadsPaginator(f.Client, &s3.ListMultipartUploadsInput{Bucket: bucket, MaxUploads: aws.Int32(1)})
	for pages.HasMorePages() && aborted < 10 {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Uploads {
			if _, err := f.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: u.UploadId}); err != nil {
				t.Fatal(err)
			}
			aborted++
		}
	}
	if aborted != 3 {
		t.Errorf("got %d uploads listed, want all 3", aborted)
	}
}
