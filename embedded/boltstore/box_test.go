package boltstore

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/s3/s3model"
)

// filesWith returns the files of a store in which a text stands.
func filesWith(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			found = append(found, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// bbolt does not clear pages that it gives free, so what is never written in the clear is all that is never found
// there.
func TestStore_NothingInTheClear(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, s3model.Enabled) // without encryption
	ctx, dir := t.Context(), s.dir
	secret := func(what string) string { return "the-secret-of-" + what }
	bodies := []string{secret("a body"), strings.Repeat(secret("a body"), 3000), strings.Repeat(secret("a large body"), 6000)}
	for _, body := range bodies {
		if _, err := s.Put(ctx, s3model.PutRequest{
			Bucket: "b", Key: "k", Metadata: map[string]string{"x-amz-meta-a": secret("metadata")}, Tags: map[string]string{"t": secret("a tag")},
		}, strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetBucketConfig(ctx, "b", "policy", []byte(secret("a policy"))); err != nil {
		t.Fatal(err)
	}
	id, _, err := s.CreateUpload(ctx, s3model.PutRequest{Bucket: "b", Key: "u", Metadata: map[string]string{"x-amz-meta-a": secret("an upload")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutPart(ctx, s3model.PartRequest{Bucket: "b", Key: "u", UploadID: id, Number: 1}, strings.NewReader(secret("a part"))); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, "k", ""); got != bodies[2] {
		t.Errorf("got %d bytes, want what was put", len(got))
	}
	if doc, err := s.BucketConfig(ctx, "b", "policy"); err != nil || string(doc) != secret("a policy") {
		t.Errorf("policy: got %q, %v", doc, err)
	}

	if err := s.AbortUpload(ctx, "b", "u", id); err != nil {
		t.Fatal(err)
	}
	page, err := s.ListVersions(ctx, s3model.ListRequest{Bucket: "b", Max: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range page.Objects {
		remove(t, s, v.Key, v.VersionID)
	}
	if err := s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"a body", "a large body", "metadata", "a tag", "a policy", "an upload", "a part"} {
		if found := filesWith(t, dir, secret(what)); len(found) > 0 {
			t.Errorf("%s is still in %v after everything was deleted", what, found)
		}
	}
}

// A record that was moved to another key or table, or changed, is damage.
func TestBox_BoundToItsPlace(t *testing.T) {
	t.Parallel()
	b, err := newBox(otherKey)
	if err != nil {
		t.Fatal(err)
	}
	sealed := b.seal(objectTable, []byte("k"), []byte("v"))
	if got, err := b.open(objectTable, []byte("k"), sealed); err != nil || string(got) != "v" {
		t.Errorf("got %q, %v, want v", got, err)
	}
	if bytes.Equal(sealed, b.seal(objectTable, []byte("k"), []byte("v"))) {
		t.Error("the same record sealed twice is the same")
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for name, try := range map[string]func() ([]byte, error){
		"other key":   func() ([]byte, error) { return b.open(objectTable, []byte("l"), sealed) },
		"other table": func() ([]byte, error) { return b.open(historyTable, []byte("k"), sealed) },
		"changed":     func() ([]byte, error) { return b.open(objectTable, []byte("k"), changed) },
		"cut":         func() ([]byte, error) { return b.open(objectTable, []byte("k"), sealed[:5]) },
	} {
		if got, err := try(); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
}

// A store of format 1, whose records and small bodies are in the clear, is read on.
func TestOpen_Format1(t *testing.T) {
	t.Parallel()
	dir := closedStore(t)
	db, err := bbolt.Open(filepath.Join(dir, dbFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, e := range []struct {
			table      []byte
			key, value string
		}{
			{metaTable, "format", "1"},
			{bucketTable, "old", `{"created":1,"settings":{"Versioning":"","EncryptByDefault":false,"Lifecycle":null}}`},
			{configTable, "old\x00policy", `{"Statement":[]}`},
			{objectTable, "old\x00k", `{"seq":7,"id":"MDEyMzQ1Njc4OWFiY2RlZg==","null":true,"etag":"e","size":5,"modified":2,"bodies":[{"size":5,"inline":4711}]}`},
			{bodyTable, string(number(4711)), "hello"},
		} {
			if err := tx.Bucket(e.table).Put([]byte(e.key), []byte(e.value)); err != nil {
				return err
			}
		}
		return tx.Bucket(metaTable).Delete(metaKeyCheck)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it has the new format
		s := mustOpen(t, Config{Dir: dir})
		_, r, err := s.Get(t.Context(), s3model.ReadRequest{Bucket: "old", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		if _, err := body.ReadFrom(r); err != nil || body.String() != "hello" {
			t.Errorf("got %q, %v, want hello", body.String(), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if doc, err := s.BucketConfig(t.Context(), "old", "policy"); err != nil || string(doc) != `{"Statement":[]}` {
			t.Errorf("policy: got %q, %v", doc, err)
		}
		var format, check []byte
		if err := s.view(func(t *txn) error {
			format, check = bytes.Clone(t.Bucket(metaTable).Get(metaFormat)), bytes.Clone(t.Bucket(metaTable).Get(metaKeyCheck))
			return nil
		}); err != nil || string(format) != "2" || check == nil {
			t.Errorf("got format %q and check %x, %v, want format 2 with a check", format, check, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
