package endpoint

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

const maxPartNumber = 10000

type createUploadXML struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
	Bucket   string
	Key      string
	UploadID string `xml:"UploadId"`
}

func (c *call) createUpload() error {
	req, err := c.putRequest()
	if err != nil {
		return err
	}
	if name := c.r.Header.Get("X-Amz-Checksum-Algorithm"); name != "" {
		a := checksumByName(name)
		if a == nil {
			return errUnknownChecksum
		}
		req.ChecksumAlgorithm, req.ChecksumType = a.name, a.types[0]
	}
	if typ := c.r.Header.Get("X-Amz-Checksum-Type"); typ != "" {
		a := checksumByName(req.ChecksumAlgorithm)
		switch {
		case a == nil:
			return invalidRequest("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		case !slices.Contains(a.types, typ):
			return invalidRequest("The " + typ + " checksum type cannot be used with the " + a.name + " checksum algorithm.")
		}
		req.ChecksumType = typ
	}
	id, obj, err := c.Store.CreateUpload(c.ctx, req)
	if err != nil {
		return err
	}
	c.setEncryption(obj.Encryption)
	if req.ChecksumAlgorithm != "" {
		c.w.Header().Set("X-Amz-Checksum-Algorithm", req.ChecksumAlgorithm)
		c.w.Header().Set("X-Amz-Checksum-Type", req.ChecksumType)
	}
	c.writeXML(http.StatusOK, createUploadXML{Bucket: c.bucket, Key: c.key, UploadID: id})
	return nil
}

var errUnknownChecksum = invalidRequest("Checksum algorithm provided is unsupported. Please try again with any of " +
	"the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")

func (c *call) uploadOrCopyPart() error {
	number, err := strconv.Atoi(c.query.Get("partNumber"))
	if err != nil || number < 1 || number > maxPartNumber {
		return invalidArgument("Part number must be an integer between 1 and 10000, inclusive")
	}
	req := s3model.PartRequest{Bucket: c.bucket, Key: c.key, UploadID: c.query.Get("uploadId"), Number: number}
	if req.Encryption, err = c.readEncryption(); err != nil {
		return err
	}
	if c.isCopy() {
		c.op = "UploadPartCopy"
		if err := c.served(); err != nil {
			return err
		}
		return c.copyPart(req)
	}
	if name := c.sourceCondition(); name != "" {
		return invalidRequest(name + " needs x-amz-copy-source.")
	}
	body, err := c.payload()
	if err != nil {
		return err
	}
	if body.body.Len() > maxPutSize {
		return s3model.ErrTooLarge
	}
	req.Finish = body.finish
	part, err := c.Store.PutPart(c.ctx, req, body)
	if err != nil {
		return err
	}
	c.w.Header().Set("Etag", quoted(part.ETag))
	c.setEncryption(part.Encryption)
	if a := checksumByName(part.Checksum.Algorithm); a != nil {
		c.w.Header().Set(a.header, part.Checksum.Value)
	}
	return c.ok()
}

// copyPart makes a part of a piece of another object.
func (c *call) copyPart(req s3model.PartRequest) error {
	src, err := c.copySource()
	if err != nil {
		return err
	}
	if err := c.permitSource(src); err != nil {
		return err
	}
	obj, body, err := c.Store.Get(c.ctx, src)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := c.checkCopySource(obj); err != nil {
		return err
	}
	piece := span{0, obj.Size}
	if values, given := c.r.Header["X-Amz-Copy-Source-Range"]; given {
		header := values[0]
		var ok, satisfiable bool
		piece, ok, satisfiable = parseRange(header, obj.Size)
		_, last, _ := strings.Cut(header, "-")
		end, bounded := parseDigits(last)
		switch {
		case !ok || !bounded || strings.HasPrefix(header, "bytes=-"):
			return invalidArgument("The x-amz-copy-source-range value must be of the form bytes=first-last where first and " +
				"last are the zero-based offsets of the first and last bytes to copy")
		case !satisfiable || end >= obj.Size:
			return invalidArgument(fmt.Sprintf("Range specified is not valid for source object of size: %d", obj.Size))
		}
	}
	if piece.length > maxPutSize {
		return s3model.ErrTooLarge
	}
	if _, err := body.Seek(piece.offset, io.SeekStart); err != nil {
		return err
	}
	part, err := c.Store.PutPart(c.ctx, req, io.LimitReader(body, piece.length))
	if err != nil {
		return err
	}
	if obj.VersionID != "" {
		c.w.Header().Set("X-Amz-Copy-Source-Version-Id", obj.VersionID)
	}
	c.setEncryption(part.Encryption)
	c.writeXML(http.StatusOK, copyResultXML{
		XMLName:      xml.Name{Space: xmlNamespace, Local: "CopyPartResult"},
		LastModified: xmlTime(part.LastModified),
		ETag:         quoted(part.ETag),
		checksumsXML: checksumsOf(part.Checksum),
	})
	return nil
}

func (c *call) abortUpload() error {
	if err := c.Store.AbortUpload(c.ctx, c.bucket, c.key, c.query.Get("uploadId")); err != nil {
		return err
	}
	return c.noContent()
}

type completeUploadXML struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
	Location string
	Bucket   string
	Key      string
	ETag     string
	checksumsXML
	ChecksumType string `xml:",omitempty"`
}

