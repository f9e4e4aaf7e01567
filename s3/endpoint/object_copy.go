package endpoint

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
	"github.com/statelatch/statelatch/s3/sigv4"
)

// checksumsXML is the part of several answers that tells checksums.
type checksumsXML struct {
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
}

func checksumsOf(sum s3model.Checksum) checksumsXML {
	var out checksumsXML
	switch sum.Algorithm {
	case "CRC32":
		out.ChecksumCRC32 = sum.Value
	case "CRC32C":
		out.ChecksumCRC32C = sum.Value
	case "CRC64NVME":
		out.ChecksumCRC64NVME = sum.Value
	case "SHA1":
		out.ChecksumSHA1 = sum.Value
	case "SHA256":
		out.ChecksumSHA256 = sum.Value
	}
	return out
}

type copyResultXML struct {
	XMLName      xml.Name
	LastModified string
	ETag         string
	checksumsXML
	ChecksumType string `xml:",omitempty"`
}

// copySource parses x-amz-copy-source and the key that reads it.
func (c *call) copySource() (s3model.ReadRequest, error) {
	var src s3model.ReadRequest
	raw, version, hasVersion := strings.Cut(c.r.Header.Get("X-Amz-Copy-Source"), "?versionId=")
	if strings.HasPrefix(raw, "arn:") {
		return src, notImplemented("A copy source given as an ARN is not supported; use BUCKET/KEY.")
	}
	path, err := url.PathUnescape(raw)
	if err != nil || (hasVersion && version == "") {
		return src, invalidArgument("The header x-amz-copy-source must be BUCKET/KEY or " +
			"BUCKET/KEY?versionId=ID, URL encoded.")
	}
	var ok bool
	src.Bucket, src.Key, ok = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || src.Key == "" || !s3model.ValidBucketName(src.Bucket) {
		return src, invalidArgument("The header x-amz-copy-source must name a bucket and a key.")
	}
	if err := checkKey(src.Key); err != nil {
		return src, err
	}
	if src.VersionID, err = url.QueryUnescape(version); err != nil {
		return src, invalidArgument("The version ID in x-amz-copy-source is not URL encoded.")
	}
	src.Encryption, err = c.customerKey(headerSrcSSEC)
	return src, err
}

// checkCopySource evaluates the conditions on the source. Both kinds of failure are 412 for a copy.
func (c *call) checkCopySource(obj s3model.Object) error {
	// A read may ignore a broken date; here it would be a condition that is not checked.
	for _, name := range sourceConditions[2:] {
		for _, value := range c.r.Header.Values(name) {
			if _, err := sigv4.ParseTime(value); err != nil {
				return invalidArgument("The header " + name + " must be an HTTP date, such as " + http.TimeFormat + ".")
			}
		}
	}
	if status, name := readConditions(c.r.Header, "X-Amz-Copy-Source-", obj); status != 0 {
		c.condition = "x-amz-copy-source-" + name
		return s3model.ErrPreconditionFailed
	}
	return nil
}

// directive parses x-amz-metadata-directive or x-amz-tagging-directive.
func (c *call) directive(name string) (replace bool, err error) {
	switch c.r.Header.Get(name) {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	}
	return false, invalidArgument("The header " + strings.ToLower(name) + " must be COPY or REPLACE.")
}

func (c *call) copyObject() error {
	src, err := c.copySource()
	if err != nil {
		return err
	}
	replaceMetadata, err := c.directive("X-Amz-Metadata-Directive")
	if err != nil {
		return err
	}
	replaceTags, err := c.directive("X-Amz-Tagging-Directive")
	if err != nil {
		return err
	}
	dst, err := c.putRequest()
	if err != nil {
		return err
	}
	itself := src.Bucket == dst.Bucket && src.Key == dst.Key && src.VersionID == ""
	if itself && !replaceMetadata && !replaceTags && !dst.Encryption.SSES3 && dst.Encryption.CustomerKey == nil {
		return invalidRequest("This copy request is illegal because it is trying to copy an object to itself without " +
			"changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	if name := c.r.Header.Get("X-Amz-Checksum-Algorithm"); name != "" {
		a := checksumByName(name)
		if a == nil {
			return errUnknownChecksum
		}
		dst.ChecksumAlgorithm = a.name
	}
	if dst.If, err = c.writeCondition(); err != nil {
		return err
	}
	destinationCondition := c.condition

	if err := c.permitSource(src); err != nil {
		return err
	}
	obj, err := c.Store.Head(c.ctx, src)
	if err != nil {
		return err
	}
	if err := c.checkCopySource(obj); err != nil {
		return err
	}
	if obj.TagCount > 0 && !replaceTags {
		if err := c.permitTagCopy(src); err != nil {
			return err
		}
	}
	if obj.Size > maxPutSize {
		return invalidRequest("The specified copy source is larger than the maximum allowable size for a copy " +
			"source: 5368709120")
	}
	// The version that was checked is the one that is copied, whatever happens to the key
	// meanwhile. Without a condition there was nothing to check, and a 412 would be taken for
	// one about the destination.
	src.VersionID = obj.VersionID
	if c.sourceCondition() != "" {
		src.SourceETag = obj.ETag
	}
	copied, err := c.Store.Copy(c.ctx, src, dst, replaceMetadata, replaceTags)
	if err != nil {
		c.condition = destinationCondition
		return err
	}
	h := c.w.Header()
	if obj.VersionID != "" {
		h.Set("X-Amz-Copy-Source-Version-Id", obj.VersionID)
	}
	c.setVersion(copied.VersionID)
	c.setEncryption(copied.Encryption)
	c.writeXML(http.StatusOK, copyResultXML{
		XMLName:      xml.Name{Space: xmlNamespace, Local: "CopyObjectResult"},
		LastModified: xmlTime(copied.LastModified),
		ETag:         quoted(copied.ETag),
		checksumsXML: checksumsOf(copied.Checksum),
		ChecksumType: copied.Checksum.Type,
	})
	return nil
}
