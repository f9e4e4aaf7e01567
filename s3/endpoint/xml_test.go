package endpoint

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/s3/s3model"
)

// documents are the parsers of all request documents, each with one that it accepts.
var documents = []struct {
	name  string
	valid string
	parse func([]byte) error
}{
	{"CreateBucketConfiguration", `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>`, func(b []byte) error { _, err := parseCreateBucket(b); return err }},
	{"Delete", `<Delete><Quiet>true</Quiet><Object><Key> a </Key><VersionId>v</VersionId><ETag>"x"</ETag></Object></Delete>`, func(b []byte) error { _, _, err := parseDelete(b); return err }},
	{"CompleteMultipartUpload", `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>`, func(b []byte) error { _, err := parseComplete(b); return err }},
	{"Tagging", `<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>`, func(b []byte) error { _, err := parseTagging(b, 10); return err }},
	{"VersioningConfiguration", `<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Disabled</MfaDelete></VersioningConfiguration>`, func(b []byte) error { _, err := parseVersioning(b); return err }},
	{"ServerSideEncryptionConfiguration", `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>`, func(doc []byte) error { _, err := parseEncryption(doc); return err }},
	{"PublicAccessBlockConfiguration", `<PublicAccessBlockConfiguration><BlockPublicAcls>TRUE</BlockPublicAcls></PublicAccessBlockConfiguration>`, func(b []byte) error { _, err := parsePublicAccessBlock(b); return err }},
	{"OwnershipControls", `<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>`, parseOwnership},
	{"AccessControlPolicy", `<AccessControlPolicy><Owner><ID>` + ownerID + `</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>` + ownerID + `</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`, parseACL},
	{"LifecycleConfiguration", `<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><And><Prefix>p</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter><Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration></Rule></LifecycleConfiguration>`, func(b []byte) error { _, err := parseLifecycle(b); return err }},
}

func TestDocuments_Strict(t *testing.T) {
	t.Parallel()
	for _, d := range documents {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			if err := d.parse([]byte(d.valid)); err != nil {
				t.Fatalf("got error %v, want the document accepted", err)
			}
			last := strings.LastIndex(d.valid, "</")
			for name, doc := range map[string]string{
				"other root":        "<Other/>",
				"cut":               d.valid[:len(d.valid)-1],
				"not closed":        d.valid[:last],
				"two roots":         d.valid + d.valid,
				"text behind":       d.valid + "x",
				"text inside":       d.valid[:last] + "text" + d.valid[last:],
				"unknown element":   d.valid[:last] + "<Unknown/>" + d.valid[last:],
				"other namespace":   d.valid[:last] + `<Rule xmlns="urn:x"/>` + d.valid[last:],
				"DTD":               `<!DOCTYPE x [<!ENTITY e "x">]>` + d.valid,
				"deep":              strings.Repeat("<"+d.name+">", 20) + strings.Repeat("</"+d.name+">", 20),
				"not XML":           "{}",
				"only a comment":    "<!-- x -->",
				"undefined entity":  d.valid[:last] + "&e;" + d.valid[last:],
				"not UTF-8":         d.valid[:last] + "\xff" + d.valid[last:],
				"only a directive":  "<!x>",
				"processing at end": d.valid + "<?",
			} {
				err := d.parse([]byte(doc))
				var e *s3model.Error
				if !errors.As(err, &e) || e.Code != "MalformedXML" || e.Status != 400 {
					t.Errorf("%s: got %v, want MalformedXML", name, err)
				}
			}
		})
	}
}

func TestParseXML_Large(t *testing.T) {
	t.Parallel()
	var doc strings.Builder
	doc.WriteString("<CompleteMultipartUpload>")
	for i := range maxPartNumber {
		fmt.Fprintf(&doc, "<Part><PartNumber>%d</PartNumber><ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag><ChecksumSHA256>LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=</ChecksumSHA256></Part>", i+1)
	}
	doc.WriteString("</CompleteMultipartUpload>")
	if parts, err := parseComplete([]byte(doc.String())); err != nil || len(parts) != maxPartNumber || doc.Len() > maxCompleteDocument {
		t.Errorf("got %d parts of %d bytes, %v, want all that an upload can have", len(parts), doc.Len(), err)
	}
	if _, err := parseXML([]byte("<x>"+strings.Repeat("<a/>", maxElements)+"</x>"), "x"); err == nil {
		t.Error("got too many elements accepted")
	}
	// Text in many pieces must not cost the square of its length.
	pieces := "<x>" + strings.Repeat("a<!---->", maxDocument/8) + "</x>"
	if n, err := parseXML([]byte(pieces), "x"); err != nil || len(n.text) != maxDocument/8 {
		t.Errorf("got error %v, want the text in one", err)
	}
}

