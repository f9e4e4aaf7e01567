package s3bucket

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// collect returns the objects, or what came before the error.
func collect(t *testing.T, seq func(func(bucket.Object, error) bool)) ([]bucket.Object, error) {
	t.Helper()
	var all []bucket.Object
	for o, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, o)
		if len(all) > 100 {
			t.Fatal("the listing does not end")
		}
	}
	return all, nil
}

func keys(objects []bucket.Object) string {
	var all []string
	for _, o := range objects {
		all = append(all, o.Key)
	}
	return strings.Join(all, " | ")
}

func contents(keys ...string) string {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, `<Contents><Key>%s</Key><LastModified>2026-11-21T08:07:03.000Z</LastModified><ETag>&quot;e1&quot;</ETag><Size>7</Size></Contents>`, k)
	}
	return b.String()
}

func listing(inner string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>` + inner + `</ListBucketResult>`
}

func TestBucket_List_PagesDecodedInOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("continuation-token") == "" {
			_, _ = io.WriteString(w, listing(contents("env%3A/a+b", "env%3A/c%2Bd")+
				`<CommonPrefixes><Prefix>env%3A/b/</Prefix></CommonPrefixes><IsTruncated>true</IsTruncated><NextContinuationToken>t/1=</NextContinuationToken>`))
			return
		}
		_, _ = io.WriteString(w, listing(contents("env%3A/%01%C3%A9")+`<IsTruncated>false</IsTruncated>`))
	})
	got, err := collect(t, open(t, s.config()).List(t.Context(), bucket.ListOptions{Prefix: "env:/", Delimiter: "/", PageSize: 2}))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := keys(got), "env:/a b | env:/b/ | env:/c+d | env:/\x01é"; got != want {
		t.Errorf("keys: got %q, want %q", got, want)
	}
	want := bucket.Object{Key: "env:/a b", ETag: `"e1"`, Size: 7, LastModified: time.Date(2026, 11, 21, 8, 7, 3, 0, time.UTC)}
	if !reflect.DeepEqual(got[0], want) {
		t.Errorf("object: got %+v, want %+v", got[0], want)
	}
	if want := (bucket.Object{Key: "env:/b/", IsPrefix: true}); !reflect.DeepEqual(got[1], want) {
		t.Errorf("prefix: got %+v, want %+v", got[1], want)
	}
	seen := s.requests()
	if len(seen) != 2 {
		t.Fatalf("requests: got %d, want 2", len(seen))
	}
	q, _ := url.ParseQuery(seen[1].query)
	for name, want := range map[string]string{
		"list-type": "2", "encoding-type": "url", "prefix": "env:/", "delimiter": "/", "max-keys": "2", "continuation-token": "t/1=",
	} {
		if got := q.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// A store that ignores encoding-type sends keys as they are.
func TestBucket_List_PlainKeys(t *testing.T) {
	t.Parallel()
	doc := strings.Replace(listing(contents("a+b%20c")), "<EncodingType>url</EncodingType>", "", 1)
	s := newStore(t, answer(http.StatusOK, nil, doc))
	got, err := collect(t, open(t, s.config()).List(t.Context(), bucket.ListOptions{}))
	if err != nil || keys(got) != "a+b%20c" {
		t.Errorf("got %q, %v, want %q", keys(got), err, "a+b%20c")
	}
}

func TestBucket_List_BreakStopsRequests(t *testing.T) {
	t.Parallel()
	page := listing(contents("a", "b") + `<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>`)
	versions := strings.ReplaceAll(page, "ListBucketResult", "ListVersionsResult")
	versions = strings.ReplaceAll(versions, "Contents>", "Version>")
	versions = strings.Replace(versions, "<NextContinuationToken>t</NextContinuationToken>", "<NextKeyMarker>b</NextKeyMarker>", 1)
	for name, doc := range map[string]string{"list": page, "versions": versions} {
		s := newStore(t, answer(http.StatusOK, nil, doc))
		b := open(t, s.config())
		seq := b.List(t.Context(), bucket.ListOptions{})
		if name == "versions" {
			seq = b.ListVersions(t.Context(), bucket.ListOptions{})
		}
		for _, err := range seq {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			break
		}
		s.only(t)
	}
}

func TestBucket_Lists_BrokenAnswers(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]string{
		"truncated without a token": listing(contents("a") + `<IsTruncated>true</IsTruncated>`),
		"not XML":                   "hello",
		"cut":                       listing(contents("a"))[:200],
		"bad encoding":              listing(contents("%zz")),
	} {
		for _, versions := range []bool{false, true} {
			s := newStore(t, answer(http.StatusOK, nil, strings.ReplaceAll(strings.ReplaceAll(doc, "ListBucketResult", "ListVersionsResult"), "Contents>", "Version>")))
			cfg := s.config()
			cfg.MaxRetries = 1
			b := open(t, cfg)
			seq := b.ListVersions(t.Context(), bucket.ListOptions{})
			if !versions {
				s.Config.Handler = answer(http.StatusOK, nil, doc)
				seq = b.List(t.Context(), bucket.ListOptions{})
			}
			_, err := collect(t, seq)
			if err == nil {
				t.Errorf("%s, versions %v: got no error", name, versions)
				continue
			}
			checkKind(t, err, statelatch.ErrBroken)
		}
	}
}

// The same token for ever must not make an endless listing.
func TestBucket_Lists_StuckToken(t *testing.T) {
	t.Parallel()
	s := newStore(t, answer(http.StatusOK, nil, listing(contents("a")+`<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>`)))
	_, err := collect(t, open(t, s.config()).List(t.Context(), bucket.ListOptions{}))
	checkKind(t, err, statelatch.ErrBroken)
	v := newStore(t, answer(http.StatusOK, nil, versionsDoc(version("Version", "a", "v1")+`<IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>`)))
	_, err = collect(t, open(t, v.config()).ListVersions(t.Context(), bucket.ListOptions{}))
	checkKind(t, err, statelatch.ErrBroken)
}

func versionsDoc(inner string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>` + inner + `</ListVersionsResult>`
}

