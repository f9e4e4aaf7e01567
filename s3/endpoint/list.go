package endpoint

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

const maxPage = 1000 // entries of a listing

// limit parses a page size. S3 answers with 1000 entries at most, whatever was asked for.
func (c *call) limit(name string) (int, error) {
	v := c.query.Get(name)
	if v == "" {
		return maxPage, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return 0, invalidArgument("Argument " + name + " must be an integer between 0 and 2147483647")
	}
	return min(int(n), maxPage), nil
}

// encoder returns how keys are written: as they are, or URL encoded.
func (c *call) encoder() (func(string) string, error) {
	switch c.query.Get("encoding-type") {
	case "":
		return func(s string) string { return s }, nil
	case "url":
		return urlEncode, nil
	}
	return nil, invalidArgument("Invalid Encoding Method specified in Request")
}

// urlEncode encodes a key as S3 does in listings: slashes stay. Blanks become %20, which
// both of the usual ways of decoding understand.
func urlEncode(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		ch := s[i]
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', strings.IndexByte("-_.*/", ch) >= 0:
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[ch>>4])
			b.WriteByte(hexDigits[ch&15])
		}
	}
	return b.String()
}

type objectXML struct {
	Key               string
	LastModified      string
	ETag              string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
	Size              int64
	StorageClass      string
	Owner             *ownerXML `xml:",omitempty"`
}

type prefixXML struct{ Prefix string }

type listV1XML struct {
	XMLName        xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name           string
	Prefix         string
	Marker         string
	NextMarker     string `xml:",omitempty"`
	MaxKeys        int
	Delimiter      string `xml:",omitempty"`
	EncodingType   string `xml:",omitempty"`
	IsTruncated    bool
	Contents       []objectXML
	CommonPrefixes []prefixXML
}

type listV2XML struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	KeyCount              int
	MaxKeys               int
	Delimiter             string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	IsTruncated           bool
	Contents              []objectXML
	CommonPrefixes        []prefixXML
}

// listing is what the kinds of listings have in common.
type listing struct {
	req    s3model.ListRequest
	encode func(string) string
}

func (c *call) listing() (listing, error) {
	l := listing{req: s3model.ListRequest{
		Bucket: c.bucket, Prefix: c.query.Get("prefix"), Delimiter: c.query.Get("delimiter"),
	}}
	var err error
	if l.req.Max, err = c.limit("max-keys"); err != nil {
		return l, err
	}
	l.encode, err = c.encoder()
	return l, err
}

// page asks the store. An empty page was asked for when the limit is zero.
func (c *call) page(l listing, list func() (s3model.ListPage, error)) (s3model.ListPage, error) {
	if l.req.Max > 0 {
		return list()
	}
	_, err := c.Store.GetBucket(c.ctx, c.bucket)
	return s3model.ListPage{}, err
}

func (l listing) objects(page s3model.ListPage, withOwner bool) []objectXML {
	out := make([]objectXML, 0, len(page.Objects))
	for _, o := range page.Objects {
		x := objectXML{
			Key: l.encode(o.Key), LastModified: xmlTime(o.LastModified), ETag: quoted(o.ETag),
			ChecksumAlgorithm: o.Checksum.Algorithm, ChecksumType: o.Checksum.Type,
			Size: o.Size, StorageClass: "STANDARD",
		}
		if withOwner {
			x.Owner = owner()
		}
		out = append(out, x)
	}
	return out
}

func (l listing) prefixes(page s3model.ListPage) []prefixXML {
	out := make([]prefixXML, 0, len(page.Prefixes))
	for _, p := range page.Prefixes {
		out = append(out, prefixXML{l.encode(p)})
	}
	return out
}

func (c *call) listObjects() error {
	l, err := c.listing()
	if err != nil {
		return err
	}
	l.req.After = c.query.Get("marker")
	page, err := c.page(l, func() (s3model.ListPage, error) { return c.Store.List(c.ctx, l.req) })
	if err != nil {
		return err
	}
	doc := listV1XML{
		Name: c.bucket, Prefix: l.encode(l.req.Prefix), Marker: l.encode(l.req.After), MaxKeys: l.req.Max,
		Delimiter: l.encode(l.req.Delimiter), EncodingType: c.query.Get("encoding-type"), IsTruncated: page.Truncated,
		Contents: l.objects(page, true), CommonPrefixes: l.prefixes(page),
	}
	// S3 sends NextMarker only with a delimiter; without, the last key is the marker.
	if page.Truncated && l.req.Delimiter != "" {
		doc.NextMarker = l.encode(page.NextKey)
	}
	c.writeXML(http.StatusOK, doc)
	return nil
}

