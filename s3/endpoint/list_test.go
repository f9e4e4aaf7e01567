package endpoint

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

var listedKeys = []string{"a", "b/1", "b/2", "b/c/3", "d e+f&ü%", "z"}

func newListFixture(tb testing.TB) *fixture {
	tb.Helper()
	f := newFixture(tb)
	for _, key := range listedKeys {
		f.put(tb, key, key)
	}
	return f
}

var listCases = []struct {
	prefix, delimiter string
	keys, prefixes    []string
}{
	{"", "", listedKeys, nil},
	{"", "/", []string{"a", "d e+f&ü%", "z"}, []string{"b/"}},
	{"b/", "/", []string{"b/1", "b/2"}, []string{"b/c/"}},
	{"b/", "", []string{"b/1", "b/2", "b/c/3"}, nil},
	{"none", "/", nil, nil},
}

func TestListObjectsV2_Paging(t *testing.T) {
	t.Parallel()
	f := newListFixture(t)
	for _, tt := range listCases {
		for limit := int32(1); limit <= 7; limit++ {
			var keys, prefixes []string
			pages := s3.NewListObjectsV2Paginator(f.Client, &s3.ListObjectsV2Input{
				Bucket: aws.String(testBucket), Prefix: &tt.prefix, Delimiter: &tt.delimiter, MaxKeys: &limit,
			})
			for pages.HasMorePages() && len(keys)+len(prefixes) < 20 {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if n := len(page.Contents) + len(page.CommonPrefixes); n > int(limit) || int(*page.KeyCount) != n {
					t.Errorf("got %d entries and KeyCount %d, want up to %d", n, *page.KeyCount, limit)
				}
				for _, o := range page.Contents {
					keys = append(keys, *o.Key)
					if *o.Size != int64(len(*o.Key)) || o.ETag == nil || o.LastModified == nil || o.Owner != nil || o.StorageClass != "STANDARD" {
						t.Errorf("got object %+v, want its size, ETag and time, and no owner", o)
					}
				}
				for _, p := range page.CommonPrefixes {
					prefixes = append(prefixes, *p.Prefix)
				}
			}
			if !slices.Equal(keys, tt.keys) || !slices.Equal(prefixes, tt.prefixes) {
				t.Errorf("prefix %q delimiter %q limit %d: got %q and %q, want %q and %q", tt.prefix, tt.delimiter, limit, keys, prefixes, tt.keys, tt.prefixes)
			}
		}
	}
}