func version(element, key, id string) string {
	return fmt.Sprintf(`<%[1]s><Key>%s</Key><VersionId>%s</VersionId><IsLatest>%v</IsLatest><LastModified>2026-11-21T08:07:03.000Z</LastModified></%[1]s>`,
		element, key, id, strings.HasPrefix(id, "new"))
}

// Versions and markers of the same second keep the store's order, over pages.
func TestBucket_ListVersions_OrderIsTheStores(t *testing.T) {
	t.Parallel()
	s := newStore(t, func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); q.Get("key-marker") + "|" + q.Get("version-id-marker") {
		case "|":
			_, _ = io.WriteString(w, versionsDoc(version("Version", "a+b", "new4")+version("DeleteMarker", "a+b", "m3")+version("Version", "a+b", "v2")+
				`<IsTruncated>true</IsTruncated><NextKeyMarker>a+b</NextKeyMarker><NextVersionIdMarker>v2</NextVersionIdMarker>`))
		case "a b|v2":
			_, _ = io.WriteString(w, versionsDoc(version("DeleteMarker", "a+b", "m1")+version("DeleteMarker", "c", "new2")+version("Version", "c", "null")))
		default:
			http.Error(w, "unexpected markers "+q.Encode(), http.StatusBadRequest)
		}
	})
	got, err := collect(t, open(t, s.config()).ListVersions(t.Context(), bucket.ListOptions{Prefix: "p"}))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, o := range got {
		order = append(order, fmt.Sprintf("%s:%s:%v:%v", o.Key, o.VersionID, o.DeleteMarker, o.IsLatest))
	}
	want := "a b:new4:false:true a b:m3:true:false a b:v2:false:false a b:m1:true:false c:new2:true:true c:null:false:false"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("order:\n got %s\nwant %s", got, want)
	}
}

func TestBucket_ListVersions_Unsupported(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"501":           answer(http.StatusNotImplemented, nil, s3Error("NotImplemented", "")),
		"plain listing": answer(http.StatusOK, nil, listing(contents("a"))), // the query ?versions ignored
	} {
		s := newStore(t, h)
		cfg := s.config()
		cfg.MaxRetries = 1
		_, err := collect(t, open(t, cfg).ListVersions(t.Context(), bucket.ListOptions{}))
		if err == nil {
			t.Errorf("%s: got no error", name)
			continue
		}
		checkKind(t, err, statelatch.ErrUnsupported)
	}
}