func (c *call) listObjectsV2() error {
	if c.query.Get("list-type") != "2" {
		return invalidArgument("The parameter list-type must be 2.")
	}
	l, err := c.listing()
	if err != nil {
		return err
	}
	token := c.query.Get("continuation-token")
	l.req.After = c.query.Get("start-after")
	if c.query.Has("continuation-token") {
		if l.req.After, err = decodeToken(token); err != nil {
			return err
		}
	}
	page, err := c.page(l, func() (s3model.ListPage, error) { return c.Store.List(c.ctx, l.req) })
	if err != nil {
		return err
	}
	doc := listV2XML{
		Name: c.bucket, Prefix: l.encode(l.req.Prefix), StartAfter: l.encode(c.query.Get("start-after")),
		ContinuationToken: token, KeyCount: len(page.Objects) + len(page.Prefixes), MaxKeys: l.req.Max,
		Delimiter: l.encode(l.req.Delimiter), EncodingType: c.query.Get("encoding-type"), IsTruncated: page.Truncated,
		Contents: l.objects(page, strings.EqualFold(c.query.Get("fetch-owner"), "true")), CommonPrefixes: l.prefixes(page),
	}
	if page.Truncated {
		doc.NextContinuationToken = encodeToken(page.NextKey)
	}
	c.writeXML(http.StatusOK, doc)
	return nil
}

// Continuation tokens are the last key or prefix of a page, marked and encoded so that
// nobody takes them for a key.
const tokenMark = "1:"

func encodeToken(key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenMark + key))
}

func decodeToken(token string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	key, ok := strings.CutPrefix(string(raw), tokenMark)
	if err != nil || !ok || key == "" {
		return "", invalidArgument("The continuation token provided is incorrect")
	}
	return key, nil
}

type versionXML struct {
	element           string // Version or DeleteMarker
	Key               string
	VersionID         string `xml:"VersionId"`
	IsLatest          bool
	LastModified      string
	ETag              string    `xml:",omitempty"`
	ChecksumAlgorithm string    `xml:",omitempty"`
	ChecksumType      string    `xml:",omitempty"`
	Size              *int64    `xml:",omitempty"`
	StorageClass      string    `xml:",omitempty"`
	Owner             *ownerXML `xml:",omitempty"`
}

// MarshalXML implements xml.Marshaler: versions and markers are mixed, in the order of time.
func (v versionXML) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	type plain versionXML
	start.Name.Local = v.element
	return e.EncodeElement(plain(v), start)
}

type listVersionsXML struct {
	XMLName             xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListVersionsResult"`
	Name                string
	Prefix              string
	KeyMarker           string
	VersionIDMarker     string `xml:"VersionIdMarker"`
	NextKeyMarker       string `xml:",omitempty"`
	NextVersionIDMarker string `xml:"NextVersionIdMarker,omitempty"`
	MaxKeys             int
	Delimiter           string `xml:",omitempty"`
	EncodingType        string `xml:",omitempty"`
	IsTruncated         bool
	Entries             []versionXML
	CommonPrefixes      []prefixXML
}

func (c *call) listVersions() error {
	l, err := c.listing()
	if err != nil {
		return err
	}
	l.req.KeyMarker, l.req.VersionIDMarker = c.query.Get("key-marker"), c.query.Get("version-id-marker")
	if l.req.VersionIDMarker != "" && l.req.KeyMarker == "" {
		return invalidArgument("A version-id marker cannot be specified without a key marker.")
	}
	page, err := c.page(l, func() (s3model.ListPage, error) { return c.Store.ListVersions(c.ctx, l.req) })
	if err != nil {
		return err
	}
	doc := listVersionsXML{
		Name: c.bucket, Prefix: l.encode(l.req.Prefix),
		KeyMarker: l.encode(l.req.KeyMarker), VersionIDMarker: l.req.VersionIDMarker,
		MaxKeys: l.req.Max, Delimiter: l.encode(l.req.Delimiter), EncodingType: c.query.Get("encoding-type"),
		IsTruncated: page.Truncated, CommonPrefixes: l.prefixes(page),
	}
	for _, o := range page.Objects {
		doc.Entries = append(doc.Entries, l.version(o))
	}
	if page.Truncated {
		doc.NextKeyMarker, doc.NextVersionIDMarker = l.encode(page.NextKey), page.NextVersionID
	}
	c.writeXML(http.StatusOK, doc)
	return nil
}

