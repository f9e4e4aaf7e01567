package boltstore

import (
	"bytes"
	"context"
	"strings"

	"github.com/statelatch/statelatch/s3/s3model"
)

// CreateBucket implements s3model.Store. The form of names is the endpoint's to
// check; only what the tables cannot hold is refused here.
func (s *Store) CreateBucket(ctx context.Context, name, location string) error {
	return s.CreateBucketWith(ctx, name, location, s3model.Settings{})
}

// CreateBucketWith is CreateBucket with settings from the start: there is never a moment, not even
// after a crash, in which the bucket exists without them.
func (s *Store) CreateBucketWith(ctx context.Context, name, location string, settings s3model.Settings) error {
	if name == "" || len(name) > 255 || strings.ContainsRune(name, 0) {
		return s3model.ErrInvalidRequest.With("The name of the bucket is empty, too long, or contains a NUL character.", nil)
	}
	return s.update(ctx, func(t *txn) error {
		if t.Bucket(bucketTable).Get([]byte(name)) != nil {
			return s3model.ErrBucketAlreadyOwnedByYou
		}
		return t.put(bucketTable, []byte(name),
			&bucketRecord{Location: location, Created: s.now().UnixNano(), Settings: settings})
	})
}

// DeleteBucket implements s3model.Store. Uploads that nobody finished end with their bucket, as on S3.
func (s *Store) DeleteBucket(ctx context.Context, name string) error {
	return s.update(ctx, func(t *txn) error {
		if _, err := t.bucketOf(name); err != nil {
			return err
		}
		if !t.isEmpty(name) {
			return s3model.ErrBucketNotEmpty
		}
		if err := t.abortUploads(name); err != nil {
			return err
		}
		var configs [][]byte
		err := scan(t.Tx, configTable, join(name, ""), func(k, _ []byte) (bool, error) {
			configs = append(configs, bytes.Clone(k))
			return true, nil
		})
		if err != nil {
			return err
		}
		for _, k := range configs {
			if err := t.remove(configTable, k); err != nil {
				return err
			}
		}
		return t.remove(bucketTable, []byte(name))
	})
}

// ListBuckets implements s3model.Store.
func (s *Store) ListBuckets(context.Context) ([]s3model.Bucket, error) {
	var all []s3model.Bucket
	err := s.view(func(t *txn) error {
		all = nil
		return scan(t.Tx, bucketTable, nil, func(k, v []byte) (bool, error) {
			b := &bucketRecord{}
			if err := t.decode(bucketTable, k, v, b); err != nil {
				return false, err
			}
			all = append(all, b.model(string(k)))
			return true, nil
		})
	})
	return all, err
}

// GetBucket implements s3model.Store.
func (s *Store) GetBucket(_ context.Context, name string) (s3model.Bucket, error) {
	b, err := s.bucket(name)
	if err != nil {
		return s3model.Bucket{}, err
	}
	return b.model(name), nil
}

// BucketConfig implements s3model.Store.
func (s *Store) BucketConfig(_ context.Context, bucket, subresource string) ([]byte, error) {
	if _, err := s.bucket(bucket); err != nil {
		return nil, err
	}
	at := join(bucket, subresource)
	doc, err := s.row(configTable, at, func(t *txn) (any, error) {
		return t.row(configTable, at, func(stored []byte) (any, error) {
			opened, err := t.box.open(configTable, at, stored)
			return bytes.Clone(opened), err
		})
	})
	if err != nil {
		return nil, err
	}
	return doc.([]byte), nil
}

// SetBucketConfig implements s3model.Store.
func (s *Store) SetBucketConfig(ctx context.Context, bucket, subresource string, doc []byte) error {
	if subresource == "" || strings.ContainsRune(subresource, 0) {
		return s3model.ErrInvalidRequest.With("The subresource has no name.", nil)
	}
	return s.update(ctx, func(t *txn) error {
		if _, err := t.bucketOf(bucket); err != nil {
			return err
		}
		if doc == nil {
			return t.remove(configTable, join(bucket, subresource))
		}
		return t.putSealed(configTable, join(bucket, subresource), doc)
	})
}

// UpdateSettings implements s3model.Store. change may be called more than once, each
// time with the settings as they are. As on S3, versioning that was once enabled can
// be suspended but not forgotten.
func (s *Store) UpdateSettings(ctx context.Context, bucket string, change func(*s3model.Settings)) error {
	return s.update(ctx, func(t *txn) error {
		b := &bucketRecord{} // to be changed
		if ok, err := t.get(bucketTable, []byte(bucket), b); err != nil {
			return err
		} else if !ok {
			return s3model.ErrNoSuchBucket
		}
		before := b.Settings.Versioning
		change(&b.Settings)
		switch b.Settings.Versioning {
		case s3model.Enabled, s3model.Suspended:
		case s3model.Unversioned:
			if before != s3model.Unversioned {
				return s3model.ErrInvalidRequest.With("Versioning can be suspended but not removed.", nil)
			}
		default:
			return s3model.ErrInvalidRequest.With("The versioning state must be Enabled or Suspended.", nil)
		}
		return t.put(bucketTable, []byte(bucket), b)
	})
}
