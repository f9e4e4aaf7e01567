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

// drawn makes a listing as bytes decide.
type drawn struct {
	bytes.Buffer

	from []byte
}

func (d *drawn) below(n int) int {
	if len(d.from) == 0 {
		return 0
	}
	b := int(d.from[0])
	d.from = d.from[1:]
	return b % n
}

func (d *drawn) one(of ...string) string { return of[d.below(len(of))] }

// element writes one. Names in it are as S3 writes them, for the standard library minds their case.
func (d *drawn) element(name string, content func()) {
	name = d.one("", "", "s3:") + name
	open := "<" + name + d.one("", "", " ", "\r\n", ` n="a>b/"`, ` n = '"/>' m="'"`)
	if d.below(8) == 7 {
		d.WriteString(open + "/>")
		return
	}
	d.WriteString(open + ">")
	content()
	d.WriteString("</" + name + d.one("", "", " ", "\n") + ">")
}

func (d *drawn) text() {
	for n := d.below(5); n > 0; n-- {
		d.WriteString(d.one("a", "/b", " ", "\r", "\r\n", "\n", "é", "]", "&gt;", "\"", "&lt;", "&amp;", "&apos;", "&quot;", "&#62;", "&#x26;", "&#x26;lt;",
			"&#13;", "<![CDATA[]]>", "<![CDATA[<&]]>", "<![CDATA[&amp;]]]]>", "<!-- & < -->", "<!---->", "<?p &?>"))
	}
}

func (d *drawn) between() {
	d.WriteString(d.one("", "", "\n  ", "<!-- <Key>no</Key> -->", "<?p <Key>no</Key>?>", "text", "<![CDATA[<Key>]]>"))
}

func (d *drawn) listing() []byte {
	d.WriteString(d.one("", "\ufeff", `<?xml version="1.0"?>`, `<?xml version='1.0' encoding='UTF-8'?>`+"\n", "<!-- x -->"))
	d.element(d.one("ListBucketResult", "ListVersionsResult"), func() {
		seen := map[string]bool{} // a value stands once
		for range d.below(5) {
			d.between()
			switch kind := d.one("Contents", "Version", "DeleteMarker", "CommonPrefixes", "IsTruncated", "NextKeyMarker", "NextVersionIdMarker",
				"NextContinuationToken", "Owner"); kind {
			case "NextKeyMarker", "NextVersionIdMarker", "NextContinuationToken":
				d.once(seen, kind, d.text)
			case "IsTruncated":
				d.once(seen, kind, func() { d.WriteString(d.one("true", " false ", "1")) })
			default:
				d.element(kind, d.entry)
			}
		}
		d.between()
	})
	d.WriteString(d.one("", "\n", "<!-- end -->"))
	return d.Bytes()
}

func (d *drawn) once(seen map[string]bool, name string, content func()) {
	if !seen[name] {
		d.element(name, content)
	}
	seen[name] = true
}

func (d *drawn) entry() {
	seen := map[string]bool{}
	for range d.below(6) {
		d.between()
		switch name := d.one("Key", "Prefix", "ETag", "VersionId", "IsLatest", "Size", "Owner"); name {
		case "IsLatest":
			d.once(seen, name, func() { d.WriteString(d.one("true", "false", "\n0")) })
		case "Size":
			d.once(seen, name, func() { d.WriteString(d.one("7", " 9000000000\t", "0")) })
		case "Owner":
			d.element(name, func() {
				d.element("Key", d.text)
				d.element("Owner", func() { d.element("ID", d.text) })
			})
		default:
			d.once(seen, name, d.text)
		}
	}
	d.between()
}

// standardListing is what the standard library reads.
type standardListing struct {
	XMLName                              xml.Name
	IsTruncated                          []bool
	NextKeyMarker, NextContinuationToken []string
	NextVersionIDMarker                  []string `xml:"NextVersionIdMarker"`
	Entries                              []struct {
		XMLName           xml.Name
		Key, Prefix, ETag []string
		VersionID         []string `xml:"VersionId"`
		IsLatest          []bool
		Size              []int64
	} `xml:",any"`
}

func last[T any](of []T) (l T) {
	if len(of) > 0 {
		l = of[len(of)-1]
	}
	return l
}

// FuzzParseListing_WellMade: every listing that is well made is read, and as the standard library reads it.
func FuzzParseListing_WellMade(f *testing.F) {
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, from []byte) {
		doc := (&drawn{from: from}).listing()
		var s standardListing
		if err := xml.Unmarshal(bytes.TrimPrefix(doc, []byte("\ufeff")), &s); err != nil {
			t.Fatalf("%q: the standard library: %v", doc, err)
		}
		want := listed{
			root: s.XMLName.Local, truncated: last(s.IsTruncated), token: last(s.NextContinuationToken),
			keyMarker: last(s.NextKeyMarker), versionMarker: last(s.NextVersionIDMarker),
		}
		for _, e := range s.Entries {
			o := bucket.Object{
				Key: last(e.Key), ETag: last(e.ETag), VersionID: last(e.VersionID), IsLatest: last(e.IsLatest), Size: last(e.Size),
			}
			switch e.XMLName.Local {
			case "DeleteMarker":
				o.DeleteMarker = true
			case "CommonPrefixes":
				// Both mean the same in it; which of them comes last is not known here.
				if o.IsPrefix, o.Key = true, last(e.Prefix); len(e.Key) > 0 {
					return
				}
			case "Owner":
				continue
			}
			want.entries = append(want.entries, o)
		}
		got, err := parseListing(doc)
		if err != nil {
			t.Fatalf("%q: %v", doc, err)
		}
		if len(got.entries) == 0 && len(want.entries) == 0 { // nil, or empty
			got.entries, want.entries = nil, nil
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%q: got %+v, want %+v", doc, *got, want)
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