func TestParseLifecycle_Refused(t *testing.T) {
	t.Parallel()
	const filter = "<Filter><Prefix>p</Prefix></Filter>"
	const days = "<Expiration><Days>1</Days></Expiration>"
	for _, tt := range []struct{ name, rule, code string }{
		{"no status", filter + days, "MalformedXML"},
		{"status", "<Status>On</Status>" + filter + days, "MalformedXML"},
		{"no filter", "<Status>Enabled</Status>" + days, "MalformedXML"},
		{"filter and prefix", "<Status>Enabled</Status><Prefix/>" + filter + days, "MalformedXML"},
		{"no action", "<Status>Enabled</Status>" + filter, "InvalidRequest"},
		{"two filters", "<Status>Enabled</Status><Filter><Prefix>p</Prefix><ObjectSizeLessThan>1</ObjectSizeLessThan></Filter>" + days, "MalformedXML"},
		{"and of one", "<Status>Enabled</Status><Filter><And><Prefix>p</Prefix></And></Filter>" + days, "MalformedXML"},
		{"days zero", "<Status>Enabled</Status>" + filter + "<Expiration><Days>0</Days></Expiration>", "InvalidArgument"},
		{"days and date", "<Status>Enabled</Status>" + filter + "<Expiration><Days>1</Days><Date>2030-01-01</Date></Expiration>", "MalformedXML"},
		{"date not midnight", "<Status>Enabled</Status>" + filter + "<Expiration><Date>2030-01-01T01:00:00Z</Date></Expiration>", "InvalidArgument"},
		{"date nonsense", "<Status>Enabled</Status>" + filter + "<Expiration><Date>soon</Date></Expiration>", "MalformedXML"},
		{"marker with tag", "<Status>Enabled</Status><Filter><Tag><Key>a</Key><Value/></Tag></Filter><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>", "InvalidRequest"},
		{"abort with size", "<Status>Enabled</Status><Filter><ObjectSizeLessThan>1</ObjectSizeLessThan></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>", "InvalidRequest"},
		{"abort zero", "<Status>Enabled</Status>" + filter + "<AbortIncompleteMultipartUpload/>", "InvalidArgument"},
		{"noncurrent without days", "<Status>Enabled</Status>" + filter + "<NoncurrentVersionExpiration><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>", "InvalidArgument"},
		{"noncurrent too many", "<Status>Enabled</Status>" + filter + "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>101</NewerNoncurrentVersions></NoncurrentVersionExpiration>", "InvalidArgument"},
		{"sizes crossed", "<Status>Enabled</Status><Filter><And><ObjectSizeGreaterThan>2</ObjectSizeGreaterThan><ObjectSizeLessThan>1</ObjectSizeLessThan></And></Filter>" + days, "InvalidRequest"},
		{"size negative", "<Status>Enabled</Status><Filter><ObjectSizeGreaterThan>-1</ObjectSizeGreaterThan></Filter>" + days, "InvalidArgument"},
		{"size below zero", "<Status>Enabled</Status><Filter><ObjectSizeLessThan>0</ObjectSizeLessThan></Filter>" + days, "InvalidRequest"},
		{"days without end", "<Status>Enabled</Status>" + filter + "<Expiration><Days>9223372036854775807</Days></Expiration>", "InvalidArgument"},
		{"noncurrent days without end", "<Status>Enabled</Status>" + filter + "<NoncurrentVersionExpiration><NoncurrentDays>2147483648</NoncurrentDays></NoncurrentVersionExpiration>", "InvalidArgument"},
		{"abort days without end", "<Status>Enabled</Status>" + filter + "<AbortIncompleteMultipartUpload><DaysAfterInitiation>2147483648</DaysAfterInitiation></AbortIncompleteMultipartUpload>", "InvalidArgument"},
		{"date after the last", "<Status>Enabled</Status>" + filter + "<Expiration><Date>9999-12-31T23:00:00-01:00</Date></Expiration>", "MalformedXML"},
		{"transition", "<Status>Enabled</Status>" + filter + "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>", "NotImplemented"},
		{"noncurrent transition", "<Status>Enabled</Status>" + filter + days + "<NoncurrentVersionTransition/>", "NotImplemented"},
		{"long ID", "<ID>" + strings.Repeat("x", 256) + "</ID><Status>Enabled</Status>" + filter + days, "InvalidArgument"},
	} {
		_, err := parseLifecycle([]byte("<LifecycleConfiguration><Rule>" + tt.rule + "</Rule></LifecycleConfiguration>"))
		var e *s3model.Error
		if !errors.As(err, &e) || e.Code != tt.code {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.code)
		}
	}
	rules, err := parseLifecycle([]byte("<LifecycleConfiguration><Rule><Status>Enabled</Status><Prefix>old/</Prefix>" + days + "</Rule><Rule><Status>Enabled</Status><Filter/>" + days + "</Rule></LifecycleConfiguration>"))
	if err != nil || len(rules) != 2 || rules[0].ID == rules[1].ID || rules[0].Prefix != "old/" || rules[0].SizeAbove != -1 {
		t.Errorf("got %+v, %v, want two rules with IDs, the first for old/", rules, err)
	}
}

// FuzzXML feeds every parser of request documents. What they accept must be
// accepted for a reason: a document with another root never is.
func FuzzXML(f *testing.F) {
	for i, d := range documents {
		f.Add(byte(i), []byte(d.valid))
	}
	f.Add(byte(0), []byte(`<?xml version="1.0" encoding="UTF-8"?><!--x--><a b="c"><![CDATA[x]]>&#x41;</a>`))
	f.Fuzz(func(t *testing.T, kind byte, doc []byte) {
		d := documents[int(kind)%len(documents)]
		err := d.parse(doc)
		if err == nil {
			if len(doc) > 0 && !strings.Contains(string(doc), d.name) {
				t.Errorf("%s: accepted %q", d.name, doc)
			}
			return
		}
		var e *s3model.Error
		if !errors.As(err, &e) || e.Status < 400 || e.Status > 501 || e.Code == "" {
			t.Errorf("%s: got %v for %q, want a refusal with code and status", d.name, err, doc)
		}
		if _, err := parsePolicy(testBucket, doc); err != nil && !errors.As(err, &e) {
			t.Errorf("got %v for policy %q, want a refusal with a code", err, doc)
		}
	})
}
