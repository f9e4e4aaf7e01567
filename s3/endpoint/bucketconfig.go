package endpoint

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

const bucketOwnerEnforced = "BucketOwnerEnforced"

// storedDocument returns the document of a subresource, or missing if there is none.
func (c *call) storedDocument(subresource string, missing *s3model.Error) ([]byte, error) {
	doc, err := c.Store.BucketConfig(c.ctx, c.bucket, subresource)
	if err == nil && doc == nil {
		err = missing
	}
	return doc, err
}

// storeXML keeps a validated document in the form in which it will be given back.
func (c *call) storeXML(subresource string, doc any, status int) error {
	body, err := encodeXML(doc)
	if err != nil {
		return err
	}
	if err := c.Store.SetBucketConfig(c.ctx, c.bucket, subresource, body); err != nil {
		return err
	}
	c.w.WriteHeader(status)
	return nil
}

// deleteConfig removes the document of the subresource that chose the operation.
func (c *call) deleteConfig() error {
	for _, subresource := range []string{"policy", "tagging", "publicAccessBlock"} {
		if c.query.Has(subresource) {
			if err := c.Store.SetBucketConfig(c.ctx, c.bucket, subresource, nil); err != nil {
				return err
			}
		}
	}
	return c.noContent()
}

type versioningXML struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ VersioningConfiguration"`
	Status  string   `xml:",omitempty"`
}

func (c *call) getVersioning() error {
	b, err := c.Store.GetBucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	c.writeXML(http.StatusOK, versioningXML{Status: string(b.Settings.Versioning)})
	return nil
}

func (c *call) putVersioning() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	state, err := parseVersioning(doc)
	if err != nil {
		return err
	}
	if err := c.Store.UpdateSettings(c.ctx, c.bucket, func(s *s3model.Settings) { s.Versioning = state }); err != nil {
		return err
	}
	return c.ok()
}

func parseVersioning(doc []byte) (s3model.Versioning, error) {
	root, err := parseXML(doc, "VersioningConfiguration")
	if err != nil {
		return "", err
	}
	var status, mfa string
	if err := root.decode(fields{"Status": word(&status), "MfaDelete": word(&mfa), "MFADelete": word(&mfa)}); err != nil {
		return "", err
	}
	if mfa != "" && mfa != "Disabled" {
		return "", notImplemented("MFA delete is not supported by this store.")
	}
	switch state := s3model.Versioning(status); state {
	case s3model.Enabled, s3model.Suspended:
		return state, nil
	}
	return "", malformedXML("Status must be Enabled or Suspended")
}

type encryptionXML struct {
	XMLName   xml.Name              `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ServerSideEncryptionConfiguration"`
	Algorithm string                `xml:"Rule>ApplyServerSideEncryptionByDefault>SSEAlgorithm"`
	BucketKey bool                  `xml:"Rule>BucketKeyEnabled"`
	Blocked   *blockedEncryptionXML `xml:"Rule>BlockedEncryptionTypes"`
}

type blockedEncryptionXML struct {
	Types []string `xml:"EncryptionType"`
}

// types is nil-safe.
func (b *blockedEncryptionXML) types() []string {
	if b == nil {
		return nil
	}
	return b.Types
}

// getBucketEncryption tells what is done: unlike AWS, where every bucket encrypts, a bucket
// of this store may not.
func (c *call) getBucketEncryption() error {
	b, err := c.Store.GetBucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	if !b.Settings.EncryptByDefault {
		return refuse("ServerSideEncryptionConfigurationNotFoundError", http.StatusNotFound,
			"The server side encryption configuration was not found")
	}
	rule := encryptionXML{Algorithm: "AES256", BucketKey: b.Settings.BucketKey}
	if blocked := b.Settings.BlockedEncryption; len(blocked) > 0 {
		rule.Blocked = &blockedEncryptionXML{blocked}
	}
	c.writeXML(http.StatusOK, rule)
	return nil
}

func (c *call) putBucketEncryption() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	rule, err := parseEncryption(doc)
	if err != nil {
		return err
	}
	return c.setEncryptionRule(true, rule, http.StatusOK)
}

func (c *call) deleteBucketEncryption() error {
	return c.setEncryptionRule(false, encryptionXML{}, http.StatusNoContent)
}

func (c *call) setEncryptionRule(on bool, rule encryptionXML, status int) error {
	if err := c.Store.UpdateSettings(c.ctx, c.bucket, func(s *s3model.Settings) {
		s.EncryptByDefault, s.BucketKey, s.BlockedEncryption = on, rule.BucketKey, rule.Blocked.types()
	}); err != nil {
		return err
	}
	c.w.WriteHeader(status)
	return nil
}