func (l listing) version(o s3model.Object) versionXML {
	x := versionXML{
		element: "Version",
		Key:     l.encode(o.Key), VersionID: o.VersionID, IsLatest: o.IsLatest,
		LastModified: xmlTime(o.LastModified), Owner: owner(),
	}
	if x.VersionID == "" {
		x.VersionID = s3model.NullVersion
	}
	if o.DeleteMarker {
		x.element = "DeleteMarker"
		return x
	}
	x.ETag, x.Size, x.StorageClass = quoted(o.ETag), &o.Size, "STANDARD"
	x.ChecksumAlgorithm, x.ChecksumType = o.Checksum.Algorithm, o.Checksum.Type
	return x
}

type uploadXML struct {
	Key               string
	UploadID          string `xml:"UploadId"`
	Initiator         *ownerXML
	Owner             *ownerXML
	StorageClass      string
	Initiated         string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

type listUploadsXML struct {
	XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
	Bucket             string
	KeyMarker          string
	UploadIDMarker     string `xml:"UploadIdMarker"`
	NextKeyMarker      string `xml:",omitempty"`
	NextUploadIDMarker string `xml:"NextUploadIdMarker,omitempty"`
	Prefix             string
	Delimiter          string `xml:",omitempty"`
	EncodingType       string `xml:",omitempty"`
	MaxUploads         int
	IsTruncated        bool
	Upload             []uploadXML
	CommonPrefixes     []prefixXML
}

func (c *call) listUploads() error {
	encode, err := c.encoder()
	if err != nil {
		return err
	}
	limit, err := c.limit("max-uploads")
	if err != nil {
		return err
	}
	prefix, delimiter := c.query.Get("prefix"), c.query.Get("delimiter")
	keyMarker, idMarker := c.query.Get("key-marker"), c.query.Get("upload-id-marker")
	uploads, err := c.Store.ListUploads(c.ctx, c.bucket, prefix)
	if err != nil {
		return err
	}
	doc := listUploadsXML{
		Bucket: c.bucket, KeyMarker: encode(keyMarker), UploadIDMarker: idMarker, Prefix: encode(prefix),
		Delimiter: encode(delimiter), EncodingType: c.query.Get("encoding-type"), MaxUploads: limit,
	}
	lastPrefix := ""
	for _, u := range uploadsAfter(uploads, keyMarker, idMarker) {
		rest, ok := strings.CutPrefix(u.Key, prefix)
		if !ok {
			continue // with a NUL in the prefix a store may find keys that end before it
		}
		common := ""
		if before, _, found := strings.Cut(rest, delimiter); found && delimiter != "" {
			common = prefix + before + delimiter
			if common == lastPrefix || common == keyMarker {
				continue
			}
		}
		if len(doc.Upload)+len(doc.CommonPrefixes) == limit {
			doc.IsTruncated = limit > 0
			break
		}
		if common != "" {
			lastPrefix = common
			doc.CommonPrefixes = append(doc.CommonPrefixes, prefixXML{encode(common)})
			doc.NextKeyMarker, doc.NextUploadIDMarker = encode(common), ""
			continue
		}
		doc.Upload = append(doc.Upload, uploadXML{
			Key: encode(u.Key), UploadID: u.ID, Initiator: owner(), Owner: owner(), StorageClass: "STANDARD",
			Initiated: xmlTime(u.Started), ChecksumAlgorithm: u.ChecksumAlgorithm, ChecksumType: u.ChecksumType,
		})
		doc.NextKeyMarker, doc.NextUploadIDMarker = encode(u.Key), u.ID
	}
	if !doc.IsTruncated {
		doc.NextKeyMarker, doc.NextUploadIDMarker = "", ""
	}
	c.writeXML(http.StatusOK, doc)
	return nil
}

// uploadsAfter skips the uploads up to the markers. Uploads of one key are in the order of
// their start, so the marked upload is found by its ID; if it is gone, its key is listed again
// from the start, which may repeat uploads but misses none.
func uploadsAfter(uploads []s3model.Upload, key, id string) []s3model.Upload {
	if key == "" {
		return uploads
	}
	if id != "" {
		if i := slices.IndexFunc(uploads, func(u s3model.Upload) bool { return u.Key == key && u.ID == id }); i >= 0 {
			return uploads[i+1:]
		}
	}
	for i, u := range uploads {
		if u.Key > key || (u.Key == key && id != "") {
			return uploads[i:]
		}
	}
	return nil
}
