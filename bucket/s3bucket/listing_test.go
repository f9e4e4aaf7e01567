package s3bucket

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statelatch/statelatch/bucket"
)

func same(a, b bucket.Object) bool { return reflect.DeepEqual(a, b) }

// What stores write in other ways is the same listing.
func TestParseListing(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 8, 7, 3, 0, time.UTC)
	one := bucket.Object{Key: "a<b", ETag: `"e&1"`, Size: 7, LastModified: at}
	for name, tc := range map[string]struct {
		doc  string
		want []bucket.Object
	}{
		"as AWS":                       {`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix/><Contents><Key>a&lt;b</Key><LastModified>2026-11-21T08:07:03.000Z</LastModified><ETag>&quot;e&amp;1&quot;</ETag><Size>7</Size><Owner><ID>x</ID><Key>no</Key></Owner><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>` + "\n", []bucket.Object{one}},
		"prefixes, attributes, blanks": {"\ufeff<s3:ListBucketResult xmlns:s3='x>y' >\r\n <s3:contents n = \"a>b/\">\n<s3:key>a&#60;b</s3:key><size> 7 </size><Etag>\"e&#x26;1\"</Etag><lastmodified>2026-11-21T09:07:03+01:00</lastmodified>\n</s3:contents ></s3:ListBucketResult>", []bucket.Object{one}},
		"comments and CDATA":           {`<!-- <a> --><ListBucketResult><Contents><Key>a<!-- > --><![CDATA[<b]]></Key><ETag><![CDATA["e&1"]]></ETag><Size>7</Size><LastModified>2026-11-21T08:07:03</LastModified></Contents><?go on?></ListBucketResult><!-- end -->`, []bucket.Object{one}},
		"nothing known of it":          {`<ListBucketResult><Contents><Key>k</Key><Size/><LastModified></LastModified><ETag/></Contents></ListBucketResult>`, []bucket.Object{{Key: "k"}}},
		"empty":                        {`<ListBucketResult/>`, nil},
		"ends of lines":                {"<ListBucketResult><Contents><Key>a\r\nb\rc&#13;</Key></Contents></ListBucketResult>", []bucket.Object{{Key: "a\nb\nc\r"}}},
	} {
		l, err := parseListing([]byte(tc.doc))
		if err != nil || l.root != "ListBucketResult" || !slices.EqualFunc(l.entries, tc.want, same) {
			t.Errorf("%s: got %+v, %v, want %+v", name, l, err, tc.want)
		}
	}
	for name, doc := range map[string]string{
		"cut":              `<ListBucketResult><Contents><Key>a</Key></Contents>`,
		"a cut tag":        `<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketRes`,
		"overlap":          `<ListBucketResult><Contents><Key>a</Contents></Key></ListBucketResult>`,
		"two documents":    `<ListBucketResult></ListBucketResult><Error><Code>InternalError</Code></Error>`,
		"document type":    `<!DOCTYPE html><html></html>`,
		"text":             `hello`,
		"text before":      `hello <ListBucketResult/>`,
		"nothing":          ``,
		"Latin-1":          "<ListBucketResult><Contents><Key>caf\xe9</Key></Contents></ListBucketResult>",
		"declared Latin-1": `<?xml version="1.0" encoding="ISO-8859-1"?><ListBucketResult/>`,
		"unknown entity":   `<ListBucketResult><Contents><Key>&nbsp;</Key></Contents></ListBucketResult>`,
		"endless entity":   `<ListBucketResult><Contents><Key>a & b</Key></Contents></ListBucketResult>`,
		"no character":     `<ListBucketResult><Contents><Key>&#xD800;</Key></Contents></ListBucketResult>`,
		"element in value": `<ListBucketResult><Contents><Key><b>a</b></Key></Contents></ListBucketResult>`,
		"size":             `<ListBucketResult><Contents><Key>a</Key><Size>7 MB</Size></Contents></ListBucketResult>`,
		"time":             `<ListBucketResult><Contents><Key>a</Key><LastModified>today</LastModified></Contents></ListBucketResult>`,
		"depth":            strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100),
	} {
		if l, err := parseListing([]byte(doc)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, l)
		}
	}
}

// standard are the keys of a listing as the standard library reads them.
func standard(doc []byte) (keys []string, err error) {
	d := xml.NewDecoder(bytes.NewReader(doc))
	var open []string
	key, isKey := "", false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return keys, nil
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			open = append(open, strings.ToLower(token.Name.Local))
			if len(open) == 2 {
				key = ""
			}
			if isKey = len(open) == 3 && open[2] == "key"; isKey {
				key = ""
			}
		case xml.CharData:
			if isKey {
				key += string(token)
			}
		case xml.EndElement:
			isKey = false
			if len(open) == 2 && slices.Contains([]string{"contents", "version", "deletemarker"}, open[1]) {
				keys = append(keys, key)
			}
			open = open[:len(open)-1]
		}
	}
}

// FuzzParseListing: what is taken for a listing is what the standard library reads.
func FuzzParseListing(f *testing.F) {
	f.Add([]byte(`<?xml version="1.0"?><ListVersionsResult><Version><Key>a&lt;&#x62;</Key><VersionId>v1</VersionId></Version><DeleteMarker><Key>a</Key></DeleteMarker></ListVersionsResult>`))
	f.Add([]byte("<ListBucketResult><Contents><Key>a<!-- x --><![CDATA[&<]]>\r\n</Key><ETag>&quot;e&quot;</ETag></Contents></ListBucketResult>"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		l, err := parseListing(doc)
		if err != nil || l.encoded {
			return
		}
		want, err := standard(doc)
		if err != nil {
			return // it minds more
		}
		var got []string
		for _, e := range l.entries {
			if !e.IsPrefix {
				got = append(got, e.Key)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", doc, got, want)
		}
	})
}

func pageOf(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `<Contents><Key>live/account-%05d/terraform.tfstate</Key><LastModified>2026-11-21T08:07:03.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>200</Size><StorageClass>STANDARD</StorageClass></Contents>`, i)
	}
	return []byte(listing(b.String()))
}

// A key costs what it is kept in, and no more.
func TestParseListing_Allocations(t *testing.T) { // not parallel: others allocate, too
	const keys = 1000
	page := pageOf(keys)
	each := testing.AllocsPerRun(10, func() {
		if _, err := parseListing(page); err != nil {
			t.Error(err)
		}
	}) / keys
	if each > 5 {
		t.Errorf("%.1f allocations a key, want at most 5", each)
	}
}

func BenchmarkParseListing(b *testing.B) {
	page := pageOf(1000)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parseListing(page); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-xml", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := standard(page); err != nil {
				b.Fatal(err)
			}
		}
	})
}
