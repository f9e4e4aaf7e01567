package s3model

import "strings"

// DefaultRegion is where a bucket without a location is.
const DefaultRegion = "us-east-1"

// Region is where the bucket is.
func (b Bucket) Region() string {
	if b.Location == "" {
		return DefaultRegion
	}
	return b.Location
}

// RegionRules says in words what [ValidRegion] accepts.
const RegionRules = "up to 64 letters, digits and '-', such as eu-central-1"

// ValidRegion reports whether a text can be the name of a region. Which there are only AWS knows.
func ValidRegion(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(strings.ToLower(name),
		"abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
