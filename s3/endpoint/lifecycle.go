package endpoint

import (
	"encoding/xml"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

const (
	maxLifecycleRules = 1000
	maxLifecycleDays  = math.MaxInt32 // beyond it a date would overflow, into the past
)

// The rules are kept only in the form in which the store applies them, so that what is
// given back is what is done.

type lifecycleXML struct {
	XMLName xml.Name           `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LifecycleConfiguration"`
	Rules   []lifecycleRuleXML `xml:"Rule"`
}

type lifecycleRuleXML struct {
	ID         string
	Filter     lifecycleFilterXML
	Status     string
	Expiration *struct {
		Days                      int    `xml:",omitempty"`
		Date                      string `xml:",omitempty"`
		ExpiredObjectDeleteMarker bool   `xml:",omitempty"`
	}
	NoncurrentVersionExpiration *struct {
		NoncurrentDays          int
		NewerNoncurrentVersions int `xml:",omitempty"`
	}
	AbortIncompleteMultipartUpload *struct{ DaysAfterInitiation int }
}

type lifecycleFilterXML struct {
	And *lifecycleConditionsXML
	lifecycleConditionsXML
}

type lifecycleConditionsXML struct {
	Prefix                *string
	Tag                   []tagXML
	ObjectSizeGreaterThan *int64
	ObjectSizeLessThan    *int64
}

const minimumSizeHeader = "X-Amz-Transition-Default-Minimum-Object-Size"

func (c *call) getLifecycle() error {
	b, err := c.Store.GetBucket(c.ctx, c.bucket)
	if err != nil {
		return err
	}
	if len(b.Settings.Lifecycle) == 0 {
		return refuse("NoSuchLifecycleConfiguration", http.StatusNotFound, "The lifecycle configuration does not exist")
	}
	var doc lifecycleXML
	for _, rule := range b.Settings.Lifecycle {
		doc.Rules = append(doc.Rules, lifecycleRule(rule))
	}
	c.w.Header().Set(minimumSizeHeader, "all_storage_classes_128K")
	c.writeXML(http.StatusOK, doc)
	return nil
}

func lifecycleRule(r s3model.LifecycleRule) lifecycleRuleXML {
	x := lifecycleRuleXML{ID: r.ID, Status: "Disabled", Filter: lifecycleFilter(r)}
	if r.Enabled {
		x.Status = "Enabled"
	}
	if r.ExpireDays > 0 || !r.ExpireDate.IsZero() || r.ExpireLoneDeleteMarkers {
		x.Expiration = &struct {
			Days                      int    `xml:",omitempty"`
			Date                      string `xml:",omitempty"`
			ExpiredObjectDeleteMarker bool   `xml:",omitempty"`
		}{Days: r.ExpireDays, ExpiredObjectDeleteMarker: r.ExpireLoneDeleteMarkers}
		if !r.ExpireDate.IsZero() {
			x.Expiration.Date = xmlTime(r.ExpireDate)
		}
	}
	if r.NoncurrentDays > 0 {
		x.NoncurrentVersionExpiration = &struct {
			NoncurrentDays          int
			NewerNoncurrentVersions int `xml:",omitempty"`
		}{r.NoncurrentDays, r.NewerNoncurrentVersions}
	}
	if r.AbortUploadsAfterDays > 0 {
		x.AbortIncompleteMultipartUpload = &struct{ DaysAfterInitiation int }{r.AbortUploadsAfterDays}
	}
	return x
}

// lifecycleFilter writes the conditions of a rule as S3 wants them: more than one go into And.
func lifecycleFilter(r s3model.LifecycleRule) lifecycleFilterXML {
	var x lifecycleConditionsXML
	count := len(r.Tags)
	for _, key := range slices.Sorted(maps.Keys(r.Tags)) {
		x.Tag = append(x.Tag, tagXML{key, r.Tags[key]})
	}
	if r.SizeAbove >= 0 {
		x.ObjectSizeGreaterThan = &r.SizeAbove
		count++
	}
	if r.SizeBelow >= 0 {
		x.ObjectSizeLessThan = &r.SizeBelow
		count++
	}
	if r.Prefix != "" {
		count++
	}
	if r.Prefix != "" || count == 0 {
		x.Prefix = &r.Prefix
	}
	if count > 1 {
		return lifecycleFilterXML{And: &x}
	}
	return lifecycleFilterXML{lifecycleConditionsXML: x}
}

func (c *call) putLifecycle() error {
	if v := c.r.Header.Get(minimumSizeHeader); v != "" && v != "all_storage_classes_128K" {
		return notImplemented("Lifecycle transitions are not supported by this store.")
	}
	doc, err := c.document()
	if err != nil {
		return err
	}
	rules, err := parseLifecycle(doc)
	if err != nil {
		return err
	}
	if err := c.Store.UpdateSettings(c.ctx, c.bucket, func(s *s3model.Settings) { s.Lifecycle = rules }); err != nil {
		return err
	}
	c.w.Header().Set(minimumSizeHeader, "all_storage_classes_128K")
	return c.ok()
}

func (c *call) deleteLifecycle() error {
	if err := c.Store.UpdateSettings(c.ctx, c.bucket, func(s *s3model.Settings) { s.Lifecycle = nil }); err != nil {
		return err
	}
	return c.noContent()
}

// parseLifecycle parses a configuration. An element that the store would not apply is refused.
func parseLifecycle(doc []byte) ([]s3model.LifecycleRule, error) {
	root, err := parseXML(doc, "LifecycleConfiguration")
	if err != nil {
		return nil, err
	}
	var rules []s3model.LifecycleRule
	ids := map[string]bool{}
	err = root.decode(fields{"Rule": many(func(n *node) error {
		rule, err := parseLifecycleRule(n)
		if err != nil {
			return err
		}
		if rule.ID == "" {
			for i := len(rules) + 1; rule.ID == "" || ids[rule.ID]; i++ {
				rule.ID = fmt.Sprintf("rule-%d", i)
			}
		}
		if ids[rule.ID] {
			return invalidArgument("Rule ID must be unique. Found same ID for more than one rule")
		}
		ids[rule.ID] = true
		rules = append(rules, rule)
		return nil
	})})
	if err == nil && (len(rules) == 0 || len(rules) > maxLifecycleRules) {
		err = malformedXML("it must have 1 to 1000 Rules")
	}
	return rules, err
}

func parseLifecycleRule(n *node) (s3model.LifecycleRule, error) {
	r := s3model.LifecycleRule{SizeAbove: -1, SizeBelow: -1}
	var status string
	var scoped, filtered bool
	err := n.decode(fields{
		"ID":     text(&r.ID),
		"Status": word(&status),
		// The form of before filters existed.
		"Prefix": one(func(p *node) (err error) {
			scoped = true
			r.Prefix, err = p.value()
			return err
		}),
		"Filter": one(func(f *node) error {
			filtered = true
			return parseLifecycleFilter(f, &r)
		}),
		"Expiration": one(func(e *node) error { return parseExpiration(e, &r) }),
		"NoncurrentVersionExpiration": one(func(e *node) error {
			err := e.decode(fields{
				"NoncurrentDays":          number(&r.NoncurrentDays),
				"NewerNoncurrentVersions": number(&r.NewerNoncurrentVersions),
			})
			if err == nil && (r.NoncurrentDays < 1 || r.NewerNoncurrentVersions < 0 || r.NewerNoncurrentVersions > 100) {
				err = invalidArgument("'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer, and " +
					"'NewerNoncurrentVersions' at most 100")
			}
			return err
		}),
		"AbortIncompleteMultipartUpload": one(func(e *node) error {
			err := e.decode(fields{"DaysAfterInitiation": number(&r.AbortUploadsAfterDays)})
			if err == nil && r.AbortUploadsAfterDays < 1 {
				err = invalidArgument("'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer")
			}
			return err
		}),
		"Transition":                  unsupported("The lifecycle action Transition"),
		"NoncurrentVersionTransition": unsupported("The lifecycle action NoncurrentVersionTransition"),
	})
	if err != nil {
		return r, err
	}
	switch {
	case status != "Enabled" && status != "Disabled":
		return r, malformedXML("the Status of a Rule must be Enabled or Disabled")
	case scoped == filtered:
		return r, malformedXML("a Rule needs either Filter or Prefix")
	case len(r.ID) > 255:
		return r, invalidArgument("ID length should not exceed allowed limit of 255")
	}
	r.Enabled = status == "Enabled"
	return r, checkLifecycleRule(r)
}

func parseExpiration(n *node, r *s3model.LifecycleRule) error {
	var days *int
	if err := n.decode(fields{
		"Days": one(func(d *node) error {
			days = &r.ExpireDays
			return number(days).set(d)
		}),
		"Date":                      date(&r.ExpireDate),
		"ExpiredObjectDeleteMarker": boolean(&r.ExpireLoneDeleteMarkers),
	}); err != nil {
		return err
	}
	if days != nil && *days < 1 {
		return invalidArgument("'Days' for Expiration action must be a positive integer")
	}
	if !r.ExpireDate.IsZero() && !r.ExpireDate.Equal(r.ExpireDate.Truncate(24*time.Hour)) {
		return invalidArgument("'Date' must be at midnight GMT")
	}
	given := 0
	for _, is := range []bool{days != nil, !r.ExpireDate.IsZero(), r.ExpireLoneDeleteMarkers} {
		if is {
			given++
		}
	}
	if given > 1 {
		return malformedXML("an Expiration must have only one of Days, Date and ExpiredObjectDeleteMarker")
	}
	return nil
}

// parseLifecycleFilter parses a Filter: one condition, or several inside And.
func parseLifecycleFilter(n *node, r *s3model.LifecycleRule) error {
	if len(n.children) > 1 {
		return malformedXML("a Filter must have only one condition; use And")
	}
	conditions := conditionFields(r)
	conditions["And"] = one(func(and *node) error {
		if len(and.children) < 2 {
			return malformedXML("And needs two conditions")
		}
		return and.decode(conditionFields(r))
	})
	return n.decode(conditions)
}

func conditionFields(r *s3model.LifecycleRule) fields {
	size := func(dst *int64) field {
		return one(func(n *node) error {
			err := number(dst).set(n)
			if err == nil && *dst < 0 {
				err = invalidArgument(n.name + " must not be negative")
			}
			return err
		})
	}
	return fields{
		"Prefix": text(&r.Prefix),
		"Tag": many(func(n *node) error {
			if r.Tags == nil {
				r.Tags = map[string]string{}
			}
			return parseTag(n, r.Tags)
		}),
		"ObjectSizeGreaterThan": size(&r.SizeAbove),
		"ObjectSizeLessThan":    size(&r.SizeBelow),
	}
}

// checkLifecycleRule refuses combinations that S3 refuses.
func checkLifecycleRule(r s3model.LifecycleRule) error {
	if err := checkKey(r.Prefix); err != nil {
		return err
	}
	if err := checkTags(r.Tags, maxObjectTags); err != nil {
		return err
	}
	bySize := r.SizeAbove >= 0 || r.SizeBelow >= 0
	switch {
	case r.ExpireDays == 0 && r.ExpireDate.IsZero() && !r.ExpireLoneDeleteMarkers && r.NoncurrentDays == 0 &&
		r.AbortUploadsAfterDays == 0:
		return invalidRequest("At least one action needs to be specified in a rule")
	case max(r.ExpireDays, r.NoncurrentDays, r.AbortUploadsAfterDays) > maxLifecycleDays:
		return invalidArgument(fmt.Sprintf("A number of days must be at most %d", maxLifecycleDays))
	case r.SizeBelow == 0:
		return invalidRequest("'ObjectSizeLessThan' must be greater than 0; no object is smaller than that.")
	case r.ExpireLoneDeleteMarkers && len(r.Tags) > 0:
		return invalidRequest("ExpiredObjectDeleteMarker cannot be specified with a tag filter.")
	case r.AbortUploadsAfterDays > 0 && (len(r.Tags) > 0 || bySize):
		return invalidRequest("AbortIncompleteMultipartUpload cannot be specified with tags or object sizes.")
	case r.SizeAbove >= 0 && r.SizeBelow >= 0 && r.SizeBelow <= r.SizeAbove:
		return invalidRequest("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")
	}
	return nil
}
