package boltstore

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/statelatch/statelatch/s3/s3model"
)

// modelVersion is a version as the model has it.
type modelVersion struct {
	id      string // "null", or what the store answered
	marker  bool
	content string
	etag    string
}

// model is what S3 does with the versions of keys, in the plainest form: a list per key,
// the latest first.
type model struct {
	versioning s3model.Versioning
	keys       map[string][]modelVersion
}

// live is the current object, nil if there is none or a marker.
func (m *model) live(key string) *modelVersion {
	if v := m.keys[key]; len(v) > 0 && !v[0].marker {
		return &v[0]
	}
	return nil
}

func (m *model) decide(c s3model.Condition, v *modelVersion) string {
	if v != nil && v.marker {
		v = nil
	}
	switch {
	case c.IfAbsent && v != nil:
		return "PreconditionFailed"
	case c.IfMatch == "":
		return "OK"
	case v == nil:
		return "NoSuchKey"
	case c.IfMatch != "*" && c.IfMatch != v.etag:
		return "PreconditionFailed"
	}
	return "OK"
}

// add puts a version on top, in place of the null version unless versioning is enabled.
func (m *model) add(key string, v modelVersion) {
	if m.versioning != s3model.Enabled {
		v.id = s3model.NullVersion
		m.drop(key, s3model.NullVersion)
	}
	m.keys[key] = append([]modelVersion{v}, m.keys[key]...)
}

func (m *model) drop(key, id string) {
	var kept []modelVersion
	for _, v := range m.keys[key] {
		if v.id != id {
			kept = append(kept, v)
		}
	}
	m.keys[key] = kept
}

// String is what versionsOf says of a store that agrees.
func (m *model) String() string {
	var all []string
	for _, key := range modelKeys {
		for i, v := range m.keys[key] {
			what := v.content
			if v.marker {
				what = "marker"
			}
			if v.id == s3model.NullVersion {
				what += "(null)"
			}
			if i == 0 {
				what += "*"
			}
			all = append(all, key+"="+what)
		}
	}
	return strings.Join(all, " ")
}

var modelKeys = []string{"a", "a/b", "a0"}

// Random operations have the same outcome on the store and on the model, over changes of
// the versioning and reopening. STATELATCH_MODEL_SEED repeats a run.
func TestStore_AgreesWithModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	if v := os.Getenv("STATELATCH_MODEL_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	for run := range uint64(3) {
		t.Run(fmt.Sprint(seed+run), func(t *testing.T) {
			t.Parallel()
			t.Logf("STATELATCH_MODEL_SEED=%d", seed+run)
			runModel(t, rand.New(rand.NewPCG(seed+run, 0)))
		})
	}
}

func runModel(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir, LifecycleInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	addBucket(t, s, "b", s3model.Unversioned)
	m := &model{keys: map[string][]modelVersion{}}
	for op := range 150 {
		key := modelKeys[rnd.IntN(len(modelKeys))]
		var c s3model.Condition
		switch rnd.IntN(6) {
		case 0:
			c.IfAbsent = true
		case 1:
			c.IfMatch = "*"
		case 2:
			c.IfMatch = md5Hex([]byte("0"))
		case 3:
			if v := m.live(key); v != nil {
				c.IfMatch = v.etag
			}
		}
		content := fmt.Sprint(rnd.IntN(2))
		if rnd.IntN(20) == 0 {
			content = strings.Repeat(content, maxInline+1)
		}
		what, got, want := "", "", ""
		switch rnd.IntN(10) {
		case 0, 1, 2, 3:
			what = "put"
			want = m.decide(c, m.live(key))
			o, err := s.Put(t.Context(), s3model.PutRequest{Bucket: "b", Key: key, If: c, Encryption: s3model.Encryption{SSES3: rnd.IntN(2) == 0}}, strings.NewReader(content))
			got = code(err)
			if err == nil {
				m.add(key, modelVersion{id: o.VersionID, content: content, etag: o.ETag})
			}
		case 4:
			what = "multipart"
			want = m.decide(c, m.live(key))
			got = m.multipart(t, s, key, content, c)
		case 5, 6:
			c.IfAbsent = false
			what = "delete"
			want = m.decide(c, m.live(key))
			if v := m.keys[key]; c.IfMatch == "*" && len(v) > 0 && v[0].marker {
				want = "PreconditionFailed"
			}
			r, err := s.Delete(t.Context(), s3model.DeleteRequest{Bucket: "b", Key: key, If: c})
			got = code(err)
			switch {
			case err != nil:
			case m.versioning == s3model.Unversioned:
				m.drop(key, s3model.NullVersion)
			default:
				m.add(key, modelVersion{id: r.VersionID, marker: true})
			}
		case 7, 8:
			what = "delete version"
			id := "null"
			if all := m.keys[key]; len(all) > 0 && rnd.IntN(4) > 0 {
				id = all[rnd.IntN(len(all))].id
			}
			_, err := s.Delete(t.Context(), s3model.DeleteRequest{Bucket: "b", Key: key, VersionID: id})
			got, want = code(err), "OK"
			m.drop(key, id)
		case 9:
			switch rnd.IntN(3) {
			case 0:
				what = "reopen"
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				reopened, err := Open(Config{Dir: dir, LifecycleInterval: -1})
				if err != nil {
					t.Fatalf("reopen: %v", err)
				}
				s = reopened
			case 1:
				what = "enable"
				m.versioning = s3model.Enabled
			case 2:
				what = "suspend"
				m.versioning = s3model.Suspended
			}
			setVersioning(t, s, "b", m.versioning)
		}
		if got != want {
			t.Fatalf("operation %d, %s of %s with %+v: got %q, want %q\nmodel: %.300s", op, what, key, c, got, want, m)
		}
		if have := versionsOf(t, s); have != m.String() {
			t.Fatalf("operation %d, %s of %s: got  %.300s\nwant %.300s", op, what, key, have, m)
		}
		m.checkCurrent(t, s)
	}
	checkStorage(t, s)
}

// multipart stores content as an upload of one part.
func (m *model) multipart(t *testing.T, s *Store, key, content string, c s3model.Condition) string {
	t.Helper()
	id, _, err := s.CreateUpload(t.Context(), s3model.PutRequest{Bucket: "b", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.PutPart(t.Context(), s3model.PartRequest{Bucket: "b", Key: key, UploadID: id, Number: 7}, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.CompleteUpload(t.Context(), s3model.CompleteRequest{Bucket: "b", Key: key, UploadID: id, Parts: []s3model.Part{p}, Size: -1, If: c})
	if err == nil {
		m.add(key, modelVersion{id: o.VersionID, content: content, etag: o.ETag})
		return "OK"
	}
	if err := s.AbortUpload(t.Context(), "b", key, id); err != nil {
		t.Errorf("abort after a refused completion: %v", err)
	}
	return code(err)
}

// checkCurrent compares what an unversioned client sees.
func (m *model) checkCurrent(t *testing.T, s *Store) {
	t.Helper()
	var want []string
	for _, key := range modelKeys {
		content := "<NoSuchKey>"
		if v := m.live(key); v != nil {
			want = append(want, key)
			content = v.content
		}
		if got := get(t, s, key, ""); got != content {
			t.Fatalf("%s: got %.50q, want %.50q", key, got, content)
		}
	}
	page, err := s.List(t.Context(), s3model.ListRequest{Bucket: "b", Max: 10})
	if err != nil || strings.Join(entries(page), " ") != strings.Join(want, " ") {
		t.Fatalf("List: got %v, %v, want %v", entries(page), err, want)
	}
}