func (c *call) completeUpload() error {
	req := s3model.CompleteRequest{Bucket: c.bucket, Key: c.key, UploadID: c.query.Get("uploadId"), Size: -1}
	var err error
	if req.If, err = c.writeCondition(); err != nil {
		return err
	}
	if req.Encryption, err = c.readEncryption(); err != nil {
		return err
	}
	if v, given := c.r.Header["X-Amz-Mp-Object-Size"]; given {
		var ok bool
		if req.Size, ok = parseDigits(v[0]); !ok {
			return invalidArgument("The header x-amz-mp-object-size must be a number.")
		}
	}
	if req.Parts, err = c.completeDocument(); err != nil {
		return err
	}
	if req.Checksum, err = c.completeChecksum(); err != nil {
		return err
	}
	obj, err := c.Store.CompleteUpload(c.ctx, req)
	if err != nil {
		return err
	}
	c.setVersion(obj.VersionID)
	c.setEncryption(obj.Encryption)
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	c.writeXML(http.StatusOK, completeUploadXML{
		Location: scheme + "://" + c.r.Host + c.r.URL.EscapedPath(),
		Bucket:   c.bucket, Key: c.key, ETag: quoted(obj.ETag),
		checksumsXML: checksumsOf(obj.Checksum), ChecksumType: obj.Checksum.Type,
	})
	return nil
}

// completeDocument reads the list of parts. The checksum headers of this request are
// about the object, so only Content-MD5 is checked against the document.
func (c *call) completeDocument() ([]s3model.Part, error) {
	body, err := c.sig.Body(c.r)
	if err != nil {
		return nil, err
	}
	p := &payload{body: body}
	if err := p.setMD5(c.r.Header); err != nil {
		return nil, err
	}
	doc, err := readDocument(p, maxCompleteDocument)
	if err != nil {
		return nil, err
	}
	return parseComplete(doc)
}

// parseComplete parses the body of CompleteMultipartUpload.
func parseComplete(doc []byte) ([]s3model.Part, error) {
	root, err := parseXML(doc, "CompleteMultipartUpload")
	if err != nil {
		return nil, err
	}
	var parts []s3model.Part
	err = root.decode(fields{"Part": many(func(n *node) error {
		var p s3model.Part
		var etag string
		f := fields{"PartNumber": number(&p.Number), "ETag": word(&etag)}
		for _, a := range checksumAlgorithms {
			f["Checksum"+a.name] = one(func(v *node) error {
				s, err := v.value()
				if s = strings.TrimSpace(s); err != nil || s == "" {
					return err
				}
				if p.Checksum.Algorithm != "" || !a.valid(s) {
					return malformedXML("a Part needs one valid checksum at most")
				}
				p.Checksum = s3model.Checksum{Algorithm: a.name, Value: s, Type: fullObject}
				return nil
			})
		}
		if err := n.decode(f); err != nil {
			return err
		}
		var ok bool
		if p.ETag, ok = parseETag([]string{etag}); !ok || p.Number < 1 || p.Number > maxPartNumber {
			return malformedXML("a Part needs a PartNumber from 1 to 10000 and an ETag")
		}
		if len(parts) > 0 && parts[len(parts)-1].Number >= p.Number {
			return s3model.ErrInvalidPartOrder
		}
		parts = append(parts, p)
		return nil
	})})
	if err == nil && len(parts) == 0 {
		err = malformedXML("it has no Part")
	}
	return parts, err
}

// completeChecksum is the checksum of the whole object that the client may have sent, or only
// its type. The store compares it with what follows from the parts.
func (c *call) completeChecksum() (s3model.Checksum, error) {
	sum := s3model.Checksum{Type: c.r.Header.Get("X-Amz-Checksum-Type")}
	header, err := checksumHeader(c.r.Header)
	if err != nil || header == "" {
		return sum, err
	}
	a := checksumByHeader(header)
	sum.Algorithm, sum.Value = a.name, c.r.Header.Get(header)
	if digest, _, _ := strings.Cut(sum.Value, "-"); !a.valid(digest) {
		return sum, invalidRequest("Value for " + header + " header is invalid.")
	}
	return sum, nil
}

type listPartsXML struct {
	XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
	Bucket               string
	Key                  string
	EncodingType         string `xml:",omitempty"`
	UploadID             string `xml:"UploadId"`
	Initiator            *ownerXML
	Owner                *ownerXML
	StorageClass         string
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	ChecksumAlgorithm    string    `xml:",omitempty"`
	ChecksumType         string    `xml:",omitempty"`
	Parts                []partXML `xml:"Part"`
}

type partXML struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
	checksumsXML
}

func (c *call) listParts() error {
	limit, err := c.limit("max-parts")
	if err != nil {
		return err
	}
	encode, err := c.encoder()
	if err != nil {
		return err
	}
	marker := 0
	if v := c.query.Get("part-number-marker"); v != "" {
		if marker, err = strconv.Atoi(v); err != nil || marker < 0 {
			return invalidArgument("Argument part-number-marker must be a number of 0 or more")
		}
	}
	upload, parts, err := c.Store.ListParts(c.ctx, c.bucket, c.key, c.query.Get("uploadId"))
	if err != nil {
		return err
	}
	doc := listPartsXML{
		Bucket: c.bucket, Key: encode(c.key), EncodingType: c.query.Get("encoding-type"), UploadID: upload.ID,
		Initiator: owner(), Owner: owner(),
		StorageClass: "STANDARD", PartNumberMarker: marker, MaxParts: limit,
		ChecksumAlgorithm: upload.ChecksumAlgorithm, ChecksumType: upload.ChecksumType,
	}
	for _, p := range parts {
		if p.Number <= marker {
			continue
		}
		if len(doc.Parts) == limit {
			doc.IsTruncated = true
			break
		}
		doc.Parts = append(doc.Parts, partXML{
			p.Number, xmlTime(p.LastModified), quoted(p.ETag), p.Size,
			checksumsOf(p.Checksum),
		})
		doc.NextPartNumberMarker = p.Number
	}
	c.writeXML(http.StatusOK, doc)
	return nil
}