func TestListObjects_Paging(t *testing.T) {
	t.Parallel()
	f := newListFixture(t)
	for _, tt := range listCases {
		for limit := int32(1); limit <= 7; limit++ {
			var keys, prefixes []string
			marker := ""
			for range 20 {
				page, err := f.ListObjects(t.Context(), &s3.ListObjectsInput{
					Bucket: aws.String(testBucket), Prefix: &tt.prefix, Delimiter: &tt.delimiter, MaxKeys: &limit, Marker: &marker,
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page.Contents {
					keys = append(keys, *o.Key)
					marker = *o.Key
				}
				for _, p := range page.CommonPrefixes {
					prefixes = append(prefixes, *p.Prefix)
				}
				if !*page.IsTruncated {
					break
				}
				if page.NextMarker != nil {
					marker = *page.NextMarker
				}
			}
			if !slices.Equal(keys, tt.keys) || !slices.Equal(prefixes, tt.prefixes) {
				t.Errorf("prefix %q delimiter %q limit %d: got %q and %q, want %q and %q", tt.prefix, tt.delimiter, limit, keys, prefixes, tt.keys, tt.prefixes)
			}
		}
	}
}

func TestListObjects_Raw(t *testing.T) {
	t.Parallel()
	f := newListFixture(t)
	for _, tt := range []struct {
		query, code string
		status      int
		contains    []string
	}{
		{"list-type=2&encoding-type=url&prefix=d", "", 200, []string{"<Key>d%20e%2Bf%26%C3%BC%25</Key>", "<EncodingType>url</EncodingType>"}},
		{"list-type=2&start-after=b%2F2&max-keys=1", "", 200, []string{"<Key>b/c/3</Key>", "<StartAfter>b/2</StartAfter>", "<IsTruncated>true</IsTruncated>"}},
		{"list-type=2&fetch-owner=true&prefix=a", "", 200, []string{"<Owner><ID>" + ownerID}},
		{"list-type=2&max-keys=0", "", 200, []string{"<KeyCount>0</KeyCount>", "<IsTruncated>false</IsTruncated>"}},
		{"list-type=2&max-keys=100000", "", 200, []string{"<MaxKeys>1000</MaxKeys>"}},
		{"", "", 200, []string{"<Key>a</Key>", "&#34;0cc175b9c0f1b6a831c399e269772661&#34;"}},
		{"versions&prefix=a", "", 200, []string{"<VersionId>null</VersionId><IsLatest>true</IsLatest>"}},
		{"list-type=2&max-keys=-1", "InvalidArgument", 400, nil},
		{"list-type=2&max-keys=x", "InvalidArgument", 400, nil},
		{"list-type=2&max-keys=99999999999", "InvalidArgument", 400, nil},
		{"list-type=3", "InvalidArgument", 400, nil},
		{"list-type=2&encoding-type=base64", "InvalidArgument", 400, nil},
		{"list-type=2&continuation-token=nonsense", "InvalidArgument", 400, nil},
		{"list-type=2&continuation-token=", "InvalidArgument", 400, nil},
		{"list-type=2&prefix=a&prefix=b", "InvalidArgument", 400, nil},
		{"list-type=2&marker=a", "NotImplemented", 501, nil},
		{"list-type=2&versions", "InvalidArgument", 400, nil},
		{"versions&version-id-marker=x", "InvalidArgument", 400, nil},
	} {
		t.Run(tt.query, func(t *testing.T) {
			t.Parallel()
			a := f.send(t, request{method: "GET", target: "/" + testBucket + "?" + tt.query})
			a.want(t, tt.status, tt.code)
			for _, want := range tt.contains {
				if !strings.Contains(a.body, want) {
					t.Errorf("got %s, want it to contain %s", a.body, want)
				}
			}
		})
	}
	f.send(t, request{method: "GET", target: "/other-bucket?list-type=2&max-keys=0"}).want(t, 404, "NoSuchBucket")
}

func TestListObjectVersions_Paging(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "a", "null version")
	f.enableVersioning(t)
	f.put(t, "a", "2")
	f.put(t, "b/x", "1")
	if _, err := f.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(testBucket), Key: aws.String("a")}); err != nil {
		t.Fatal(err)
	}
	f.put(t, "c", "1")
	for _, tt := range []struct{ delimiter, want string }{
		{"", "a:marker:true a:2:false a:null:false b/x:2:true c:2:true"},
		{"/", "a:marker:true a:2:false a:null:false c:2:true b/"},
	} {
		for limit := int32(1); limit <= 6; limit++ {
			var got, prefixes []string
			pages := s3.NewListObjectVersionsPaginator(f.Client, &s3.ListObjectVersionsInput{
				Bucket: aws.String(testBucket), Delimiter: &tt.delimiter, MaxKeys: &limit,
			})
			for pages.HasMorePages() && len(got) < 20 {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range page.DeleteMarkers {
					got = append(got, fmt.Sprintf("%s:marker:%v", *m.Key, *m.IsLatest))
				}
				for _, v := range page.Versions {
					kind := "2"
					if *v.VersionId == "null" {
						kind = "null"
					}
					got = append(got, fmt.Sprintf("%s:%s:%v", *v.Key, kind, *v.IsLatest))
				}
				for _, p := range page.CommonPrefixes {
					prefixes = append(prefixes, *p.Prefix)
				}
			}
			if got := strings.Join(append(got, prefixes...), " "); got != tt.want {
				t.Errorf("delimiter %q limit %d: got %q, want %q", tt.delimiter, limit, got, tt.want)
			}
		}
	}
	// Versions and markers stand in the order of time, not in two groups.
	a := f.send(t, request{method: "GET", target: "/" + testBucket + "?versions"})
	if marker, version := strings.Index(a.body, "<DeleteMarker>"), strings.Index(a.body, "<Version>"); marker < 0 || version < marker {
		t.Errorf("got %s, want the marker first", a.body)
	}
	if strings.Contains(a.body, `xmlns=""`) {
		t.Errorf("got %s, want all elements in one namespace", a.body)
	}
}
