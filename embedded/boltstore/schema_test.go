package boltstore

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/statelatch/statelatch/s3/s3model"
)

// The stored forms, byte for byte: a store that was written by an earlier version must be
// read by a later one. A change here needs a higher formatVersion.
func TestRecords_Golden(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		v    any
		want string
	}{
		{
			"bucket",
			bucketRecord{Location: "eu-west-1", Created: 1, Settings: s3model.Settings{
				Versioning: s3model.Enabled, EncryptByDefault: true, Lifecycle: []s3model.LifecycleRule{{
					ID: "r", Enabled: true, Prefix: "p", Tags: map[string]string{"a": "b"}, SizeAbove: -1, SizeBelow: 5, ExpireDays: 1,
					ExpireDate: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), ExpireLoneDeleteMarkers: true,
					NoncurrentDays: 2, NewerNoncurrentVersions: 3, AbortUploadsAfterDays: 4,
				}},
			}},
			`{"location":"eu-west-1","created":1,"settings":{"Versioning":"Enabled","EncryptByDefault":true,"Lifecycle":[{"ID":"r","Enabled":true,` +
				`"Prefix":"p","Tags":{"a":"b"},"SizeAbove":-1,"SizeBelow":5,"ExpireDays":1,"ExpireDate":"2026-01-02T00:00:00Z",` +
				`"ExpireLoneDeleteMarkers":true,"NoncurrentDays":2,"NewerNoncurrentVersions":3,"AbortUploadsAfterDays":4}]}}`,
		},
		{
			"version",
			record{
				Seq: 7, ID: []byte("0123456789abcdef"), Null: true, ETag: "e", Size: 5, Modified: 2, Retired: 3,
				Metadata: map[string]string{"content-type": "a/b"}, Tags: map[string]string{"t": "v"},
				Checksum: &checksumRecord{Algorithm: "SHA256", Value: "c", Type: fullObject},
				Seal:     &seal{Customer: true, Salt: []byte{1}, Verifier: []byte{2}}, Multipart: true,
				Bodies: []body{{Size: 3, File: "f", Salt: []byte{3}, Part: 1}, {Size: 2, Inline: 9, Part: 2}},
			},
			`{"seq":7,"id":"MDEyMzQ1Njc4OWFiY2RlZg==","null":true,"etag":"e","size":5,"modified":2,"retired":3,"metadata":{"content-type":"a/b"},` +
				`"tags":{"t":"v"},"checksum":{"algorithm":"SHA256","value":"c","type":"FULL_OBJECT"},"seal":{"customer":true,"salt":"AQ==","verifier":"Ag=="},` +
				`"multipart":true,"bodies":[{"size":3,"file":"f","salt":"Aw==","part":1},{"size":2,"inline":9,"part":2}]}`,
		},
		{"marker", record{Seq: 1, ID: []byte("x"), Marker: true, Modified: 2}, `{"seq":1,"id":"eA==","marker":true,"modified":2}`},
		{
			"upload",
			uploadRecord{Started: 1, Seal: &seal{}, ChecksumAlgorithm: "CRC32", ChecksumType: composite},
			`{"started":1,"seal":{},"checksumAlgorithm":"CRC32","checksumType":"COMPOSITE"}`,
		},
		{"part", partRecord{ETag: "e", Modified: 1, Body: body{Size: 1, Inline: 2}}, `{"etag":"e","modified":1,"body":{"size":1,"inline":2}}`},
	} {
		if got, err := encode(tt.v); err != nil || string(got) != tt.want {
			t.Errorf("%s:\n got %s, %v\nwant %s", tt.name, got, err, tt.want)
		}
	}
}

// Keys that are derived differently would make everything encrypted unreadable.
func TestBodyKey_Golden(t *testing.T) {
	t.Parallel()
	secret, salt := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	b := binding{bucket: "b", key: "k", id: []byte("0123456789abcdef"), part: 3}
	base, err := bodyKey(secret, salt, b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := encodeSum(base), "BYl1Gs78zVPXUr9WnSs48w8awACUvQMx9VknlZ6FNz0="; got != want {
		t.Errorf("body key: got %s, want %s", got, want)
	}
	seen := [][]byte{base}
	for _, other := range []binding{
		{bucket: "bk", key: "", id: b.id, part: 3},
		{bucket: "b", key: "k2", id: b.id, part: 3},
		{bucket: "b", key: "k", id: []byte("0123456789abcdeF"), part: 3},
		{bucket: "b", key: "k", id: b.id, part: 4},
	} {
		key, err := bodyKey(secret, salt, other)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(seen, func(k []byte) bool { return bytes.Equal(k, key) }) {
			t.Errorf("%+v has the key of another body", other)
		}
		seen = append(seen, key)
	}
}

func TestHistoryKey_OrderAndInverse(t *testing.T) {
	t.Parallel()
	sorted := [][]byte{
		historyKey("b", "a", 300), historyKey("b", "a", 256), historyKey("b", "a", 255), historyKey("b", "a", 1),
		historyKey("b", "a\x01", 9), historyKey("b", "a/b", 400), historyKey("b", "ab", 1),
	}
	if !slices.IsSortedFunc(sorted, bytes.Compare) {
		t.Error("the keys are not in the order of keys, newest first")
	}
	key, seq, ok := splitHistoryKey(historyKey("b", "a/b", 400)[len("b")+1:])
	if !ok || string(key) != "a/b" || seq != 400 {
		t.Errorf("splitHistoryKey: got %q, %d, %t", key, seq, ok)
	}
	for _, bad := range []string{"", "short", "123456789"} {
		if _, _, ok := splitHistoryKey([]byte(bad)); ok {
			t.Errorf("splitHistoryKey(%q): got ok", bad)
		}
	}
	if got := after([]byte("a\xff\xff")); string(got) != "b" {
		t.Errorf("after: got %q, want b", got)
	}
	if got := after([]byte("\xff")); got != nil {
		t.Errorf("after: got %q, want nil", got)
	}
}
