package endpoint

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/statelatch/statelatch/s3/s3model"
)

type tagXML struct {
	Key   string
	Value string
}

type taggingXML struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ Tagging"`
	TagSet  struct {
		Tag []tagXML `xml:",omitempty"`
	}
}

func taggingDocument(tags map[string]string) taggingXML {
	var doc taggingXML
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		doc.TagSet.Tag = append(doc.TagSet.Tag, tagXML{key, tags[key]})
	}
	return doc
}

// parseTagging parses a Tagging document with at most limit tags.
func parseTagging(doc []byte, limit int) (map[string]string, error) {
	root, err := parseXML(doc, "Tagging")
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	complete := false
	err = root.decode(fields{"TagSet": one(func(set *node) error {
		complete = true
		return set.decode(fields{"Tag": many(func(n *node) error { return parseTag(n, tags) })})
	})})
	if err != nil {
		return nil, err
	}
	if !complete {
		return nil, malformedXML("it has no TagSet")
	}
	return tags, checkTags(tags, limit)
}

// parseTag parses a Tag element into tags.
func parseTag(n *node, tags map[string]string) error {
	var tag tagXML
	var hasValue bool
	if err := n.decode(fields{"Key": text(&tag.Key), "Value": one(func(v *node) (err error) {
		hasValue = true
		tag.Value, err = v.value()
		return err
	})}); err != nil {
		return err
	}
	if tag.Key == "" || !hasValue {
		return malformedXML("a Tag needs a Key and a Value")
	}
	if _, twice := tags[tag.Key]; twice {
		return refuse("InvalidTag", http.StatusBadRequest, "Cannot provide multiple Tags with the same key")
	}
	tags[tag.Key] = tag.Value
	return nil
}

// checkTags applies S3's limits.
func checkTags(tags map[string]string, limit int) error {
	if len(tags) > limit {
		return refuse("BadRequest", http.StatusBadRequest, fmt.Sprintf("Tags cannot be greater than %d", limit))
	}
	for key, value := range tags {
		switch {
		case key == "" || utf8.RuneCountInString(key) > 128 || !utf8.ValidString(key):
			return refuse("InvalidTag", http.StatusBadRequest,
				"The TagKey you have provided is invalid; it may have 1 to 128 characters.")
		case utf8.RuneCountInString(value) > 256 || !utf8.ValidString(value):
			return refuse("InvalidTag", http.StatusBadRequest,
				"The TagValue you have provided is invalid; it may have up to 256 characters.")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return refuse("InvalidTag", http.StatusBadRequest, "System tags cannot be added/updated by requester")
		}
	}
	return nil
}

// readRequest names the version that the request is for.
func (c *call) readRequest() (s3model.ReadRequest, error) {
	req := s3model.ReadRequest{Bucket: c.bucket, Key: c.key, VersionID: c.query.Get("versionId")}
	if c.query.Has("versionId") && req.VersionID == "" {
		return req, invalidArgument("Version id cannot be the empty string")
	}
	return req, nil
}

func (c *call) getObjectTagging() error {
	req, err := c.readRequest()
	if err != nil {
		return err
	}
	tags, obj, err := c.Store.Tags(c.ctx, req)
	if err != nil {
		return err
	}
	c.setVersion(obj.VersionID)
	c.writeXML(http.StatusOK, taggingDocument(tags))
	return nil
}

func (c *call) putObjectTagging() error {
	req, err := c.readRequest()
	if err != nil {
		return err
	}
	doc, err := c.document()
	if err != nil {
		return err
	}
	tags, err := parseTagging(doc, maxObjectTags)
	if err != nil {
		return err
	}
	obj, err := c.Store.SetTags(c.ctx, req, tags)
	if err != nil {
		return err
	}
	c.setVersion(obj.VersionID)
	return c.ok()
}

func (c *call) deleteObjectTagging() error {
	req, err := c.readRequest()
	if err != nil {
		return err
	}
	obj, err := c.Store.SetTags(c.ctx, req, nil)
	if err != nil {
		return err
	}
	c.setVersion(obj.VersionID)
	return c.noContent()
}