// parseEncryption accepts one rule with AES256 and refuses KMS.
func parseEncryption(doc []byte) (encryptionXML, error) {
	var out encryptionXML
	root, err := parseXML(doc, "ServerSideEncryptionConfiguration")
	if err != nil {
		return out, err
	}
	var algorithm, kmsKey string
	if err := root.decode(fields{"Rule": one(func(rule *node) error {
		return rule.decode(fields{
			"ApplyServerSideEncryptionByDefault": one(func(n *node) error {
				return n.decode(fields{"SSEAlgorithm": word(&algorithm), "KMSMasterKeyID": word(&kmsKey)})
			}),
			"BucketKeyEnabled": boolean(&out.BucketKey),
			"BlockedEncryptionTypes": one(func(n *node) error {
				out.Blocked = &blockedEncryptionXML{}
				return n.decode(fields{"EncryptionType": many(func(n *node) error {
					kind, err := n.value()
					if kind = strings.TrimSpace(kind); err == nil && kind != s3model.BlockSSEC && kind != s3model.BlockNone {
						err = malformedXML("an EncryptionType in BlockedEncryptionTypes is neither SSE-C nor NONE")
					}
					out.Blocked.Types = append(out.Blocked.Types, kind)
					return err
				})})
			}),
		})
	})}); err != nil {
		return out, err
	}
	blocked := out.Blocked.types()
	if algorithm == "" && out.Blocked != nil {
		algorithm = "AES256" // a rule may be about what is blocked alone
	}
	switch {
	case algorithm == "aws:kms", algorithm == "aws:kms:dsse":
		return out, notImplemented("Default encryption with " + algorithm + " is not possible: " + noKMS)
	case algorithm != "AES256":
		return out, malformedXML("the Rule needs ApplyServerSideEncryptionByDefault with SSEAlgorithm AES256")
	case kmsKey != "":
		return out, invalidArgument("a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms " +
			"or aws:kms:dsse")
	case out.Blocked != nil && (len(blocked) == 0 || len(blocked) > 1 && slices.Contains(blocked, s3model.BlockNone)):
		return out, malformedXML("BlockedEncryptionTypes needs SSE-C, or NONE alone")
	}
	return out, nil
}

type publicAccessBlockXML struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ PublicAccessBlockConfiguration"`
	BlockPublicAcls       bool
	IgnorePublicAcls      bool
	BlockPublicPolicy     bool
	RestrictPublicBuckets bool
}

func (c *call) getPublicAccessBlock() error {
	doc, err := c.storedDocument("publicAccessBlock",
		refuse("NoSuchPublicAccessBlockConfiguration", http.StatusNotFound,
			"The public access block configuration was not found"))
	if err != nil {
		return err
	}
	c.writeDocument(http.StatusOK, "application/xml", doc)
	return nil
}

func (c *call) putPublicAccessBlock() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	block, err := parsePublicAccessBlock(doc)
	if err != nil {
		return err
	}
	return c.storeXML("publicAccessBlock", block, http.StatusOK)
}

func parsePublicAccessBlock(doc []byte) (publicAccessBlockXML, error) {
	var out publicAccessBlockXML
	root, err := parseXML(doc, "PublicAccessBlockConfiguration")
	if err != nil {
		return out, err
	}
	return out, root.decode(fields{
		"BlockPublicAcls":       boolean(&out.BlockPublicAcls),
		"IgnorePublicAcls":      boolean(&out.IgnorePublicAcls),
		"BlockPublicPolicy":     boolean(&out.BlockPublicPolicy),
		"RestrictPublicBuckets": boolean(&out.RestrictPublicBuckets),
	})
}

func (c *call) getBucketTagging() error {
	doc, err := c.storedDocument("tagging", refuse("NoSuchTagSet", http.StatusNotFound, "The TagSet does not exist"))
	if err != nil {
		return err
	}
	c.writeDocument(http.StatusOK, "application/xml", doc)
	return nil
}

func (c *call) putBucketTagging() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	tags, err := parseTagging(doc, maxBucketTags)
	if err != nil {
		return err
	}
	return c.storeXML("tagging", taggingDocument(tags), http.StatusNoContent)
}

type ownershipXML struct {
	XMLName   xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ OwnershipControls"`
	Ownership string   `xml:"Rule>ObjectOwnership"`
}

func (c *call) getOwnership() error {
	if _, err := c.Store.GetBucket(c.ctx, c.bucket); err != nil {
		return err
	}
	c.writeXML(http.StatusOK, ownershipXML{Ownership: bucketOwnerEnforced})
	return nil
}

func (c *call) putOwnership() error {
	doc, err := c.document()
	if err != nil {
		return err
	}
	if err := parseOwnership(doc); err != nil {
		return err
	}
	if _, err := c.Store.GetBucket(c.ctx, c.bucket); err != nil {
		return err
	}
	return c.ok()
}

// parseOwnership accepts the one ownership there is.
func parseOwnership(doc []byte) error {
	root, err := parseXML(doc, "OwnershipControls")
	if err != nil {
		return err
	}
	var ownership string
	if err := root.decode(fields{"Rule": one(func(n *node) error {
		return n.decode(fields{"ObjectOwnership": word(&ownership)})
	})}); err != nil {
		return err
	}
	switch ownership {
	case bucketOwnerEnforced:
		return nil
	case "BucketOwnerPreferred", "ObjectWriter":
		return notImplemented("Object ownership other than BucketOwnerEnforced is not supported by this store.")
	}
	return malformedXML("the Rule needs ObjectOwnership")
}
